"""How an attempt lives and ends: heartbeat, cancel, and each way out of ``running`` but success."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, literal, select, true

from service.errors import NotFoundError
from service.store.base import Json
from service.store.tables import FINAL, Job, JobEvent
from service.store.transitions.guards import (
    Fence,
    Signals,
    change,
    ended,
    finite,
    happened,
    leave,
    record,
    settle,
    signals,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = [
    "MAX_CRASHES",
    "backoff_s",
    "cancel",
    "fail",
    "heartbeat",
    "peek",
    "reap",
    "release",
    "restored",
    "retry",
]

MAX_CRASHES = 3
MAX_BACKOFF_S = 300.0
GROWING = 10  # crashes, after which it is MAX_BACKOFF_S


def backoff_s(crashes: int) -> float:
    """Return how long the ``crashes``-th crash in a row holds a job back: 0, 1, 2, 4 s … 5 min."""
    return 0.0 if crashes <= 1 else min(MAX_BACKOFF_S, 2.0 ** (crashes - 2))


def heartbeat(session: Session, job_id: str, attempt: int) -> Signals | None:
    """T3: the attempt is alive and advancing.  None: it is over, stop the trainer."""
    return signals(change(session, Fence(job_id, attempt).where, {Job.hb: Job.hb + 1}))


def peek(session: Session, job_id: str, attempt: int) -> Signals | None:
    """Read what T3 would answer, without a write."""
    wanted = select(Job.cancel, Job.pause).where(Fence(job_id, attempt).where)
    return signals(session.execute(wanted).first())


def restored(
    session: Session, job_id: str, attempt: int, receipt: dict[str, Any]
) -> Signals | None:
    """T3 with a receipt in the job's history: where an attempt has taken up what earlier ones did.

    None: the attempt is over.
    """
    row = change(session, Fence(job_id, attempt).where, {Job.hb: Job.hb + 1})
    if row is not None and happened(session, job_id) is None:
        detail = {"restored": receipt}
        event = JobEvent(job_id=job_id, attempt=attempt, who="worker", detail=detail)
        record(session, event, "running", "running")
    return signals(row)


def fail(session: Session, job_id: str, attempt: int, error: dict[str, Any]) -> bool:
    """T6, running -> failed: whatever another attempt might do (diverged, bad data, deadline)."""
    values = {Job.state: "failed", Job.ended_at: time.time(), Job.error: finite(error)}
    return leave(session, Fence(job_id, attempt), values) is not None


def release(session: Session, job_id: str, attempt: int, *, hold_s: float = 0.0) -> str | None:
    """T7, running -> queued: give the job back uncounted, or answer a cancel or a pause.

    ``hold_s``: how long nobody is to claim it.
    Returns: the new state (``queued``, ``cancelled`` or ``paused``), or None if refused.
    """
    now = time.time()
    values = {
        Job.state: case((Job.cancel, "cancelled"), (Job.pause, "paused"), else_="queued"),
        Job.ended_at: case((Job.cancel, now), else_=None),
        Job.not_before: now + hold_s,
        Job.published: 0.0,
    }
    return leave(session, Fence(job_id, attempt), values)


def retry(session: Session, job_id: str, attempt: int, reason: dict[str, Any]) -> str | None:
    """T8, running -> queued: a crash, counted and held back for a while; the last one -> failed.

    Returns: the new state (also ``cancelled`` or ``paused``, if asked for), or None if refused.
    """
    return _crashed(session, Fence(job_id, attempt), reason)


def reap(session: Session, job_id: str, attempt: int, hb: int) -> str | None:
    """T9: end an attempt whose heartbeat counter stood still at ``hb`` for longer than the lease.

    Returns: the new state, or None if the attempt moved on after all.
    """
    reason = {"code": "crashed", "detail": "the worker was lost and did not come back"}
    fence = Fence(job_id, attempt, who="recovery", also=Job.hb == hb)
    return _crashed(session, fence, reason)


def cancel(session: Session, job_id: str, tenant: str) -> str:
    """T10: end a job that waits, ask a running one to end.  A second time changes nothing.

    Returns: the state now.  Raises: NotFoundError; ConflictError, if it ended otherwise.
    """
    owned = and_(Job.id == job_id, Job.tenant_id == tenant)
    wanted = select(Job.state, Job.cancel).where(owned).with_for_update()
    before = session.execute(wanted).first()
    if before is None:
        raise NotFoundError("job", job_id)
    if before.cancel and before.state in ("running", "cancelled"):
        return str(before.state)
    waits = Job.state.in_(("queued", "paused"))
    row = change(
        session,
        and_(owned, Job.state.not_in(FINAL)),
        {
            Job.cancel: true(),
            Job.state: case((waits, "cancelled"), else_=Job.state),
            Job.ended_at: case((waits, time.time()), else_=None),
        },
    )
    if row is None:
        raise ended(job_id, before.state)
    asked = {"asked": "cancel"} if row.state == "running" else None
    event = JobEvent(job_id=job_id, attempt=row.attempt, who="api", detail=asked)
    record(session, event, before.state, row.state)
    settle(session, job_id)
    return str(row.state)


def _crashed(session: Session, fence: Fence, reason: dict[str, Any]) -> str | None:
    """End an attempt that died: cancelled or paused if asked for, failed if it was the last."""
    now, reason = time.time(), finite(reason)
    last = and_(~Job.cancel, ~Job.pause, Job.crashes + 1 >= MAX_CRASHES)
    # As far as back-off grows: one that was paused at its last crash may be resumed.
    waits = {crashes: backoff_s(crashes + 1) for crashes in range(GROWING)}
    values = {
        Job.state: case(
            (Job.cancel, "cancelled"), (Job.pause, "paused"), (last, "failed"), else_="queued"
        ),
        Job.crashes: Job.crashes + 1,
        Job.ended_at: case((Job.cancel, now), (last, now), else_=None),
        Job.error: case((last, literal(reason, Json)), else_=Job.error),
        Job.not_before: now + case(waits, value=Job.crashes, else_=MAX_BACKOFF_S),
        Job.published: 0.0,
    }
    return leave(session, fence, values, detail=reason)
