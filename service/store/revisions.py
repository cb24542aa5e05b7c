"""Which revisions of the schema this code knows, without Alembic, which takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

import migrations

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["current", "known"]


def known() -> list[str]:
    """Return the revisions in their order: a migration's file begins with its own."""
    folder = Path(next(iter(migrations.__path__))) / "versions"
    return sorted(path.name.partition("_")[0] for path in folder.glob("[0-9]*.py"))


def current(connection: Connection) -> str | None:
    """Return the revision of a database, or None of one without a schema."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
