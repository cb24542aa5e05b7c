"""The commands that ask: jobs, models, pause, resume, cancel, delete, download, system."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from chainrule.cli.shared import Session, job_of, metrics_line, model_of, or_not_found, talks

if TYPE_CHECKING:
    from chainrule.client import Job, Model

__all__ = ["cancel", "delete", "download", "jobs", "models", "pause", "resume", "system"]


@click.command()
@click.option("--state", metavar="STATE", help="Only jobs in that state.")
@click.option("--name", metavar="NAME", help="Only jobs of that name.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N")
@talks
def jobs(session: Session, state: str | None, name: str | None, limit: int) -> None:
    """List the jobs, newest first."""
    filters = {k: v for k, v in {"state": state, "name": name}.items() if v}
    found = list(itertools.islice(session.client.jobs(**filters), limit))
    if session.as_json:
        session.answer([job.view for job in found])
        return
    head = ("job", "name", "state", "epoch", "validation loss", "created")
    session.table([head, *map(_job_row, found)])


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N")
@talks
def models(session: Session, limit: int) -> None:
    """List the models, newest first."""
    found = list(itertools.islice(session.client.models(), limit))
    if session.as_json:
        session.answer([model.view for model in found])
        return
    session.table([("model", "name", "score", "created"), *map(_model_row, found)])


@click.command()
@click.argument("job_id", metavar="JOB")
@talks
def cancel(session: Session, job_id: str) -> None:
    """Stop JOB; its last checkpoint is kept."""
    job = job_of(session, job_id).cancel()
    if session.as_json:
        session.answer(job.view)
    session.say(f"{job.id} is {'stopping' if job.state == 'running' else job.state}")


@click.command()
@click.argument("job_id", metavar="JOB")
@talks
def pause(session: Session, job_id: str) -> None:
    """Let JOB wait; it keeps what it has learnt."""
    job = job_of(session, job_id).pause()
    if session.as_json:
        session.answer(job.view)
    session.say(f"{job.id} is {'pausing' if job.state == 'running' else job.state}")


@click.command()
@click.argument("job_id", metavar="JOB")
@talks
def resume(session: Session, job_id: str) -> None:
    """Let JOB, which was paused, go on."""
    job = job_of(session, job_id).resume()
    if session.as_json:
        session.answer(job.view)
    session.say(f"{job.id} is {job.state}")


@click.command()
@click.argument("thing_id", metavar="JOB|MODEL|DATASET")
@talks
def delete(session: Session, thing_id: str) -> None:
    """Delete a job that has ended (not its model), a model, or a dataset that no live job needs."""
    read = {"mdl": session.client.model, "ds": session.client.dataset}
    with or_not_found(f"no job, model or dataset {thing_id}"):
        read.get(thing_id.partition("_")[0], session.client.job)(thing_id).delete()
    if session.as_json:
        session.answer({"deleted": thing_id})
    session.say(f"{thing_id} is deleted")


@click.command()
@click.argument("source", metavar="JOB|MODEL")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="A file, or a directory: by default this one.",
)
@click.option(
    "--format",
    "format_",
    default="bundle",
    show_default=True,
    metavar="NAME",
    help="bundle (zip, loaded by chainrule.load), safetensors, npz or onnx.",
)
@talks
def download(session: Session, source: str, output: Path, format_: str) -> None:
    """Download the model that JOB has trained, or MODEL."""
    with or_not_found(f"no job or model {source}"):
        path = model_of(session, source).download(output, format_)
    if session.as_json:
        session.answer({"path": str(path), "bytes": path.stat().st_size})
    session.say(f"saved {escape(str(path))}, {path.stat().st_size:,} bytes")


@click.command()
@talks
def system(session: Session) -> None:
    """Tell how the service is: its parts, versions and kernels."""
    found = {"ready": session.client.readiness(), "system": session.client.system()}
    if session.as_json:
        session.answer(found)
        return
    session.table([(k, str(v)) for k, v in _flat({"ready": found["ready"], **found["system"]})])


def _job_row(job: Job) -> tuple[str, ...]:
    return (
        job.id,
        job.view["name"],
        job.state,
        job.progress().partition(" ")[2],
        _loss(job),
        _when(job.view["created_at"]),
    )


def _model_row(model: Model) -> tuple[str, ...]:
    return (model.id, model.view["name"], _score(model), _when(model.view["created_at"]))


def _score(model: Model) -> str:
    """Write the metrics of the last part that was measured, but for the loss."""
    for part in ("test", "validation", "train"):
        metrics = (model.view.get("metrics") or {}).get(part)
        if metrics:
            shown = {k: v for k, v in metrics.items() if k != "loss"} or metrics
            return f"{part} {metrics_line(shown)}"
    return ""


def _loss(job: Job) -> str:
    """Write the validation loss; that of the training, marked, where nothing is held out."""
    for part, mark in (("validation", ""), ("train", " (train)")):
        loss = ((job.view.get("metrics") or {}).get(part) or {}).get("loss")
        if loss is not None:
            return f"{loss:.4f}{mark}"
    return ""


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in document.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows


def _when(created: str) -> str:
    """Write a time in the reader's zone."""
    return datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
