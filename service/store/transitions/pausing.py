"""Pause and resume: a job that waits for its client, its last unit kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, case, false, select, true

from service.errors import ConflictError, NotFoundError
from service.store.tables import FINAL, Job, JobEvent
from service.store.transitions.guards import change, ended, record

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

__all__ = ["pause", "resume"]


def pause(session: Session, job_id: str, tenant: str) -> str:
    """T13: hold back a queued job, ask a running one to give itself back (T7).

    A second time changes nothing. Returns: the state now.
    Raises: NotFoundError; ConflictError, if it has ended or was asked to.
    """
    before = _locked(session, job_id, tenant)
    if before.state == "paused" or (before.state == "running" and before.pause):
        return str(before.state)
    row = change(
        session,
        and_(_owned(job_id, tenant), Job.state.in_(("queued", "running")), ~Job.cancel),
        {
            Job.pause: true(),
            Job.state: case((Job.state == "queued", "paused"), else_=Job.state),
        },
    )
    if row is None:
        raise ConflictError(f"{job_id} is being cancelled")
    asked = {"asked": "pause"} if row.state == "running" else None
    event = JobEvent(job_id=job_id, attempt=row.attempt, who="api", detail=asked)
    record(session, event, before.state, row.state)
    return str(row.state)


def resume(session: Session, job_id: str, tenant: str, *, now: float) -> str:
    """T14, paused -> queued.  A job that neither rests nor is about to stays as it is.

    ``now``: when the caller rings for it. Returns: the state now.
    Raises: NotFoundError; ConflictError, if it has ended, or has not come to rest yet.
    """
    before = _locked(session, job_id, tenant)
    row = change(
        session,
        and_(_owned(job_id, tenant), Job.state == "paused"),
        {Job.state: "queued", Job.pause: false(), Job.published: now},
    )
    if row is None:
        if before.pause:
            raise ConflictError(f"{job_id} is still about to pause: resume it once it has")
        return str(before.state)
    record(session, JobEvent(job_id=job_id, attempt=row.attempt, who="api"), "paused", "queued")
    return "queued"


def _owned(job_id: str, tenant: str) -> Any:
    return and_(Job.id == job_id, Job.tenant_id == tenant)


def _locked(session: Session, job_id: str, tenant: str) -> Row[str, bool]:
    """Read a job that has not ended, and keep others from changing it."""
    wanted = select(Job.state, Job.pause).where(_owned(job_id, tenant)).with_for_update()
    before = session.execute(wanted).first()
    if before is None:
        raise NotFoundError("job", job_id)
    if before.state in FINAL:
        raise ended(job_id, before.state)
    return before
