"""What a view works with: the application's parts, and who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app, g

from service.actions.datasets import Intake
from service.api.spool import spool_folder

if TYPE_CHECKING:
    from service.actions.cache import Cache
    from service.actions.keyring import Keyring
    from service.actions.keys import Principal
    from service.api.in_flight import InFlight
    from service.api.waiting import Waiting
    from service.broker.bell import Bell
    from service.parsing import Parser
    from service.settings import Settings
    from service.store.database import Database

__all__ = ["Parts", "parts", "tenant"]


@dataclass(frozen=True)
class Parts:
    """What ``create_app`` was given, and what the application remembers (nothing is global)."""

    settings: Settings
    database: Database
    bell: Bell
    parser: Parser
    keyring: Keyring
    bodies: Cache[bytes]  # of jobs, by their tags
    in_flight: InFlight
    waiting: Waiting

    @property
    def intake(self) -> Intake:
        """What makes datasets of files."""
        folder = spool_folder(self.settings.data_dir)
        limit = self.settings.parse_inline_bytes
        cache = self.settings.cache_dir if self.settings.embedded else None
        return Intake(self.database, self.parser, self.bell, folder, limit, cache)


def parts() -> Parts:
    """Return the parts of the application that answers this request."""
    return cast("Parts", current_app.extensions["chainrule"])


def tenant() -> str:
    """Return the tenant whose key this request bears."""
    return cast("Principal", g.principal).tenant_id
