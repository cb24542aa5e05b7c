"""The workers that said they are there.  For people to look at: no job's fate depends on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from service.store.tables import Worker

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.store.database import UnitOfWork

__all__ = ["beat", "list_seen", "register", "unregister"]

SEEN_S = 15.0
FORGOTTEN_S = 86400.0


def register(uow: UnitOfWork, worker_id: str, *, trainers: int, info: dict[str, Any]) -> None:
    """Add a worker, or renew it, and forget those not seen for a day."""
    now = time.time()
    uow.session.execute(delete(Worker).where(Worker.seen_at < now - FORGOTTEN_S))
    worker = Worker(id=worker_id, started_at=now, seen_at=now, trainers=trainers, info=info)
    uow.session.merge(worker)
    uow.session.flush()


def beat(uow: UnitOfWork, worker_id: str) -> None:
    """Say that a worker is still there."""
    uow.session.execute(
        update(Worker).where(Worker.id == worker_id).values({Worker.seen_at: time.time()})
    )


def unregister(uow: UnitOfWork, worker_id: str) -> None:
    """Remove a worker that ends."""
    uow.session.execute(delete(Worker).where(Worker.id == worker_id))


def list_seen(session: Session) -> list[Worker]:
    """Return the workers seen lately."""
    now = time.time()
    lately = Worker.seen_at.between(now - SEEN_S, now + SEEN_S)
    return list(session.scalars(select(Worker).where(lately).order_by(Worker.id)))
