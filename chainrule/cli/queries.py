"""The commands that ask: jobs, pause, resume, cancel, delete, download, predict, system."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

import chainrule.bundle
from chainrule.cli.progress import follow, upload
from chainrule.cli.rows import read_rows
from chainrule.cli.shared import Session, job_of, or_not_found, talks, took

if TYPE_CHECKING:
    from chainrule.client import Job, Model

__all__ = ["cancel", "delete", "download", "jobs", "pause", "predict", "resume", "system"]

RESULTS = ("csv", "ndjson", "npy", "parquet")


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
        path = _model(session, source).download(output, format_)
    if session.as_json:
        session.answer({"path": str(path), "bytes": path.stat().st_size})
    session.say(f"saved {escape(str(path))}, {path.stat().st_size:,} bytes")


@click.command()
@click.argument("source", metavar="JOB|MODEL|BUNDLE")
@click.argument(
    "rows",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    required=False,
)
@click.option("--dataset", metavar="ID|FILE", help="Predict all rows of a dataset, as a job.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the result of --dataset goes: a .csv, .ndjson, .npy or .parquet file.",
)
@talks
def predict(
    session: Session, source: str, rows: Path | None, dataset: str | None, output: Path | None
) -> int | None:
    """Predict the rows of FILE, one prediction a line.

    FILE is CSV as in training (the target may be left out), JSON ({"rows": [...]},
    {"inputs": [...]} or a list), NPZ with one array or those of the training, or - for CSV on
    stdin. A line of a network with several outputs is a JSON object of them.
    A downloaded BUNDLE needs no service. --json adds the probabilities.

    Of millions of rows make a dataset: with --dataset and --output the service predicts them all in
    a job, whatever becomes of this command meanwhile.
    """
    if (rows is None) == (dataset is None) or (dataset is None) != (output is None):
        raise click.UsageError("give a FILE of rows, or --dataset and --output")
    if rows is None:
        return _predict_dataset(session, source, str(dataset), output or Path())
    if Path(source).is_file():
        model = chainrule.bundle.load(Path(source))
        _, values = read_rows(rows, _arrays_of(model.manifest["recipe"]))
        answer: dict[str, Any] = model.predict(values)
    else:
        with or_not_found(f"no file {source}, and no job or model of that name"):
            trained = session.client.model(_model(session, source).id)
        kind, values = read_rows(rows, _arrays_of(trained.view["preprocessing"]))
        answer = trained.predict(**{kind: values})
    if session.as_json:
        session.answer(answer)
    else:
        for line in _lines(answer["predictions"]):
            click.echo(line)
    return None


def _predict_dataset(session: Session, source: str, dataset: str, output: Path) -> int:
    """Predict a dataset as a job, and save its result."""
    format_ = output.suffix.removeprefix(".")
    if format_ not in RESULTS:
        raise click.UsageError(f"--output must end in one of {', '.join(RESULTS)}, got {output}")
    with or_not_found(f"no job or model {source}"):
        model = _model(session, source)
    given = upload(session, dataset) if Path(dataset).is_file() else dataset
    with or_not_found(f"no file {dataset}, and no dataset of that name"):
        job = model.predict_dataset(given, format_)
    session.say(f"{job.id} predicts {job.view['progress']['rows']:,} rows")
    follow(session, job)
    if job.state != "succeeded":
        if session.as_json:
            session.answer(job.view)
        session.say(f"{job.id} {job.summary()}")
        return 1
    path = job.result().download(output)
    if session.as_json:
        session.answer({**job.view, "path": str(path), "bytes": path.stat().st_size})
    session.say(f"saved {escape(str(path))}, {path.stat().st_size:,} bytes{took(job)}")
    return 0


@click.command()
@talks
def system(session: Session) -> None:
    """Tell how the service is: its parts, versions and kernels."""
    found = {"ready": session.client.readiness(), "system": session.client.system()}
    if session.as_json:
        session.answer(found)
        return
    session.table([(k, str(v)) for k, v in _flat({"ready": found["ready"], **found["system"]})])


def _model(session: Session, source: str) -> Model:
    if source.startswith("mdl_"):
        return session.client.model(source)
    return session.client.job(source).model()


def _arrays_of(recipe: dict[str, Any] | None) -> str | list[str] | None:
    """Return the name of the array that a recipe reads, or of several; None for a table."""
    inputs: dict[str, Any] = recipe["inputs"] if recipe else {"kind": "none"}
    if isinstance(inputs.get("kind"), str):
        return inputs.get("name")
    names = [one["name"] for one in inputs.values() if "name" in one]
    return list(dict.fromkeys(names)) or None


def _lines(predictions: Any) -> list[Any]:
    """Return one line a row; of several outputs it is a JSON object."""
    if not isinstance(predictions, dict):
        return list(predictions)
    rows = zip(*predictions.values(), strict=True)
    return [json.dumps(dict(zip(predictions, row, strict=True))) for row in rows]


def _job_row(job: Job) -> tuple[str, ...]:
    return (
        job.id,
        job.view["name"],
        job.state,
        job.progress().partition(" ")[2],
        _loss(job),
        _when(job.view["created_at"]),
    )


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
