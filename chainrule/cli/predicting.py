"""``chainrule predict``: a few rows at once, or a file of any kind as a job of the service."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

import chainrule.bundle
from chainrule.cli.progress import follow, upload
from chainrule.cli.rows import UnreadHereError, read_rows
from chainrule.cli.shared import Session, model_of, or_not_found, talks, took, warn
from chainrule.client.payload import MAX_PIECE_BYTES
from chainrule.errors import DataError
from chainrule.recipe.values import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.client import Dataset, Job, Model

__all__ = ["predict"]

RESULTS = ("csv", "ndjson", "npy", "parquet")


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

    FILE is what may be trained on (the target may be left out), JSON ({"rows": [...]},
    {"inputs": [...]} or a list), or - for CSV on stdin. What is no plain CSV, TSV, NDJSON or array
    the service reads: it is uploaded, and predicted by a job. A line of a network with several
    outputs is a JSON object of them.
    A downloaded BUNDLE needs no service. --json adds the probabilities.

    Of millions of rows make a dataset: with --dataset and --output the service predicts them all in
    a job, whatever becomes of this command meanwhile.
    """
    if (rows is None) == (dataset is None) or (dataset is None) != (output is None):
        raise click.UsageError("give a FILE of rows, or --dataset and --output")
    if rows is None:
        return _predict_dataset(session, source, str(dataset), output or Path())
    answer = _here(source, rows) if Path(source).is_file() else _there(session, source, rows)
    if answer is None:
        return 1
    if session.as_json:
        session.answer(answer)
        return 0
    for line in _lines(answer):
        click.echo(line)
    warn(session, [_short(one) for one in answer.get("left_out", ())])
    return 0


def _here(source: str, path: Path) -> dict[str, Any]:
    """Predict by a bundle.  Raises: DataError."""
    model = chainrule.bundle.load(Path(source))
    try:
        _, values = read_rows(path, model.manifest["recipe"])
    except UnreadHereError as error:
        problem = error.problems[0]
        hint = "give the model's id in the place of its bundle, and the service reads the file"
        raise DataError.at(problem.path, f"{problem.detail}; {hint}") from None
    return model.predict(values)


def _there(session: Session, source: str, path: Path) -> dict[str, Any] | None:
    """Predict by the service: at once, or where the file is not plain by a job.

    None, if the job has failed.
    """
    with or_not_found(f"no file {source}, and no job or model of that name"):
        model = model_of(session, source)
    recipe = model.view["preprocessing"] or {}
    piped = str(path) == "-"
    if recipe.get("window") and not piped and path.stat().st_size > MAX_PIECE_BYTES:
        return _by_job(session, model, path)  # a group must not come in pieces
    try:
        kind, values = read_rows(path, recipe)
    except UnreadHereError:
        if piped:
            raise
        return _by_job(session, model, path)
    return model.predict(**{kind: values})


def _by_job(session: Session, model: Model, path: Path) -> dict[str, Any] | None:
    """Upload a file and predict it; return what the result holds as an answer has it."""

    def tell(text: str) -> None:
        if not session.as_json:
            session.err.print(text, soft_wrap=True)

    job = _run(session, model, upload(session, str(path)), "npy", tell)
    if job is None:
        return None
    with TemporaryDirectory(prefix="chainrule-") as folder:
        return _answer(job.result().download(Path(folder) / "result.npy"), model)


def _answer(file: Path, model: Model) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415 most commands do without it

    records = np.load(file)
    answer: dict[str, Any] = {}
    for name in records.dtype.names:
        output, _, field = name.rpartition(".")
        entry = {"prediction": "predictions", "probability": "probabilities"}.get(field, "groups")
        values = records[name].tolist()
        if output:
            answer.setdefault(entry, {})[output] = values
        else:
            answer[entry] = values
    target = model.view["preprocessing"]["target"]
    named = {"": target} if isinstance(target.get("kind"), str) else target
    classes = {output: one["classes"] for output, one in named.items() if "classes" in one}
    if classes:
        answer["classes"] = classes.get("", classes)
    return answer


def _predict_dataset(session: Session, source: str, dataset: str, output: Path) -> int:
    """Predict a dataset as a job, and save its result."""
    format_ = output.suffix.removeprefix(".")
    if format_ not in RESULTS:
        raise click.UsageError(f"--output must end in one of {', '.join(RESULTS)}, got {output}")
    with or_not_found(f"no job or model {source}"):
        model = model_of(session, source)
    given = upload(session, dataset) if Path(dataset).is_file() else dataset
    with or_not_found(f"no file {dataset}, and no dataset of that name"):
        job = _run(session, model, given, format_, session.say)
    if job is None:
        return 1
    path = job.result().download(output)
    if session.as_json:
        session.answer({**job.view, "path": str(path), "bytes": path.stat().st_size})
    session.say(f"saved {escape(str(path))}, {path.stat().st_size:,} bytes{took(job)}")
    return 0


def _run(
    session: Session,
    model: Model,
    dataset: Dataset | str,
    format_: str,
    tell: Callable[[str], None],
) -> Job | None:
    """Predict a dataset, and wait for it; tell what is wrong, if it fails, and return None."""
    job = model.predict_dataset(dataset, format_)
    tell(f"{job.id} predicts {counted(job.view['progress']['rows'], 'row')}")
    warn(session, job.view.get("warnings", []))
    follow(session, job)
    if job.state == "succeeded":
        return job
    if session.as_json:
        session.answer(job.view)
    session.say(f"{job.id} {job.summary()}")
    return None


def _lines(answer: dict[str, Any]) -> list[Any]:
    """Return one line a row, with its group if it has one; of several outputs it is JSON."""
    predictions, groups = answer["predictions"], answer.get("groups")
    lines: list[Any] = predictions
    if isinstance(predictions, dict):
        rows = zip(*predictions.values(), strict=True)
        lines = [json.dumps(dict(zip(predictions, row, strict=True))) for row in rows]
    if groups:
        return [f"{group}\t{line}" for group, line in zip(groups, lines, strict=True)]
    return [*lines]


def _short(group: dict[str, Any]) -> str:
    return f"{group['group']!r} has {counted(group['rows'], 'row')}, too few for a prediction"
