"""Bring a database's schema up to date: ``python -m service.store.migrate``.

One process migrates at a time, in one transaction; the others wait and find the work done.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

import migrations
from chainrule.config import environment
from chainrule.errors import ChainruleError
from service.errors import IncompatibleError, UnavailableError
from service.settings import Settings
from service.store import engines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

__all__ = ["alembic_config", "main", "upgrade"]

ADVISORY_LOCK = 0x636861696E  # "chain"
WAIT_S = 60.0
AGAIN_S = 0.5


def upgrade(url: str, revision: str = "head") -> None:
    """Apply what is missing.

    Raises: IncompatibleError, if the database is of a later version than this code.
    """
    engine = engines.create(url)
    if engine.dialect.name == "sqlite":  # a table that is made anew is not one whose rows went
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=OFF"))
    try:
        with _locked(url), engines.writer(engine).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = '60s'"))
                connection.execute(text("SET LOCAL statement_timeout = '60s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": ADVISORY_LOCK})
                connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            command.upgrade(alembic_config(connection), revision)
    except CommandError as error:
        raise IncompatibleError(f"the database's schema is not one of ours: {error}") from error
    finally:
        engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection that is open, wherever we are installed."""
    config = Config()
    config.set_main_option("script_location", next(iter(migrations.__path__)))
    config.attributes["connection"] = connection
    return config


def main() -> int:
    """Migrate the database that the environment names."""
    try:
        _upgrade_once_there(Settings.from_env(environment()).database_url)
    except ChainruleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _upgrade_once_there(url: str) -> None:
    """Upgrade a database that may be about to start: it dies and comes back as we do.

    Raises: UnavailableError, if it does not; as ``upgrade``.
    """
    gives_up_at, told = time.monotonic() + WAIT_S, False
    while True:
        try:
            upgrade(url)
        except DBAPIError as error:
            if engines.full(error.orig) or not engines.transient(error.orig):
                raise
            if time.monotonic() > gives_up_at:
                raise UnavailableError(f"the database does not answer: {error.orig}") from error
            if not told:  # the reason is there at once, should it be the address
                sys.stderr.write(f"waiting for the database: {error.orig}\n")
                sys.stderr.flush()
            told = True
        else:
            return
        time.sleep(AGAIN_S)


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Hold the lock file beside a SQLite database; PostgreSQL has a lock of its own."""
    address = engines.normalize(url)
    if address.get_backend_name() != "sqlite":
        yield
        return
    lock = Path(f"{address.database}.migrate.lock")
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
