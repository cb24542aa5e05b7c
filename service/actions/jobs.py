"""Jobs: queue one, look at it, hold it back, end it.  In between it is ``store.transitions``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, case, func, select
from sqlalchemy.orm import aliased

from service.actions.once import plainly
from service.actions.paging import Page, newest
from service.actions.plans import Plan, plan
from service.errors import NotFoundError
from service.store import blobs, transitions
from service.store.tables import FINAL, Checkpoint, EpochMetrics, Job, JobEvent

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.actions.once import Once
    from service.actions.requests import JobRequest
    from service.broker.bell import Bell
    from service.settings import Settings
    from service.store.database import Database, UnitOfWork

__all__ = [
    "Sight",
    "cancel",
    "certificate",
    "checkpoint_bytes",
    "checkpoints",
    "current_version",
    "delete",
    "enqueue",
    "evaluation",
    "evaluation_warnings",
    "events",
    "get",
    "last_epoch",
    "list_page",
    "metrics",
    "pause",
    "plan",
    "queue_position",
    "resume",
    "submit",
    "version",
    "watch",
]

Version = tuple[Any, ...]
_ahead = aliased(Job)
_PLACE = case(
    (
        Job.state == "queued",
        select(func.count())
        .where(_ahead.state == "queued", _ahead.seq <= Job.seq)
        .scalar_subquery(),
    )
)
_EVENT = select(func.max(JobEvent.seq)).where(JobEvent.job_id == Job.id).scalar_subquery()
_OWNED = (Job.id == bindparam("job_id"), Job.tenant_id == bindparam("tenant"))
_SIGHT = select(Job.state, _EVENT, Job.epoch, Job.epochs, Job.step, Job.steps).where(*_OWNED)
_VERSION = select(Job.id, _EVENT, Job.step, Job.dataset_id, _PLACE).where(*_OWNED)


class Sight(NamedTuple):
    """Where a job is.  ``newest``: its last event."""

    state: str
    newest: int
    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def final(self) -> bool:
        """Whether it has ended, so that nothing of it changes any more."""
        return self.state in FINAL

    @property
    def place(self) -> tuple[str, int, int]:
        """What changes with the state, with what is asked of the job, and with the epoch."""
        return self.state, self.newest, self.epoch

    @property
    def progress(self) -> dict[str, int]:
        """How far it is."""
        return {name: getattr(self, name) for name in ("epoch", "epochs", "step", "steps")}


def submit(  # noqa: PLR0913 one keyword for each part of the request
    database: Database,
    bell: Bell,
    settings: Settings,
    *,
    tenant: str,
    request: JobRequest,
    once: Once = plainly,
) -> Job:
    """Queue a job (T1), once it adds up; the bell rings when other processes can see it.

    Raises: as ``plan``.
    """

    def make() -> Plan:
        with database.read() as session:
            return plan(session, tenant, request, settings)

    # Planned again if what it refers to went in between, as a checkpoint to begin with may.
    act = once(lambda uow, planned: enqueue(uow, planned, bell))
    job: Job = blobs.attached(database, make, act)
    return job


def enqueue(uow: UnitOfWork, planned: Plan, bell: Bell) -> Job:
    """Store a planned job, unless an earlier run of this unit of work has."""
    uow.after_commit(lambda: bell.ring(planned.job_id))
    stored = uow.session.scalar(select(Job).where(Job.id == planned.job_id))
    if stored is not None:
        return stored
    now = time.time()
    job = Job(
        id=planned.job_id,
        tenant_id=planned.tenant,
        kind=planned.kind,
        name=planned.name,
        dataset_id=planned.dataset_id,
        architecture_id=planned.architecture_id,
        steps=planned.steps,
        epochs=planned.epochs,
        memory_bytes=planned.memory_bytes,
        config=planned.config,
        recipe=planned.recipe,
        model_id=planned.model_id,
        published=now,
        created_at=now,
    )
    uow.session.add(job)
    uow.session.flush()
    if planned.warm_start is not None:
        uow.session.add(planned.warm_start.row(job.id))
    event = JobEvent(job_id=job.id, attempt=0, who="api")
    transitions.record(uow.session, event, None, "queued")
    return job


def get(session: Session, tenant: str, job_id: str) -> Job:
    """Return one.  Raises: NotFoundError."""
    owned = (Job.id == job_id, Job.tenant_id == tenant)
    job = session.scalar(select(Job).where(*owned).execution_options(populate_existing=True))
    if job is None:
        raise NotFoundError("job", job_id)
    return job


def list_page(  # noqa: PLR0913 one keyword for each filter
    session: Session,
    tenant: str,
    *,
    limit: int = 20,
    cursor: str | None = None,
    state: str | None = None,
    name: str | None = None,
    dataset_id: str | None = None,
) -> Page[Job]:
    """Return a page of those that match, newest first."""
    filters = ((Job.state, state), (Job.name, name), (Job.dataset_id, dataset_id))
    where = [Job.tenant_id == tenant]
    where += [column == value for column, value in filters if value is not None]
    return newest(session, Job, where, limit, cursor)


def cancel(uow: UnitOfWork, tenant: str, job_id: str) -> Job:
    """End a job that waits, ask a running one to end (T10).

    Raises: NotFoundError; ConflictError, if it succeeded or failed before.
    """
    transitions.cancel(uow.session, job_id, tenant)
    return get(uow.session, tenant, job_id)


def pause(uow: UnitOfWork, tenant: str, job_id: str) -> Job:
    """Hold back a job that waits, ask a running one to give itself back (T13).

    Raises: NotFoundError; ConflictError, if it has ended or is being cancelled.
    """
    transitions.pause(uow.session, job_id, tenant)
    return get(uow.session, tenant, job_id)


def resume(uow: UnitOfWork, bell: Bell, tenant: str, job_id: str) -> Job:
    """Put a paused job in the queue again (T14), in its old place.

    Raises: NotFoundError; ConflictError, if it has ended, or is still about to pause.
    """
    uow.after_commit(lambda: bell.ring(job_id))
    transitions.resume(uow.session, job_id, tenant, now=time.time())
    return get(uow.session, tenant, job_id)


def delete(uow: UnitOfWork, tenant: str, job_id: str) -> None:
    """Delete a job that has ended (T12); its model stays.

    Raises: NotFoundError; ConflictError, if it has not ended.
    """
    if not uow.once(transitions.delete_job(uow.session, job_id, tenant)):
        raise NotFoundError("job", job_id)


def certificate(session: Session, tenant: str, job_id: str) -> dict[str, Any]:
    """Return what the check of a job's gradients found.

    Raises: NotFoundError, also while the job has not begun, or if it ended before it had.
    """
    return _report(session, tenant, job_id, Job.certificate, "it is made as it begins")


def evaluation(session: Session, tenant: str, job_id: str) -> dict[str, Any]:
    """Return how well the network of a job has learnt.

    Raises: NotFoundError, also while the job has not succeeded, or if it ended otherwise.
    """
    return _report(session, tenant, job_id, Job.evaluation, "it is made at the end")


def evaluation_warnings(session: Session, job: Job) -> list[str]:
    """Return what the evaluation of a job, if there is one, found to say against its data."""
    if job.state != "succeeded":
        return []
    of_job = select(Job.evaluation["warnings"]).where(Job.id == job.id)
    return list(session.scalar(of_job) or ())


def _report(session: Session, tenant: str, job_id: str, column: Any, made: str) -> dict[str, Any]:
    """Return what a job has in a column of its own.  Raises: NotFoundError, also without any."""
    owned = (Job.id == job_id, Job.tenant_id == tenant)
    row = session.execute(select(column, Job.state).where(*owned)).first()
    if row is None:
        raise NotFoundError("job", job_id)
    report, state = row
    if report is None:
        when = "which ended without one" if state in FINAL else f"yet: {made}"
        raise NotFoundError(column.key, f"of job {job_id} {when}")
    return dict(report)


def events(session: Session, job_id: str, *, after: int = 0) -> list[JobEvent]:
    """Return the changes of a job's state, the oldest first, or those after one of them.

    Their numbers grow in the order of their commits, since each is drawn under the lock of the
    job's row: whoever has seen one has seen, or will see, all that have a lower number.
    """
    history = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
    return list(session.scalars(history.order_by(JobEvent.seq)))


def watch(database: Database, tenant: str, job_id: str) -> Sight:
    """Return what a client may be waiting for, in one round trip.  Raises: NotFoundError."""
    return Sight(*_found(database.glance(_SIGHT, tenant=tenant, job_id=job_id), job_id))


def queue_position(session: Session, job: Job) -> int | None:
    """Return a queued job's place in the queue, from 1; None for any other job."""
    if job.state != "queued":
        return None
    return session.scalar(select(_PLACE).where(Job.id == job.id))


def version(session: Session, tenant: str, job_id: str) -> Version:
    """Return what changes whenever anything else that a reader sees of a job does.

    Each change of ``state``, ``attempt`` or ``cancel`` is an event, epochs change with ``step``.
    Raises: NotFoundError.
    """
    row = session.execute(_VERSION, {"tenant": tenant, "job_id": job_id}).first()
    return _found(None if row is None else tuple(row), job_id)


def current_version(database: Database, tenant: str, job_id: str) -> Version:
    """Return the same as it is right now, in one round trip.  Raises: NotFoundError."""
    return _found(database.glance(_VERSION, tenant=tenant, job_id=job_id), job_id)


def metrics(session: Session, job_id: str) -> list[EpochMetrics]:
    """Return what each completed epoch measured, in order."""
    rows = select(EpochMetrics).where(EpochMetrics.job_id == job_id)
    return list(session.scalars(rows.order_by(EpochMetrics.epoch)))


def last_epoch(session: Session, job_id: str) -> EpochMetrics | None:
    """Return what the newest completed epoch measured."""
    rows = select(EpochMetrics).where(EpochMetrics.job_id == job_id)
    return session.scalar(rows.order_by(EpochMetrics.epoch.desc()).limit(1))


def checkpoints(session: Session, job_id: str) -> list[Checkpoint]:
    """Return the kept checkpoints, the oldest first."""
    rows = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return list(session.scalars(rows.order_by(Checkpoint.step)))


def checkpoint_bytes(session: Session, job_id: str, step: int) -> bytes:
    """Return a kept checkpoint's bytes.  Raises: NotFoundError; CorruptError."""
    kept = (Checkpoint.job_id == job_id, Checkpoint.step == step)
    sha256 = session.scalar(select(Checkpoint.blob).where(*kept))
    if sha256 is None:
        raise NotFoundError("checkpoint", f"{step} of job {job_id}")
    return blobs.read(session, sha256)


def _found(version: Version | None, job_id: str) -> Version:
    if version is None:
        raise NotFoundError("job", job_id)
    return version
