"""A job that parses a dataset's file: queued with the dataset, and ended with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, select, update

from service.store import blobs
from service.store.tables import Dataset, Job, JobEvent
from service.store.transitions.guards import Fence, Signals, change, leave, record, signals

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.store.blobs import StagedBlob

__all__ = ["enqueue_parsing", "note_parsed", "parsed"]


def enqueue_parsing(
    session: Session, dataset: Dataset, job_id: str, config: dict[str, Any], memory_bytes: int
) -> None:
    """T1: queue the job that makes a dataset ready.  Its steps are the bytes of the file."""
    now = time.time()
    job = Job(
        id=job_id,
        tenant_id=dataset.tenant_id,
        kind="parsing",
        name=dataset.name,
        dataset_id=dataset.id,
        steps=dataset.bytes,
        epochs=0,
        memory_bytes=memory_bytes,
        config=config,
        recipe={},
        published=now,
        created_at=now,
    )
    session.add(job)
    session.flush()
    record(session, JobEvent(job_id=job_id, attempt=0, who="api"), None, "queued")


def note_parsed(session: Session, job_id: str, attempt: int, step: int) -> Signals | None:
    """T3 with what it has come to: so many bytes.  None: the attempt is over, stop the parser.

    The most that any attempt has come to is told: nothing of it is kept, so it is no progress that
    would make a crash uncounted.
    """
    farther = case((Job.step < step, step), else_=Job.step)
    values = {Job.hb: Job.hb + 1, Job.step: farther}
    return signals(change(session, Fence(job_id, attempt).where, values))


def parsed(  # noqa: PLR0913 one keyword for each fact of a parsed file
    session: Session,
    job_id: str,
    attempt: int,
    *,
    rows: int,
    schema: dict[str, Any],
    prepared: StagedBlob,
) -> bool:
    """T5, running -> succeeded: the file is parsed, and its dataset is ready.

    Returns: whether both are stored.  Raises: IntegrityError, as ``commit_unit``.
    """
    values = {
        Job.state: "succeeded",
        Job.ended_at: time.time(),
        Job.step: Job.steps,
        Job.error: None,
    }
    if leave(session, Fence(job_id, attempt), values) is None:
        return False
    blobs.attach(session, prepared)
    of_job = select(Job.dataset_id).where(Job.id == job_id).scalar_subquery()
    ready = {"state": "ready", "rows": rows, "schema": schema, "prepared": prepared.sha256}
    statement = update(Dataset).where(Dataset.id == of_job, Dataset.state == "parsing")
    session.execute(statement.values(**ready).execution_options(synchronize_session=False))
    return True
