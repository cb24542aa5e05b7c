"""Requests that a client has named: each has its effect once, and one answer, kept with it.

The answer is written in the transaction of the effect. So a request sent again finds it, or has had
no effect: there is nothing in between, whenever a process or a connection dies.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import and_, delete, select, update

from service.errors import ReusedKeyError
from service.store import blobs
from service.store.database import nonce
from service.store.tables import IdempotencyKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from service.store.database import Database

__all__ = [
    "KEPT_S",
    "Answer",
    "AnsweredError",
    "Once",
    "Request",
    "begin",
    "find",
    "keep",
    "plainly",
    "purge",
]

KEPT_S = 24 * 3600.0
PURGED_AT_ONCE = 1000
BEING_MADE = 0  # the status of an answer whose transaction has not ended


class Once(Protocol):
    """What an action wraps around its unit of work, so that it happens once."""

    def __call__(self, act: Callable[..., Any]) -> Callable[..., Any]: ...


def plainly(act: Callable[..., Any]) -> Callable[..., Any]:
    """Run a unit of work as it is: nobody has named the request."""
    return act


@dataclass(frozen=True)
class Request:
    """A named request.  ``sha256``: what tells the same request from another one."""

    tenant: str
    key: str
    sha256: str

    @property
    def where(self) -> Any:
        """Where its row is."""
        return and_(IdempotencyKey.tenant_id == self.tenant, IdempotencyKey.key == self.key)


@dataclass(frozen=True)
class Answer:
    """What a client was told, or would have been."""

    status: int
    headers: dict[str, Any]
    body: bytes


class AnsweredError(Exception):
    """The request has had its effect before; ``answer`` is what was said to it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def find(session: Session, request: Request) -> Answer | None:
    """Return the answer that is kept.  Raises: ReusedKeyError, if it is that of another request."""
    row = session.scalar(select(IdempotencyKey).where(request.where))
    if row is None:
        return None
    if row.request_sha256 != request.sha256:
        raise ReusedKeyError("this Idempotency-Key has named another request before")
    return Answer(row.status, row.headers, row.body)


def begin(session: Session, request: Request) -> Answer | None:
    """Take the key, before anything else of the transaction; others wait for its end.

    Returns: None, or what an earlier run of this very unit of work has answered: its COMMIT had
    gone through although nobody was told. Raises: AnsweredError; ReusedKeyError.
    """
    row = {
        "tenant_id": request.tenant,
        "key": request.key,
        "request_sha256": request.sha256,
        "nonce": nonce(session),
        "status": BEING_MADE,
        "headers": {},
        "body": b"",
        "created_at": time.time(),
    }
    blobs.insert_new(session, IdempotencyKey, [row])
    answer = find(session, request)
    if answer is None or answer.status == BEING_MADE:
        return None
    mine = select(IdempotencyKey.nonce == nonce(session)).where(request.where)
    if session.scalar(mine):
        return answer
    raise AnsweredError(answer)


def keep(session: Session, request: Request, answer: Answer) -> None:
    """Keep the answer to what this transaction has done."""
    values = {"status": answer.status, "headers": answer.headers, "body": answer.body}
    statement = update(IdempotencyKey).where(request.where).values(values)
    session.execute(statement.execution_options(synchronize_session=False))


def purge(database: Database) -> int:
    """Forget what was answered over a day ago.  Returns: how many answers there were."""
    now, purged = time.time(), 0
    # Both-sided, as everything that is kept for a time: the clock may have been set back.
    old = ~IdempotencyKey.created_at.between(now - KEPT_S, now + KEPT_S)
    while True:
        with database.read() as session:
            wanted = select(IdempotencyKey.tenant_id, IdempotencyKey.key).where(old)
            found = session.execute(wanted.limit(PURGED_AT_ONCE)).all()
        for tenant, key in found:
            gone = delete(IdempotencyKey).where(Request(tenant, key, "").where, old)
            database.transact(lambda uow, gone=gone: uow.session.execute(gone))  # type: ignore[misc]
        purged += len(found)
        if len(found) < PURGED_AT_ONCE:
            return purged
