"""From the queue to an attempt: who is next, the claim, and the doorbell's reminders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, select, update
from sqlalchemy.orm import undefer

from service.store.database import nonce
from service.store.tables import Checkpoint, Dataset, Job, JobEvent, WarmStart
from service.store.transitions.guards import change, happened, record

if TYPE_CHECKING:
    from sqlalchemy import Select, Update
    from sqlalchemy.orm import Session

__all__ = ["CheckpointRef", "Claim", "WarmStartRef", "claim", "due_for_ring", "next_queued"]

RING_AGAIN_S = 10.0
FAR_S = 600.0  # no back-off is longer: a later "not before" comes from a clock since set back
RINGS_AT_ONCE = 100


@dataclass(frozen=True)
class CheckpointRef:
    """A kept checkpoint: where its bytes are, how many batches it had seen, and whose it is."""

    blob: str
    step: int
    attempt: int


@dataclass(frozen=True)
class WarmStartRef:
    """The weights to begin with: a model's bundle, or a checkpoint of this ``architecture``."""

    blob: str
    architecture: dict[str, Any] | None
    receipt: dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """All that an attempt needs to know.  ``checkpoints``: those that are kept, newest first.

    ``content`` is the blob of the dataset's file; ``prepared`` and ``schema`` are what it was
    parsed into (null, if that is still to be done: ``kind`` is parsing).
    """

    job_id: str
    kind: str
    attempt: int
    owner: str
    step: int
    steps: int
    epoch: int
    config: dict[str, Any]
    recipe: dict[str, Any]
    content: str
    prepared: str
    schema: dict[str, Any]
    checkpoints: tuple[CheckpointRef, ...]
    max_seconds: float | None
    memory_bytes: int
    certificate: dict[str, Any] | None
    warm_start: WarmStartRef | None

    @property
    def checkpoint(self) -> CheckpointRef | None:
        """The checkpoint to go on from."""
        return self.checkpoints[0] if self.checkpoints else None


def next_queued(session: Session, now: float) -> str | None:
    """Return the oldest job that may be claimed."""
    return session.scalar(_oldest_due(), {"now": now})


def claim(
    session: Session, job_id: str, *, worker: str, now: float, fingerprint: str | None = None
) -> Claim | None:
    """T2, queued -> running: begin the next attempt.  None: the job is not to be had.

    ``fingerprint``: of the machine that makes the attempt, for the job's history.
    """
    owner = f"{worker}:{nonce(session)}"
    row = change(
        session,
        and_(Job.id == job_id, Job.state == "queued", ~Job.cancel, Job.not_before <= now),
        {
            Job.state: "running",
            Job.attempt: Job.attempt + 1,
            Job.owner: owner,
            Job.hb: Job.hb + 1,
            Job.started_at: case((Job.started_at.is_(None), now), else_=Job.started_at),
        },
    )
    if row is not None:
        detail = None if fingerprint is None else {"fingerprint": fingerprint}
        event = JobEvent(job_id=job_id, attempt=row.attempt, who=owner, detail=detail)
        record(session, event, "queued", "running")
    elif happened(session, job_id) is None:
        return None
    return _read(session, job_id, owner)


def due_for_ring(session: Session, now: float) -> list[str]:
    """T11: return the queued jobs that nobody was told of lately, and mark them as told.

    Ring after the commit. Both bounds are two-sided: a clock that is set back strands no job, and
    one that is a moment behind another process's takes what that one has just told for told.
    """
    session.execute(_brought_near(), {"far": now + FAR_S, "now": now})
    lately = {"from": now - RING_AGAIN_S, "to": now + RING_AGAIN_S}
    jobs = list(session.scalars(_unrung(), {"now": now, **lately}))
    if jobs:
        told = update(Job).where(Job.id.in_(jobs)).values({Job.published: now})
        session.execute(told.execution_options(synchronize_session=False))
    return jobs


def _read(session: Session, job_id: str, owner: str) -> Claim | None:
    """Collect what the owner of a job needs; None if the job has passed to somebody else."""
    job = session.scalar(_mine(), {"job_id": job_id, "owner": owner})
    if job is None:
        return None
    dataset = {"dataset_id": job.dataset_id}
    content, prepared, schema = session.execute(_dataset(), dataset).one()
    return Claim(
        job_id=job_id,
        kind=job.kind,
        attempt=job.attempt,
        owner=owner,
        step=job.step,
        steps=job.steps,
        epoch=job.epoch,
        config=job.config,
        recipe=job.recipe,
        content=content,
        prepared=prepared,
        schema=schema,
        checkpoints=tuple(
            CheckpointRef(row.blob, row.step, row.attempt)
            for row in session.execute(_kept(), {"job_id": job_id})
        ),
        max_seconds=job.config.get("training", job.config).get("max_seconds"),
        memory_bytes=job.memory_bytes,
        certificate=job.certificate,
        warm_start=_warm_start(session, job_id),
    )


def _warm_start(session: Session, job_id: str) -> WarmStartRef | None:
    row = session.get(WarmStart, job_id)
    return None if row is None else WarmStartRef(row.blob, row.architecture, row.receipt)


# Made once each: to build a statement anew costs more than to run it.


@cache
def _oldest_due() -> Select[str]:
    due = (Job.state == "queued", ~Job.cancel, Job.not_before <= bindparam("now"))
    return select(Job.id).where(*due).order_by(Job.seq).limit(1)


@cache
def _brought_near() -> Update:
    far = and_(Job.state == "queued", Job.not_before > bindparam("far"))
    statement = update(Job).where(far).values({Job.not_before: bindparam("now")})
    return statement.execution_options(synchronize_session=False)


@cache
def _unrung() -> Select[str]:
    due = (
        Job.state == "queued",
        Job.not_before <= bindparam("now"),
        ~Job.published.between(bindparam("from"), bindparam("to")),
    )
    wanted = select(Job.id).where(*due).order_by(Job.seq).limit(RINGS_AT_ONCE)
    return wanted.with_for_update(skip_locked=True)


@cache
def _mine() -> Select[Any]:
    mine = (Job.id == bindparam("job_id"), Job.owner == bindparam("owner"))
    return select(Job).where(*mine).options(undefer(Job.certificate))


@cache
def _dataset() -> Select[Any]:
    columns = (Dataset.blob, Dataset.prepared, Dataset.schema)
    return select(*columns).where(Dataset.id == bindparam("dataset_id"))


@cache
def _kept() -> Select[str, int, int]:
    fields = (Checkpoint.blob, Checkpoint.step, Checkpoint.attempt)
    kept = select(*fields).where(Checkpoint.job_id == bindparam("job_id"))
    return kept.order_by(Checkpoint.step.desc())
