"""``chainrule train`` and ``chainrule watch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from chainrule.cli.evaluation import findings
from chainrule.cli.layers import architecture_of, chain
from chainrule.cli.progress import follow, upload
from chainrule.cli.shared import (
    Session,
    best_line,
    job_of,
    metrics_line,
    or_not_found,
    talks,
    took,
    warn,
)
from chainrule.client.payload import document
from chainrule.errors import ClientError
from chainrule.recipe.values import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.client import Dataset, Job

__all__ = ["train", "watch"]

INTERRUPTED = 130
TASKS = ["classification", "regression", "reconstruction", "forecast"]


@click.command()
@click.argument("source", metavar="FILE")
@click.option("--target", metavar="NAME", help="The column (or array) to learn.")
@click.option("--inputs", metavar="NAMES", help="Columns or arrays to learn from, by commas: all.")
@click.option("--exclude", metavar="NAMES", help="Columns not to learn from, by commas, as an id.")
@click.option("--task", type=click.Choice(TASKS), help="By the target.")
@click.option(
    "--architecture",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="JSON",
    help="The network as a file, in the architecture language.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="COLUMN=TYPE",
    help="What a column is: integer, number, categorical, text or datetime.",
)
@click.option("--layers", metavar="SHORT", help="The hidden layers, such as '128 relu, 64 relu'.")
@click.option("--loss", metavar="NAME", help="By the task.")
@click.option("--epochs", type=int, metavar="N")
@click.option("--folds", type=int, metavar="N", help="Cross-validate: a network for each fold too.")
@click.option("--batch-size", type=int, metavar="N")
@click.option("--optimizer", metavar="NAME", help="Such as sgd, nesterov, adam, adamw.")
@click.option("--learning-rate", type=float, metavar="RATE")
@click.option("--seed", type=int, metavar="N", help="Of the split, the weights and the order.")
@click.option(
    "--warm-start", metavar="ID", help="Whose weights to begin with: a model, or a job[@step]."
)
@click.option(
    "--data",
    metavar="JSON",
    help="More of the job's `data`, as JSON or a file of it: split, window, preprocessing ...",
)
@click.option(
    "--training",
    metavar="JSON",
    help="More of its `training`: class_weights, early_stopping, schedule ...",
)
@click.option("--name", metavar="NAME", help="The job's name.")
@click.option("--watch/--detach", "stay", default=True, help="Follow the job (default), or go.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Download the bundle there when the job has succeeded.",
)
@talks
def train(session: Session, source: str, stay: bool, output: Path | None, **options: Any) -> int:
    """Train a network on FILE.

    FILE is a table, arrays or JSON, also packed as .gz, or the id of an uploaded dataset.

    \b
      chainrule train iris.csv --target species --layers "16 relu" --epochs 60

      chainrule train churn.csv --target churned --exclude customer_id \\
        --training '{"class_weights": "balanced", "early_stopping": {}}'

    The last layer is added to fit the target, or written as `auto`. What is not given is the
    service's default; an option of its own goes before --data and --training. Ctrl-C leaves the
    job running.
    """  # noqa: D301 click wants the backspace
    if options["architecture"] and options["layers"] is not None:
        raise click.UsageError("give --architecture or --layers, not both")
    if output and not stay:
        raise click.UsageError("--output waits for the job: it does not go with --detach")
    architecture = (
        document(options["architecture"].read_text("utf-8"))
        if options["architecture"]
        else architecture_of("64 relu" if options["layers"] is None else options["layers"])
    )
    dataset = _dataset(session, source, dict(map(_type, options["types"])))
    job = session.client.train(
        dataset, architecture, _training(options), data=_data(options), name=options["name"]
    )
    warn(session, job.view["warnings"])
    if not session.as_json:
        _remark(session, dataset, job)
    if stay:
        return _finish(session, job, output)
    if session.as_json:
        session.answer(job.view)
    session.say(_headline(job))
    return 0


@click.command()
@click.argument("job_id", metavar="JOB")
@talks
def watch(session: Session, job_id: str) -> int:
    """Follow JOB until it ends; Ctrl-C leaves it running."""
    return _finish(session, job_of(session, job_id), None)


def _finish(session: Session, job: Job, output: Path | None) -> int:
    """See a job to its end, tell how it went, and return the exit code."""
    try:
        session.say(_headline(job))
        follow(session, job)
    except KeyboardInterrupt:
        session.err.print(
            f"\ndetached: {job.id} goes on. Watch it with `chainrule watch {job.id}`, "
            f"stop it with `chainrule cancel {job.id}`.",
            soft_wrap=True,
        )
        return INTERRUPTED
    succeeded = job.state == "succeeded"
    if session.as_json:
        session.answer(job.view)
    else:
        _report(session, job)
    if succeeded and output:
        session.say(f"saved {escape(str(job.download(output)))}")
    return 0 if succeeded else 1


def _headline(job: Job) -> str:
    """Say which job it is and what the service took the task and the network to be."""
    if job.view["kind"] == "parsing":
        size = job.view["progress"]["bytes"]
        return f"{job.state} [bold]{job.id}[/bold]: parsing of {size:,} bytes"
    if job.view["kind"] == "prediction":
        rows = job.view["progress"]["rows"]
        return f"{job.state} [bold]{job.id}[/bold]: prediction of {rows:,} rows"
    data, network = job.view["config"]["data"], chain(job.view["config"]["architecture"])
    tasks, targets = data["task"], data["target"]
    if isinstance(tasks, dict):
        task = ", ".join(f"{tasks[output]} of {escape(targets[output])}" for output in tasks)
    else:
        task = tasks + (f" of {escape(str(targets))}" if targets else "")
    return f"{job.state} [bold]{job.id}[/bold]: {task}, {network}"


def _remark(session: Session, dataset: Dataset, job: Job) -> None:
    """Tell which rows of a table and which layers of a warm start were left out."""
    for skipped in (job.view.get("warm_start") or {}).get("skipped", ()):
        reason = escape(f"{skipped['layer']}: {skipped['reason']}")
        session.err.print(f"[yellow]skipped[/yellow] {reason}", soft_wrap=True)
    data = job.view["config"]["data"]
    columns = {column["name"]: column for column in dataset.view.get("columns", ())}
    column = columns.get(data["target"]) if isinstance(data["target"], str) else None
    if column is None:
        return
    if column["missing"]:
        name = escape(repr(column["name"]))
        rows = counted(column["missing"], "row")
        session.err.print(f"[yellow]dropped[/yellow] {rows} without {name}")


def _report(session: Session, job: Job) -> None:
    color = "green" if job.state == "succeeded" else "red"
    session.say(f"[{color}]{escape(job.summary())}[/{color}]{took(job)}")
    for part, metrics in (job.view.get("metrics") or {}).items():
        if metrics:
            session.say(f"  {part:<11}{metrics_line(metrics)}")
    if found := job.view.get("cross_validation"):
        session.say(f"  folds      {_mean_line(found)}")
    if job.state == "succeeded" and (best := best_line(job)):
        session.say(f"  best       {best}")
    if job.state == "succeeded" and job.view["kind"] == "training":
        for what, text in findings(job):
            session.say(f"  {what:<11}{escape(text)}")
    if job.view.get("model_id"):
        session.say(f"  model      {job.view['model_id']}")
    if job.view.get("result"):
        session.say(f"  result     {job.view['result']['dataset_id']}")


def _mean_line(found: Mapping[str, Any]) -> str:
    """Write each mean over the folds with its standard error."""
    means = {name: mean for name, mean in found["mean"].items() if mean is not None}
    errors = found["standard_error"]
    said = "  ".join(f"{name} {mean:.4f} ± {errors[name]:.4f}" for name, mean in means.items())
    return f"{said} ({len(found['folds'])} folds)"


def _dataset(session: Session, source: str, types: dict[str, str]) -> Dataset:
    if source.startswith("ds_") and not Path(source).exists():
        if types:
            raise click.UsageError("--type is for a file: an uploaded dataset has its types")
        with or_not_found(f"no file and no dataset {source}"):
            return session.client.dataset(source)
    if not Path(source).is_file():
        raise click.BadParameter(f"there is no file {source!r}", param_hint="FILE")
    dataset = upload(session, source, types)
    session.say(f"uploaded {escape(source)}: {dataset.rows:,} rows, {dataset.id}")
    warn(session, dataset.view["warnings"])
    return dataset


def _type(given: str) -> tuple[str, str]:
    name, equals, kind = given.rpartition("=")
    if not equals:
        raise click.BadParameter(f"{given!r} is not COLUMN=TYPE", param_hint="--type")
    return name, kind


def _data(options: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {name: _names(options[name]) for name in ("inputs", "exclude")}
    given |= {"target": options["target"], "task": options["task"]}
    data = _more("data", options)
    if options["folds"] is not None:
        split = data.get("split")
        also = split if isinstance(split, dict) and split.get("kind") == "k_fold" else {}
        given["split"] = {**also, "kind": "k_fold", "folds": options["folds"]}
    return data | {name: value for name, value in given.items() if value is not None}


def _names(given: str | None) -> list[str] | None:
    return [name.strip() for name in given.split(",")] if given else None


def _more(option: str, options: dict[str, Any]) -> dict[str, Any]:
    """Read a part of the job from JSON, or from a file that holds it."""
    given: str = options[option] or "{}"
    try:
        text = given if given.lstrip()[:1] in ("{", "[") else Path(given).read_text("utf-8")
        return document(text)
    except (OSError, UnicodeDecodeError, ClientError) as error:
        raise click.BadParameter(str(error), param_hint=f"--{option}") from None


def _training(options: dict[str, Any]) -> dict[str, Any]:
    plain = ("loss", "epochs", "batch_size", "seed")
    training = _more("training", options)
    training |= {name: options[name] for name in plain if options[name] is not None}
    rate = options["learning_rate"]
    if options["optimizer"] or rate is not None:
        given = training.get("optimizer", "adam") if options["optimizer"] is None else {}
        optimizer = dict(given) if isinstance(given, dict) else {"kind": given}
        if options["optimizer"]:
            optimizer["kind"] = options["optimizer"]
        training["optimizer"] = optimizer if rate is None else optimizer | {"learning_rate": rate}
    if options["warm_start"]:
        training["warm_start"] = _source(options["warm_start"])
    return training


def _source(name: str) -> dict[str, Any]:
    """Read ``mdl_…``, ``job_…`` or ``job_…@120``."""
    if not name.startswith("job_"):
        return {"model_id": name}
    job_id, at, step = name.partition("@")
    if at and not step.isdecimal():
        raise click.BadParameter(f"{step!r} is not a step", param_hint="--warm-start")
    return {"job_id": job_id, "step": int(step)} if at else {"job_id": job_id}
