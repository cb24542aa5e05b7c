"""What the transitions share: the fence, the guarded UPDATE, and the history."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, bindparam, select, true, update

from service.errors import ConflictError
from service.store.database import nonce
from service.store.tables import Dataset, Job, JobEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Row, Select
    from sqlalchemy.orm import InstrumentedAttribute, Session
    from sqlalchemy.sql.dml import ReturningUpdate

    Values = Mapping[InstrumentedAttribute[Any], Any]
    Changed = Row[str, int, bool, bool]

__all__ = [
    "Fence",
    "Signals",
    "change",
    "ended",
    "finite",
    "happened",
    "leave",
    "record",
    "settle",
    "signals",
]

CANCELLED = {"code": "cancelled", "detail": "the job that was to parse it was cancelled"}
ENDED = {"succeeded": "has succeeded", "failed": "has failed", "cancelled": "was cancelled"}


@dataclass(frozen=True)
class Signals:
    """What the API asks of a running attempt."""

    cancel: bool
    pause: bool


@dataclass(frozen=True)
class Fence:
    """Lets through the latest attempt of a running job only.  ``also``: what else must hold."""

    job_id: str
    attempt: int
    who: str = "worker"
    also: ColumnElement[bool] = field(default_factory=true)

    @property
    def where(self) -> ColumnElement[bool]:
        latest = (Job.id == self.job_id, Job.state == "running", Job.attempt == self.attempt)
        return and_(*latest, self.also)


def change(session: Session, guard: ColumnElement[bool], values: Values) -> Changed | None:
    """Run one guarded UPDATE and return what it made of the row, or None if it refused."""
    return session.execute(_changing().where(guard).values(dict(values))).first()


def leave(
    session: Session, fence: Fence, values: Values, detail: dict[str, Any] | None = None
) -> str | None:
    """Take the job out of ``running`` and record it.  Returns: the new state, None if refused."""
    row = change(session, fence.where, {**values, Job.owner: None})
    if row is None:
        return happened(session, fence.job_id)
    event = JobEvent(job_id=fence.job_id, attempt=fence.attempt, who=fence.who, detail=detail)
    record(session, event, "running", row.state)
    settle(session, fence.job_id)
    return str(row.state)


def happened(session: Session, job_id: str) -> str | None:
    """Return the state that this very unit of work gave the job in an earlier run, if it did."""
    return session.scalar(_marked(), {"job_id": job_id, "nonce": nonce(session)})


def record(session: Session, event: JobEvent, from_state: str | None, to_state: str) -> None:
    """Append to the job's history."""
    event.from_state, event.to_state = from_state, to_state
    event.at, event.nonce = time.time(), nonce(session)
    session.add(event)
    session.flush()


def settle(session: Session, job_id: str) -> None:
    """Have a dataset fail with the job that was to parse it, if that ended without success."""
    job = session.execute(_lost(), {"job_id": job_id}).first()
    if job is None:
        return
    error = job.error if job.state == "failed" else CANCELLED
    parsing = (Dataset.id == job.dataset_id, Dataset.state == "parsing")
    statement = update(Dataset).where(*parsing).values(state="failed", error=error)
    session.execute(statement.execution_options(synchronize_session=False))


# Made once each: to build a statement anew costs more than to run it.


@cache
def _changing() -> ReturningUpdate[str, int, bool, bool]:
    returning = update(Job).returning(Job.state, Job.attempt, Job.cancel, Job.pause)
    return returning.execution_options(synchronize_session=False)


@cache
def _marked() -> Select[str]:
    mark = (JobEvent.job_id == bindparam("job_id"), JobEvent.nonce == bindparam("nonce"))
    return select(JobEvent.to_state).where(*mark).order_by(JobEvent.seq.desc()).limit(1)


@cache
def _lost() -> Select[Any]:
    parsed = (Job.id == bindparam("job_id"), Job.kind == "parsing")
    lost = (*parsed, Job.state.in_(("failed", "cancelled")))
    return select(Job.dataset_id, Job.state, Job.error).where(*lost)


def ended(job_id: str, state: str) -> ConflictError:
    """Return why nothing can be asked of a job that has ended."""
    return ConflictError(f"{job_id} {ENDED[state]} already")


def signals(row: Any) -> Signals | None:
    """Read the two flags off a row."""
    return None if row is None else Signals(bool(row.cancel), bool(row.pause))


def finite(value: Any) -> Any:
    """Return plain JSON in which every NaN and infinity is null: the engines differ on them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
