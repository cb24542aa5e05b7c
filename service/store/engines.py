"""How each engine is opened: pragmas, timeouts, and which of its errors pass by themselves."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pysqlite3.dbapi2
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError

from service.errors import IncompatibleError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["BUSY_TIMEOUT_S", "create", "full", "normalize", "reader", "transient", "writer"]

BUSY_TIMEOUT_S = 5.0
TRUSTED_S = 1.0  # a connection that was used since is not asked whether it is still there
SQLITE_FLOOR = (3, 51, 3)  # below it two connections can corrupt a WAL: sqlite.org/wal.html
PRAGMAS = {
    "busy_timeout": int(BUSY_TIMEOUT_S * 1000),
    "journal_mode": "WAL",
    "synchronous": "FULL",  # NORMAL may lose acknowledged commits when the power goes
    "foreign_keys": "ON",
    "trusted_schema": "OFF",
}
# Primary result codes: sqlite.org/rescode.html
BUSY, LOCKED, IOERR, FULL, CANTOPEN = 5, 6, 10, 13, 14
DISK_FULL = "53100"
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs")  # file systems whose locks WAL cannot trust
POSTGRES_OPTIONS = (
    "-c lock_timeout=2s -c statement_timeout=10s"
    " -c idle_in_transaction_session_timeout=10s -c synchronous_commit=on"
)
# Serialisation, deadlock, lock timeout, too many connections, session ended while idle, disk full.
PASSING = {"40001", "40P01", "55P03", "53300", "25P03", DISK_FULL}

# NaN is no JSON: it must fail here, not be stored as text that no reader can parse.
_dumps = partial(json.dumps, allow_nan=False, separators=(",", ":"))


def normalize(url: str) -> URL:
    """Return the address with the driver that we use for it."""
    parsed = make_url(url)
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return parsed.set(drivername="sqlite")
    raise IncompatibleError("the database must be a postgresql:// or a sqlite:///file address")


def create(url: str, *, autocommit: bool = False) -> Engine:
    """Return an engine that has not connected yet.  Raises: IncompatibleError.

    ``autocommit``: for statements that each stand alone, and name their parameters.
    """
    address = normalize(url)
    options: dict[str, Any] = {
        "json_serializer": _dumps,
        "max_overflow": 40,
        "pool_timeout": BUSY_TIMEOUT_S,
        "pool_use_lifo": True,  # the connection used last has its pages at hand
    }
    is_sqlite = address.get_backend_name() == "sqlite"
    if autocommit:
        options["isolation_level"] = "AUTOCOMMIT"
        options["pool_reset_on_return"] = None
        options["paramstyle"] = "named" if is_sqlite else "pyformat"
    return _sqlite(address, options) if is_sqlite else _postgres(address, options)


def reader(engine: Engine) -> Engine:
    """Return the same engine for transactions that see one snapshot."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(begin="BEGIN")
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def writer(engine: Engine) -> Engine:
    """Return the same engine for transactions that write."""
    return engine.execution_options(begin="BEGIN IMMEDIATE")


def transient(error: BaseException | None) -> bool:
    """Say whether an error of the driver may be gone when the transaction runs again."""
    if isinstance(error, psycopg.Error):
        state = error.sqlstate
        if state is None:  # never reached the server, or lost it
            return isinstance(error, psycopg.OperationalError)
        return state in PASSING or state.startswith(("08", "57"))
    # A file that cannot be opened: the process has no descriptor left, which passes.
    return full(error) or _sqlite_code(error) in (BUSY, LOCKED, CANTOPEN)


def full(error: BaseException | None) -> bool:
    """Say whether the disk took nothing more; a limit or a quota is an I/O error to SQLite."""
    if isinstance(error, psycopg.Error):
        return error.sqlstate == DISK_FULL
    return _sqlite_code(error) in (FULL, IOERR)


def _sqlite_code(error: BaseException | None) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _postgres(address: URL, options: dict[str, Any]) -> Engine:
    engine = create_engine(
        address,
        **options,
        pool_size=10,
        connect_args={
            "connect_timeout": 3,
            "options": POSTGRES_OPTIONS,
            "application_name": "chainrule",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )

    @event.listens_for(engine, "checkin")
    def note(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: ConnectionPoolEntry, _fairy: object) -> None:
        if time.monotonic() - record.info.get("used", math.inf) > TRUSTED_S:
            try:
                engine.dialect.do_ping(connection)
            except psycopg.OperationalError as error:
                raise InvalidatePoolError from error  # the pool connects anew, now and later

    return engine


def _sqlite(address: URL, options: dict[str, Any]) -> Engine:
    path = Path(str(address.database))
    if pysqlite3.dbapi2.sqlite_version_info < SQLITE_FLOOR:
        version = pysqlite3.dbapi2.sqlite_version
        raise IncompatibleError(f"SQLite must be 3.51.3 or later (pysqlite3), got {version}")
    _refuse_remote(path)
    engine = create_engine(
        address,
        **options,
        module=pysqlite3.dbapi2,
        pool_size=20,
        connect_args={"timeout": BUSY_TIMEOUT_S},
    )
    event.listen(engine, "do_connect", lambda *_: _private(path))
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _private(path: Path) -> None:
    """Make the file readable by its owner only.  SQLite gives its WAL the same mode."""
    # Never opened when it is there: closing a descriptor of it drops SQLite's locks on it.
    if path.exists():  # asked without a descriptor: there may be none left
        return
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin does
    for name, value in PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}")
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        raise IncompatibleError(f"SQLite must use a WAL here, got journal_mode {mode}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN IMMEDIATE"))


def _refuse_remote(path: Path) -> None:
    """Refuse network file systems.  Source: sqlite.org/wal.html ("the same host")."""
    try:
        lines = Path("/proc/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return  # not Linux: the operator knows
    home = path.absolute()
    mounts = [(Path(fields[1]), fields[2]) for fields in map(str.split, lines) if len(fields) > 2]
    within = [mount for mount in mounts if home.is_relative_to(mount[0])]
    point, kind = max(within, key=lambda mount: len(mount[0].parts), default=(home, ""))
    if kind in REMOTE:
        raise IncompatibleError(f"SQLite needs a local disk, but {point} is {kind}")
