"""How many there are of what, for dashboards and alarms."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.actions import workers
from service.store.tables import FINAL, STATES, Blob, Dataset, Job, Model

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["jobs", "totals"]


def jobs(session: Session) -> dict[str, int]:
    """Return the number of jobs in each state."""
    found = session.execute(select(Job.state, func.count()).group_by(Job.state))
    return dict.fromkeys(STATES, 0) | {row[0]: row[1] for row in found}


def totals(session: Session) -> dict[str, float]:
    """Return what there is besides jobs.  Units: bytes, seconds."""
    seen = workers.list_seen(session)
    crashed = (Job.crashes > 0) & Job.state.not_in(FINAL)
    oldest = session.scalar(select(func.min(Job.created_at)).where(Job.state == "queued"))
    return {
        "datasets": session.scalar(select(func.count()).select_from(Dataset)) or 0,
        "models": session.scalar(select(func.count()).select_from(Model)) or 0,
        "stored_bytes": session.scalar(select(func.sum(Blob.bytes))) or 0,
        "workers": len(seen),
        "trainers": sum(worker.trainers for worker in seen),
        "jobs_recovering": session.scalar(select(func.count()).where(crashed)) or 0,
        "oldest_queued_seconds": max(time.time() - oldest, 0.0) if oldest is not None else 0.0,
    }
