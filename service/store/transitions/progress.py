"""What an attempt leaves behind: committed units with their checkpoints, and at last the model."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, delete, select

from service import faults
from service.ids import new_id
from service.store import blobs
from service.store.tables import Checkpoint, EpochMetrics, Job, Model, Step
from service.store.transitions.guards import Fence, Signals, change, finite, leave, signals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from service.store.blobs import StagedBlob
    from service.store.transitions.guards import Values

__all__ = ["NewModel", "Unit", "advance", "certify", "commit_unit", "succeed"]

KEPT = 2  # the last checkpoints, besides the best


@dataclass(frozen=True)
class NewModel:
    """A trained network to store."""

    bundle: StagedBlob
    spec: dict[str, Any]
    recipe: dict[str, Any] | None
    fingerprint: str
    weights_sha256: str
    evaluation: dict[str, Any] | None = None
    id: str = field(default_factory=lambda: new_id("mdl"))


@dataclass(frozen=True)
class Unit:
    """The batches (or rows) after ``prev`` up to ``step``, as one attempt did them."""

    job_id: str
    attempt: int
    prev: int
    step: int
    epoch: int
    loss: float | None
    blob: StagedBlob
    at: float


def commit_unit(  # noqa: PLR0913 one keyword for each fact of a unit
    session: Session,
    job_id: str,
    attempt: int,
    *,
    prev: int,
    step: int,
    epoch: int,
    blob: StagedBlob,
    loss: float | None,
    metrics_rows: Sequence[Mapping[str, Any]] = (),
) -> Signals | None:
    """T4: the batches after ``prev`` up to ``step`` are done, and ``blob`` is their checkpoint.

    ``epoch``: completed epochs. ``loss``: what the best checkpoint has least of.
    ``metrics_rows``: for each epoch completed in this unit {epoch, step, train, validation,
    learning_rate, seconds, samples_per_s}. ``prev = step = 0`` commits the first checkpoint, which
    is no progress. None: the attempt is over and nothing was written.
    Raises: IntegrityError, if a staged chunk is gone; ``blobs.attached`` stages it again.
    """
    unit = Unit(job_id, attempt, prev, step, epoch, finite(loss), blob, time.time())
    values: dict[Any, Any] = {Job.epoch: epoch}
    if metrics_rows:
        last = metrics_rows[-1]
        values[Job.metrics] = finite({"train": last["train"], "validation": last["validation"]})
    new, asked = advance(session, unit, values)
    if new:
        session.add_all(_epoch(unit, each) for each in metrics_rows)
        session.flush()
        _add_checkpoint(session, unit)
        _prune(session, unit)
    return asked


def advance(session: Session, unit: Unit, values: Values) -> tuple[bool, Signals | None]:
    """Move the job on by a unit (T4), unless an earlier run of this unit of work has.

    Returns: whether what belongs to the unit is still to be written, and what is asked of the
    attempt; None, if that is over.
    """
    moved: dict[Any, Any] = {**values, Job.step: unit.step, Job.hb: Job.hb + 1}
    if unit.step > unit.prev:
        moved[Job.crashes] = 0
    fence = Fence(unit.job_id, unit.attempt, also=Job.step == unit.prev)
    row = change(session, fence.where, moved)
    if row is None:
        return False, _committed(session, unit)
    if unit.step > unit.prev:
        session.add(_step(unit))
    session.flush()
    return True, signals(row)


def certify(
    session: Session, job_id: str, attempt: int, certificate: dict[str, Any]
) -> Signals | None:
    """Keep what the check of the gradients found.  None: the attempt is over."""
    values = {Job.certificate: finite(certificate)}
    return signals(change(session, Fence(job_id, attempt).where, values))


def succeed(  # noqa: PLR0913 one keyword for each fact of the end
    session: Session,
    job_id: str,
    attempt: int,
    *,
    step: int,
    metrics: dict[str, Any],
    model: NewModel,
    early: bool = False,
) -> bool:
    """T5, running -> succeeded: all steps are committed, or ``early`` stopping ended them here.

    Returns: whether the job and its model are stored.  Raises: as ``commit_unit``.
    """
    complete = Job.step == step if early else and_(Job.step == step, Job.step == Job.steps)
    values = {
        Job.state: "succeeded",
        Job.ended_at: time.time(),
        Job.steps: step,
        Job.metrics: finite(metrics),
        Job.evaluation: finite(model.evaluation),
        Job.model_id: model.id,
        Job.error: None,
    }
    if leave(session, Fence(job_id, attempt, also=complete), values) is None:
        return False
    # By job, not by id: a closure that runs again may have made itself another model.
    if session.scalar(select(Model.id).where(Model.job_id == job_id)) is None:
        _store_model(session, job_id, finite(metrics), model)
    return True


def _committed(session: Session, unit: Unit) -> Signals | None:
    """Answer for a unit whose COMMIT had gone through although its answer was lost."""
    same = (
        Step.step == unit.step,
        Step.prev == unit.prev,
        Step.attempt == unit.attempt,
        Step.checkpoint_sha256 == unit.blob.sha256,
    )
    fence = Fence(unit.job_id, unit.attempt, also=Job.step == unit.step)
    wanted = select(Job.cancel, Job.pause).join(Step, Step.job_id == Job.id)
    return signals(session.execute(wanted.where(fence.where, *same)).first())


def _step(unit: Unit) -> Step:
    return Step(
        job_id=unit.job_id,
        step=unit.step,
        prev=unit.prev,
        attempt=unit.attempt,
        epoch=unit.epoch,
        loss=unit.loss,
        checkpoint_sha256=unit.blob.sha256,
        at=unit.at,
    )


def _epoch(unit: Unit, row: Mapping[str, Any]) -> EpochMetrics:
    return EpochMetrics(
        job_id=unit.job_id,
        epoch=row["epoch"],
        step=row["step"],
        train=finite(row["train"]),
        validation=finite(row["validation"]),
        learning_rate=finite(row["learning_rate"]),
        seconds=finite(row["seconds"]),
        samples_per_s=finite(row["samples_per_s"]),
        at=unit.at,
    )


def _add_checkpoint(session: Session, unit: Unit) -> None:
    faults.reach("checkpoint")
    blobs.attach(session, unit.blob)
    checkpoint = {
        "job_id": unit.job_id,
        "step": unit.step,
        "epoch": unit.epoch,
        "attempt": unit.attempt,
        "loss": unit.loss,
        "blob": unit.blob.sha256,
        "bytes": unit.blob.bytes,
        "at": unit.at,
    }
    blobs.insert_new(session, Checkpoint, [checkpoint])


def _prune(session: Session, unit: Unit) -> None:
    """Drop all checkpoints but the best and the last two, bytes and all; note a new best."""
    faults.reach("prune")
    rows = session.execute(_newest_first(), {"job_id": unit.job_id}).all()
    best = min((row for row in rows if row.loss is not None), key=_by_loss, default=None)
    keep = {row.step for row in rows[:KEPT]}
    if best is not None:
        keep.add(best.step)
        if best.step == unit.step:
            noted = {"step": best.step, "epoch": best.epoch, "loss": best.loss}
            change(session, Fence(unit.job_id, unit.attempt).where, {Job.best: noted})
    for row in rows:
        if row.step not in keep:
            one = and_(Checkpoint.job_id == unit.job_id, Checkpoint.step == row.step)
            session.execute(delete(Checkpoint).where(one))
            blobs.discard(session, row.blob)


@cache  # to build a statement anew costs more than to run it
def _newest_first() -> Select[int, int, float | None, str]:
    columns = (Checkpoint.step, Checkpoint.epoch, Checkpoint.loss, Checkpoint.blob)
    of_job = select(*columns).where(Checkpoint.job_id == bindparam("job_id"))
    return of_job.order_by(Checkpoint.step.desc())


def _by_loss(row: Any) -> tuple[float, int]:
    return row.loss, row.step


def _store_model(session: Session, job_id: str, metrics: dict[str, Any], model: NewModel) -> None:
    blobs.attach(session, model.bundle)
    job = session.execute(select(Job.tenant_id, Job.name).where(Job.id == job_id)).one()
    session.add(
        Model(
            id=model.id,
            tenant_id=job.tenant_id,
            job_id=job_id,
            name=job.name,
            spec=model.spec,
            recipe=model.recipe,
            metrics=metrics,
            evaluation=finite(model.evaluation),
            fingerprint=model.fingerprint,
            weights_sha256=model.weights_sha256,
            bundle=model.bundle.sha256,
            bytes=model.bundle.bytes,
            created_at=time.time(),
        )
    )
    session.flush()
