"""One database: ``read`` sees one snapshot, ``glance`` one SELECT, ``transact`` re-runs a closure.

A writer begins IMMEDIATE on SQLite, since a deferred transaction that starts to write can fail in a
way that waiting does not cure. On PostgreSQL guards are single statements under READ COMMITTED.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from service import faults
from service.errors import StorageFullError, UnavailableError
from service.store import engines
from service.store.glances import Glances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Select

__all__ = ["Database", "UnitOfWork", "nonce", "rest"]

T = TypeVar("T")
log = logging.getLogger(__name__)

FULL_S = 0.3  # a full disk is told of soon: waiting threads would keep readers out


class UnitOfWork:
    """A session that commits once, and what is to happen when other processes can see the rows."""

    def __init__(self, session: Session, kept: dict[str, str]) -> None:
        self.session = session
        self._kept = kept
        self._hooks: list[Callable[[], object]] = []

    def keep(self, name: str, make: Callable[[], str]) -> str:
        """Return what ``make`` gave in the first run of this closure, such as a fresh id."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def once(self, found: bool) -> bool:
        """Return what the first run of this closure found: a delete, run again, finds nothing."""
        return bool(self.keep("found", lambda: "found" if found else ""))

    def after_commit(self, hook: Callable[[], object]) -> None:
        """Call ``hook`` once the commit is durable; its failure is logged, never raised."""
        self._hooks.append(hook)

    def run_hooks(self) -> None:
        for hook in self._hooks:
            try:
                hook()
            except Exception:  # the commit stands whatever a hook does
                log.exception("a hook after a commit failed")


class Database:
    """The engine behind every session of a process.  Connects at the first use, not before.

    ``retry_s``: how long ``transact`` tries after busy, serialisation and connection errors.
    """

    def __init__(self, url: str, *, retry_s: float = 5.0) -> None:
        self.url = url
        self.retry_s = retry_s
        self.engine = engines.create(url)
        self._reader, self._writer = engines.reader(self.engine), engines.writer(self.engine)
        self._glances = Glances(url)
        # Threads of one process queue up here: SQLite's own waiting is polling, and not fair.
        self._mutex = threading.Lock() if self.engine.dialect.name == "sqlite" else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that sees one snapshot and writes nothing.

        Raises: UnavailableError, if the database does not answer.
        """
        with _answering(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    def glance(self, statement: Select[Any], **values: str) -> tuple[Any, ...] | None:
        """Return the first row of a SELECT, by the shortest way.

        ``statement``: as ``Glances.row``.  Raises: as ``read``.
        """
        with _answering():
            try:
                return self._glances.row(statement, values)
            except self._glances.errors:  # perhaps a lost connection: the long way knows them all
                with self.read() as session:
                    row = session.execute(statement, values).first()
                return None if row is None else tuple(row)

    def transact(self, act: Callable[[UnitOfWork], T]) -> T:
        """Run a closure and commit, again from the start after a transient error.

        A connection that breaks during COMMIT leaves it open whether the rows are there, so a
        closure must look before it writes: transitions do, by ``nonce``, which is the same in every
        run of one call. Raises: UnavailableError, once ``retry_s`` are over; StorageFullError.
        """
        kept = {"nonce": secrets.token_hex(8)}
        begun_at, delay = time.monotonic(), 0.01
        while True:
            try:
                work, result = self._once(act, kept)
            except SQLAlchemyError as error:
                if not _transient(error):
                    raise
                _check_patience(error, time.monotonic() + delay - begun_at, self.retry_s)
                log.info("transaction runs again: %s", type(error).__name__)
            else:
                work.run_hooks()
                return result
            time.sleep(delay * (0.5 + secrets.randbelow(1000) / 1000))  # apart from other writers
            delay = min(2 * delay, 0.5)

    def ping(self) -> None:
        """Ask for one row.  Raises: UnavailableError."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def dispose(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()
        self._glances.dispose()

    def _once(self, act: Callable[[UnitOfWork], T], kept: dict[str, str]) -> tuple[UnitOfWork, T]:
        with (
            _held(self._mutex),
            Session(self._writer, expire_on_commit=False, info=kept) as session,
        ):
            faults.reach("begin")
            work = UnitOfWork(session, kept)
            result = act(work)
            faults.reach("commit")
            session.commit()
            faults.reach("committed")
            return work, result


def nonce(session: Session) -> str:
    """Return this unit of work's name: fresh for each ``transact``, kept when it runs again."""
    return str(session.info["nonce"])


def rest(session: Session) -> None:
    """End the snapshot of a read that takes a pause; what has been read stays as it is."""
    session.expunge_all()
    session.rollback()


@contextmanager
def _answering() -> Iterator[None]:
    """Raise UnavailableError in the place of an error that may be gone a little later."""
    try:
        yield
    except SQLAlchemyError as error:
        if not _transient(error):
            raise
        raise UnavailableError("the database does not answer") from error


@contextmanager
def _held(mutex: threading.Lock | None) -> Iterator[None]:
    if mutex is None:
        yield
        return
    if not mutex.acquire(timeout=engines.BUSY_TIMEOUT_S):
        raise PoolTimeoutError("another thread holds the writer")
    try:
        yield
    finally:
        mutex.release()


def _check_patience(error: SQLAlchemyError, waited_s: float, retry_s: float) -> None:
    """Raise what the caller is told of an error, once it has been waited out for long enough."""
    if isinstance(error, DBAPIError) and engines.full(error.orig):
        if waited_s > min(FULL_S, retry_s):
            raise StorageFullError from error
    elif waited_s > retry_s:
        raise UnavailableError("the database does not answer") from error


def _transient(error: SQLAlchemyError) -> bool:
    """Say whether the same transaction may succeed a little later."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or engines.transient(error.orig)
