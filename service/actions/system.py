"""How the service is: what answers, and which versions it is made of."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pysqlite3.dbapi2

from chainrule import kernels
from chainrule.fingerprint import fingerprint
from service.actions import workers
from service.errors import UnavailableError

if TYPE_CHECKING:
    from service.broker.bell import Bell
    from service.store.database import Database

__all__ = ["health", "versions"]

PACKAGES = ("chainrule", "numpy", "pydantic", "flask", "celery", "sqlalchemy", "polars")


def health(database: Database, bell: Bell) -> dict[str, str]:
    """Return "ok", or why not, for the database, the broker and the workers."""
    state = {"database": "ok", "broker": "ok", "worker": "ok"}
    try:
        with database.read() as session:
            if not workers.list_seen(session):
                state["worker"] = "no worker was seen lately"
    except UnavailableError as error:
        state["database"], state["worker"] = str(error), "not known without the database"
    try:
        bell.ping()
    except UnavailableError as error:
        state["broker"] = str(error)
    return state


def versions(database: Database) -> dict[str, Any]:
    """Return the versions of what is running, its kernels and the numeric fingerprint."""
    return {
        "python": platform.python_version(),
        "sqlite": pysqlite3.dbapi2.sqlite_version,
        "database": database.engine.dialect.name,
        "kernels": kernels.in_use(),
        "fingerprint": fingerprint(),
        **{name: version(name) for name in PACKAGES},
    }
