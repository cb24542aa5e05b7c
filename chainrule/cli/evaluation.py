"""``chainrule evaluation``, and the verdict at the end of ``chainrule train``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from chainrule.cli.shared import Session, or_not_found, talks, warn
from chainrule.errors import ApiError
from chainrule.recipe.values import moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chainrule.client import Job

    Report = Mapping[str, Any]
    Rows = list[list[str]]

__all__ = ["evaluation", "findings"]

MAX_ROWS = 12  # of a table
MAX_CONFUSED = 12  # classes of a matrix that fits a terminal


@click.command()
@click.argument("source", metavar="JOB|MODEL")
@talks
def evaluation(session: Session, source: str) -> int:
    """Show how well the network of JOB has learnt, beside models that need none.

    Each number has its interval at 95 %. The tables by class and by segment are of the test rows,
    or where there are none of the validation or training rows.
    """
    read = session.client.model if source.startswith("mdl_") else session.client.job
    with or_not_found(f"no evaluation of {source}: no such job or model, or it has not ended well"):
        report = read(source).evaluation()
    if session.as_json:
        session.answer(report)
    elif report["status"] != "complete":
        session.say(f"{report['status']}: {escape(report['reason'])}")
    else:
        warn(session, report.get("warnings", []))
        for name, output in report["outputs"].items():
            _show(session, report, name, output)
    return 0 if report["status"] != "failed" else 1


def findings(job: Job) -> Iterator[tuple[str, str]]:
    """Return the verdict on each output of a job that has succeeded, and what the rows say.

    Each has a word before it that says what it is; there is none of a job that was not measured.
    """
    try:
        report = job.evaluation()
    except ApiError as error:
        if error.status != 404:  # an older service does not measure
            raise
        return
    if report["status"] == "failed":
        yield "verdict", report["reason"]
    for name, output in report["outputs"].items():
        whose = f"{name}: " if len(report["outputs"]) > 1 else ""
        yield "verdict", f"{whose}{output['verdict']['text']}"
    for warning in report.get("warnings", []):
        yield "warning", warning


def _show(session: Session, report: Report, name: str, output: Report) -> None:
    part, verdict = report["judged"], output["verdict"]
    rows = report["rows"][part]
    color = {"better": "green", "not_better": "red"}.get(verdict["status"], "yellow")
    session.say(f"[bold]{escape(output['target'] or name)}[/bold] ({output['task']})")
    session.say(f"[{color}]{escape(verdict['text'])}[/{color}]")
    sampled = "" if rows["rows_used"] == rows["rows"] else f", of them {rows['rows_used']:,} drawn"
    session.say(f"judged on {rows['rows']:,} {part} rows{sampled}")
    _table(session, "metrics", _metrics(report, output))
    _table(session, "null models", _nulls(output))
    for one, title in (("classes", "classes, the worst first"), ("labels", "labels, worst first")):
        if output["parts"][part].get(one):
            _table(session, title, _classes(output["parts"][part][one]))
    confusion = output["parts"][part].get("confusion")
    if confusion and len(confusion["counts"]) <= MAX_CONFUSED:
        _table(session, "true class below, predicted class to the right", _confusion(confusion))
    if output["slices"] and output["slices"]["items"]:
        title = f"segments, the worst first of {output['slices']['count']:,}"
        _table(session, title, _segments(output["slices"]))


def _table(session: Session, title: str, rows: Rows) -> None:
    session.say(f"\n{escape(title)}")
    session.table([["  " + row[0], *row[1:]] for row in rows])


def _metrics(report: Report, output: Report) -> Rows:
    parts = output["parts"]
    names = dict.fromkeys(name for one in parts.values() for name in one["metrics"])
    head = ["", *(f"{part} ({report['rows'][part]['rows_used']:,})" for part in parts)]
    lines = [
        [name, *(_estimate(one["metrics"].get(name)) for one in parts.values())] for name in names
    ]
    return [head, *lines]


def _nulls(output: Report) -> Rows:
    verdict = output["verdict"]
    part, metric = verdict["part"], verdict["metric"]
    rows = [["the network", f"{metric} {_estimate(output['parts'][part]['metrics'][metric])}"]]
    for null in output["null_models"]:
        said = f"left out: {null['reason']}"
        if null["reason"] is None:
            said = f"{metric} {_estimate(null['parts'][part][metric])}"
        rows.append([null["kind"].replace("_", " "), said])
    return rows


def _classes(table: Sequence[Report]) -> Rows:
    numbers = ("precision", "recall", "f1")
    worst = sorted(table, key=lambda row: row["f1"])[:MAX_ROWS]
    head = ["", *numbers, "support"]
    return [
        head,
        *(
            [str(row["label"]), *(f"{row[n]:.3f}" for n in numbers), f"{row['support']:,}"]
            for row in worst
        ),
    ]


def _confusion(confusion: Report) -> Rows:
    words = [*map(str, confusion["classes"]), *(["others"] if confusion["others"] else [])]
    lines = zip(words, confusion["counts"], strict=True)
    return [["", *words], *([word, *map(str, counts)] for word, counts in lines)]


def _segments(slices: Report) -> Rows:
    head = ["", "rows", slices["metric"]]
    worst = slices["items"][:MAX_ROWS]
    return [head, *([_segment(one), f"{one['rows']:,}", _estimate(one)] for one in worst)]


def _segment(one: Report) -> str:
    """Name a segment: ``sex = female``, ``18 < age <= 31``, ``day <= 2024-05-31``."""
    column = one["column"]
    if one.get("missing"):
        return f"{column} is missing"
    if one.get("unseen"):
        return f"{column} is new to the model"
    if "category" in one:
        return f"{column} = {one['category']}"
    write = _time if one.get("datetime") else "{:.6g}".format
    above = "" if one["above"] is None else f"{write(one['above'])} < "
    return f"{above}{column} <= {write(one['to'])}"


def _time(seconds: float) -> str:
    return moment(seconds).removesuffix("T00:00:00Z")


def _estimate(one: Report | None) -> str:
    """Write a number with its interval: ``0.9130 [0.8801, 0.9376]``."""
    if one is None or one["value"] is None:
        return "-"
    ends = "" if one["low"] is None else f" [{one['low']:.4g}, {one['high']:.4g}]"
    return f"{one['value']:.4g}{ends}"
