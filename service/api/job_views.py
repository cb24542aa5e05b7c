"""Jobs and what belongs to them, as answers show them."""

from __future__ import annotations

import csv
import hashlib
import io
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from flask import url_for

from service.actions import jobs, warm_starts
from service.actions.advice import advice
from service.api.views import (
    CheckpointView,
    EpochView,
    EventView,
    JobItem,
    JobView,
    PlanView,
    ProgressView,
    SummaryView,
    TransitionView,
    WarmStartView,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.actions.plans import Plan
    from service.actions.warm_starts import Source
    from service.api.idempotency import Shown
    from service.store.tables import Checkpoint, EpochMetrics, Job, JobEvent, WarmStart

__all__ = [
    "asked",
    "checkpoint_view",
    "epoch_view",
    "epochs_csv",
    "event_view",
    "job_item",
    "job_tag",
    "job_view",
    "plan_view",
    "progress_view",
    "queued",
    "thinned",
]

VERSION = version("chainrule")  # another version may write the same job differently


def job_item(job: Job) -> JobItem:
    """Return a job as a list shows it."""
    return JobItem(**_common(job, None))


def job_view(session: Session, job: Job) -> JobView:
    """Return a job in full; its newest epoch tells how fast it goes."""
    rest: dict[str, Any] = {"warnings": []}
    if job.kind == "training":
        said = advice(job.config, job.recipe, job.steps)
        rest["warnings"] = [*said, *jobs.evaluation_warnings(session, job)]
        rest["warm_start"] = _warm_start(job.config, warm_starts.find(session, job.id))
    elif job.kind == "prediction":
        rest["warnings"] = job.config.get("left_out", [])
    return JobView(
        **_common(job, jobs.last_epoch(session, job.id)),
        **rest,
        queue_position=jobs.queue_position(session, job),
        best=job.best,
        cross_validation=(job.metrics or {}).get("cross_validation"),
        config=job.config,
        transitions=[
            TransitionView(**_transition(event)) for event in jobs.events(session, job.id)
        ],
    )


def queued(session: Session, job: Job) -> Shown:
    """Answer with a job that was just submitted."""
    view = job_view(session, job)
    return view, 202, {"Location": view.links["self"], "Retry-After": "1"}


def asked(session: Session, job: Job) -> Shown:
    """Answer with a job of which something was asked."""
    return job_view(session, job), 200, {}


def job_tag(version: tuple[Any, ...]) -> str:
    """Return what changes whenever the view of a job does."""
    return hashlib.sha256(repr((VERSION, *version)).encode()).hexdigest()[:32]


def plan_view(plan: Plan) -> PlanView:
    """Return what a job would be."""
    return PlanView(
        config=plan.config,
        warnings=[*advice(plan.config, plan.recipe, plan.steps), *plan.suspicions()],
        warm_start=_warm_start(plan.config, plan.warm_start),
        summary=SummaryView(**plan.summary),
        rows=plan.rows,
        steps=plan.steps,
        memory_bytes=plan.memory_bytes,
        disk_bytes=plan.disk_bytes,
        seconds=plan.seconds,
    )


def thinned(rows: Sequence[EpochMetrics], most: int | None) -> list[EpochMetrics]:
    """Return at most so many rows: the first, the last, and evenly many between them."""
    if most is None or len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def epoch_view(job: Job, row: EpochMetrics) -> EpochView:
    """Return an epoch's row; the epochs of a cross-validation count through its folds."""
    of_each = job.config["training"]["epochs"]
    fold = (row.epoch - 1) // of_each + 1
    return EpochView(
        epoch=row.epoch,
        step=row.step,
        fold=fold if fold * of_each < job.epochs else None,
        train=row.train,
        validation=row.validation,
        learning_rate=row.learning_rate,
        seconds=row.seconds,
        samples_per_s=row.samples_per_s,
        at=timestamp(row.at) or "",
    )


def epochs_csv(epochs: Sequence[EpochView]) -> str:
    """Return the same rows as a table, such as ``train_loss`` and ``validation_accuracy``."""
    rows = [_flat(epoch) for epoch in epochs]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def checkpoint_view(row: Checkpoint) -> CheckpointView:
    """Return a checkpoint's row."""
    place = url_for("jobs.download_checkpoint", job_id=row.job_id, step=row.step)
    return CheckpointView(
        step=row.step,
        epoch=row.epoch,
        attempt=row.attempt,
        loss=row.loss,
        bytes=row.bytes,
        sha256=row.blob,
        created_at=timestamp(row.at) or "",
        links={"download": place},
    )


def event_view(event: JobEvent) -> EventView:
    """Return a change of a job's state, with its number."""
    return EventView(id=event.seq, **_transition(event))


def _common(job: Job, last: EpochMetrics | None) -> dict[str, Any]:
    place = url_for("jobs.read_job", job_id=job.id)
    parts = (
        ("metrics", "checkpoints", "certificate", "evaluation") if job.kind == "training" else ()
    )
    links = {name: f"{place}/{name}" for name in (*parts, "events", "pause", "resume", "cancel")}
    more = {}
    if job.kind == "parsing" and job.dataset_id is not None:
        links["dataset"] = url_for("datasets.read_dataset", dataset_id=job.dataset_id)
    if job.result is not None:
        more["result"] = job.result
        links["result"] = url_for("datasets.read_dataset", dataset_id=job.result["dataset_id"])
    if job.model_id:
        links["model"] = url_for("models.read_model", model_id=job.model_id)
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": job.state,
        "attempt": job.attempt,
        "dataset_id": job.dataset_id,
        "progress": progress_view(job, last),
        "metrics": _measured(job),
        "error": job.error,
        "model_id": job.model_id,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "ended_at": timestamp(job.ended_at),
        "links": {"self": place, **links},
        **more,
    }


def _measured(job: Job) -> dict[str, Any] | None:
    """Return a job's metrics by part."""
    if job.metrics is None:
        return None
    return {part: found for part, found in job.metrics.items() if part != "cross_validation"}


def progress_view(job: Job, last: EpochMetrics | None = None) -> ProgressView:
    """Return how far a job is, and by its last epoch's pace how long it still takes."""
    if job.kind == "parsing":
        return ProgressView(
            byte=job.step,
            bytes=job.steps,
            fraction=round(job.step / job.steps, 6),
            eta_s=_pace(job)["eta_s"],
            samples_per_s=None,
        )
    if job.kind == "prediction":
        return ProgressView(
            row=job.step,
            rows=job.steps,
            fraction=round(job.step / job.steps, 6),
            **_pace(job),
        )
    eta_s = None
    if job.state == "running" and last is not None and last.seconds is not None and job.steps:
        steps_per_epoch = job.steps / job.epochs
        eta_s = round((job.steps - job.step) / steps_per_epoch * last.seconds, 3)
    return ProgressView(
        epoch=job.epoch,
        epochs=job.epochs,
        step=job.step,
        steps=job.steps,
        fraction=round(job.step / job.steps, 6) if job.steps else 0.0,
        eta_s=eta_s,
        samples_per_s=last.samples_per_s if last else None,
    )


def _pace(job: Job) -> dict[str, float | None]:
    """Return how many rows (or bytes) a second are done since the job began, and what is left."""
    pace = None
    if job.state == "running" and job.started_at is not None and job.step:
        pace = job.step / max(time.time() - job.started_at, 0.001)
    eta_s = None if pace is None else round((job.steps - job.step) / pace, 3)
    return {"eta_s": eta_s, "samples_per_s": None if pace is None else round(pace, 1)}


def _warm_start(config: dict[str, Any], source: Source | WarmStart | None) -> WarmStartView | None:
    if source is None:
        return None
    named = config["training"]["warm_start"]
    return WarmStartView(**named, sha256=source.blob, **source.receipt)


def _transition(event: JobEvent) -> dict[str, Any]:
    return {
        "from_state": event.from_state,
        "to_state": event.to_state,
        "attempt": event.attempt,
        "at": timestamp(event.at) or "",
        "detail": event.detail,
    }


def _flat(epoch: EpochView) -> dict[str, Any]:
    row: dict[str, Any] = {"epoch": epoch.epoch, "step": epoch.step}
    if epoch.fold is not None:
        row["fold"] = epoch.fold
    for part in ("train", "validation"):
        for name, value in (getattr(epoch, part) or {}).items():
            row[f"{part}_{name}"] = value
    return row | epoch.model_dump(include={"learning_rate", "seconds", "samples_per_s", "at"})
