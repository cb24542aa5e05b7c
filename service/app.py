"""The application: its parts put together, nothing connected yet."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from apiflask import APIFlask
from werkzeug.routing import BaseConverter

from service.actions.cache import Cache
from service.actions.keyring import Keyring
from service.api import (
    architectures,
    auth,
    datasets,
    docs,
    edge,
    events,
    idempotency,
    jobs,
    models,
    openapi,
    problems,
    system,
    upload_parts,
)
from service.api.context import Parts
from service.api.in_flight import InFlight
from service.api.strict_json import StrictProvider
from service.api.waiting import Waiting
from service.ids import ID_PATTERNS

if TYPE_CHECKING:
    from service.broker.bell import Bell
    from service.parsing import Parser
    from service.settings import Settings
    from service.store.database import Database

__all__ = ["create_app"]

BODIES_BYTES = 4 * 2**20  # some thousand jobs, as they were read last


class StepConverter(BaseConverter):
    """The number of a step; never longer than a database takes."""

    regex = r"[0-9]{1,15}"

    def to_python(self, value: str) -> int:
        return int(value)


def create_app(settings: Settings, database: Database, bell: Bell, parser: Parser) -> APIFlask:
    """Return the WSGI application."""
    app = APIFlask(
        __name__,
        title="chainrule",
        version=version("chainrule"),
        spec_path="/v1/openapi.json",
        docs_path=None,
        docs_oauth2_redirect_path=None,
        static_folder=None,  # type: ignore[arg-type]  # as Flask has it: no such route
        json_errors=False,
    )
    app.json = StrictProvider(app)
    app.extensions["chainrule"] = Parts(
        settings,
        database,
        bell,
        parser,
        Keyring(database),
        Cache(BODIES_BYTES),
        InFlight(),
        Waiting(settings.threads // 2),
    )
    app.url_map.converters["step"] = StepConverter
    for kind, pattern in ID_PATTERNS.items():
        app.url_map.converters[kind] = type(f"{kind}Id", (BaseConverter,), {"regex": pattern})
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False  # no redirects: an address is right or there is nothing
    problems.install(app)
    openapi.install(app)
    app.before_request(edge.begin)
    auth.install(app)
    edge.install_limits(app)
    idempotency.install(app)
    app.after_request(edge.finish)
    data = (datasets.bp, upload_parts.bp)
    apis = (*data, architectures.bp, jobs.bp, events.bp, models.bp)
    for blueprint in (*apis, system.bp, docs.bp):
        app.register_blueprint(blueprint)
    return app
