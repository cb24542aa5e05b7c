"""The evaluation report of a trained network, as plain JSON: equal networks have equal reports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.evaluation.classes import ClassScores
from chainrule.evaluation.intervals import CONFIDENCE
from chainrule.evaluation.labels import LabelScores
from chainrule.evaluation.nulls import PARTS, Null, fit_nulls
from chainrule.evaluation.numbers import NumberScores
from chainrule.evaluation.outputs import ClassOutput, described
from chainrule.evaluation.reading import Answered, Reader
from chainrule.evaluation.slices import slices
from chainrule.evaluation.suspicions import suspicions
from chainrule.evaluation.verdict import verdict
from chainrule.spec import summarize
from chainrule.streams import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chainrule.evaluation.outputs import Output, Scores
    from chainrule.kernels import Array
    from chainrule.network import Network
    from chainrule.recipe import Recipe
    from chainrule.recipe.split import Split
    from chainrule.recipe.targets import Label

__all__ = ["evaluation_report", "unevaluated"]

VERSION = 1
MAX_ROWS = 200_000  # of a part
MAX_FLOPS = 2e11  # of the forward passes of a part
MAX_ANSWERS = 2_000_000  # numbers that the network gives for a part
LEAST_ROWS = 1_000  # whatever they cost


def evaluation_report(
    net: Network,
    recipe: Recipe,
    tensors: Mapping[str, Array],
    split: Split,
    tell: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure a network on the rows of every part, beside null models on the same rows.

    What is shown in detail is the last part that has rows: test, else validation, else train.
    The recipe's seed draws the rows of a part that has too many. ``tell`` is called now and then.
    """
    given = {part: getattr(split, part) for part in PARTS if len(getattr(split, part))}
    reader = Reader(net, recipe, tensors, _sampled(net, given, recipe.seed), tell)
    judged = [*given][-1]
    answered = {part: reader.answered(part) for part in reader.parts}
    nulls = fit_nulls(reader, answered["train"], recipe.seed)
    found: dict[str, Any] = _head("complete", None)
    found["judged"] = judged
    found["rows"] = {
        part: {"rows": len(rows), "rows_used": len(reader.parts[part])}
        for part, rows in given.items()
    }
    tell()
    found["warnings"] = suspicions(tensors, recipe)
    for name, output in reader.outputs.items():
        tell()
        mine = {part: one[name] for part, one in answered.items()}
        found["outputs"][name] = {
            **described(output, reader.learnt[name]),
            **_output(reader, output, mine, nulls[name], judged),
        }
    return found


def unevaluated(status: str, reason: str) -> dict[str, Any]:
    """Return the report of a network that was not measured, and why."""
    return _head(status, reason)


def _head(status: str, reason: str | None) -> dict[str, Any]:
    return {
        "version": VERSION,
        "status": status,
        "reason": reason,
        "confidence": CONFIDENCE,
        "judged": None,
        "rows": {},
        "warnings": [],
        "outputs": {},
    }


def _sampled(net: Network, given: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Return the rows to measure: all, or where there are too many a sample, ascending."""
    flops = max(int(summarize(net.spec)["flops_per_sample"]), 1)
    width = sum(math.prod(shape) for shape in net.output_shapes.values())
    most = min(MAX_ROWS, max(LEAST_ROWS, int(MAX_FLOPS / flops)), max(1, MAX_ANSWERS // width))
    found = {}
    for part, rows in given.items():
        found[part] = rows
        if len(rows) > most:
            rng = generator(seed, "evaluation", PARTS.index(part))
            found[part] = rows[np.sort(rng.choice(len(rows), most, replace=False))]
    return found


def _output(
    reader: Reader,
    output: Output,
    answered: Mapping[str, Answered],
    nulls: Sequence[Null],
    judged: str,
) -> dict[str, Any]:
    """Return what one output's report says: of every part, in detail of one, and the verdict."""
    parts: dict[str, Any] = {}
    null_parts: dict[str, dict[str, Any]] = {null.kind: {} for null in nulls}
    metric = output.metric(answered["train"].truth)
    ending: dict[str, Any] = {}
    for part, one in answered.items():
        model = output.score(one.answers, one.truth, one.rows, null=False)
        metrics = model.measure()
        parts[part] = {"positions": len(one.truth), "metrics": metrics, **_tables(output, model)}
        rivals = {}
        for null in nulls:
            if null.answer is not None:
                said = one.kept(reader.predictions(part, null.answer))
                rival = output.score(said, one.truth, one.rows, null=True)
                rivals[null.kind] = rival, null_parts[null.kind].setdefault(part, rival.measure())
        if part == judged:
            rows = len(reader.parts[part])
            ending["detail"] = _detail(output, model)
            ending["slices"] = _slices(reader, model, judged)
            ending["verdict"] = verdict(judged, rows, metric, (model, metrics), rivals)
    return {"parts": parts, "null_models": [_null(one, null_parts) for one in nulls], **ending}


def _null(null: Null, parts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": null.kind,
        "rows": null.rows,
        "reason": null.reason,
        "parts": parts[null.kind],
    }


def _tables(output: Output, scores: Scores) -> dict[str, Any]:
    """Return the tables by class or label."""
    if isinstance(scores, ClassScores):
        words = _words(output)
        return {"classes": scores.table(words), "confusion": scores.confusion(words)}
    return {"labels": scores.table()} if isinstance(scores, LabelScores) else {}


def _detail(output: Output, scores: Scores) -> dict[str, Any]:
    """Return the curves and distributions."""
    if isinstance(scores, ClassScores):
        return scores.detail(_words(output))
    return scores.detail()


def _words(output: Output) -> list[Label]:
    return output.words if isinstance(output, ClassOutput) else []


def _slices(reader: Reader, scores: Scores, part: str) -> dict[str, Any] | None:
    """Return how the segments of a table fare; None of arrays, which have no columns."""
    columns = reader.columns()
    if not columns:
        return None
    each, shares = scores.each, not isinstance(scores, NumberScores)
    if scores.rows is not None:  # the mean of each row's positions
        count = len(reader.parts[part])
        positions = np.bincount(scores.rows, minlength=count)
        each = np.bincount(scores.rows, each, minlength=count) / np.maximum(positions, 1)
    found = slices(columns, lambda name: reader.column(part, name), each, shares=shares)
    for one in found["items"]:
        if "to" in one and reader.holds_times(one["column"]):
            one["datetime"] = True
    return {"metric": "accuracy" if shares else "mae", **found}
