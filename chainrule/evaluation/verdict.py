"""Whether a network is better than the best that anybody could say without it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.evaluation.classes import ClassScores
from chainrule.evaluation.intervals import Z_SCORE, standard_error
from chainrule.evaluation.labels import LabelScores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.evaluation.intervals import Estimate
    from chainrule.evaluation.numbers import NumberScores
    from chainrule.evaluation.outputs import Scores
    from chainrule.kernels import Array

    Measured = tuple[Scores, Mapping[str, Estimate]]

__all__ = ["difference", "verdict"]

ERRORS = ("rmse", "mae")  # the metrics of which less is better
MIN_ROWS = 10


def verdict(
    part: str, rows: int, metric: str, model: Measured, nulls: Mapping[str, Measured]
) -> dict[str, Any]:
    """Compare a model with the best null model, on the same rows of a part."""
    values = {kind: one[metric]["value"] for kind, (_, one) in nulls.items()}
    known = {kind: value for kind, value in values.items() if value is not None}
    found: dict[str, Any] = {"status": "unclear", "part": part, "metric": metric}
    found["value"] = model[1][metric]["value"]
    found |= dict.fromkeys(("null_model", "null_value", "gain", "margin"))
    if found["value"] is not None and known:
        best = (min if metric in ERRORS else max)(known, key=lambda kind: known[kind])
        gain, margin = difference(metric, model[0], nulls[best][0])
        found |= {"null_model": best, "null_value": known[best], "gain": gain}
        if rows >= MIN_ROWS and math.isfinite(margin):
            status = "better" if gain > margin else "not_better"
            found |= {"status": status, "margin": margin}
    return {**found, "text": _text(found, rows)}


def difference(metric: str, model: Scores, null: Scores) -> tuple[float, float]:
    """Return by how much a model is better, and the half of its interval: of pairs, row by row."""
    if isinstance(model, ClassScores) and isinstance(null, ClassScores):
        if metric == "balanced_accuracy":
            return _balanced(model, null)
        return _shares(model.right - null.right, model.rows)
    if isinstance(model, LabelScores) and isinstance(null, LabelScores):
        gains = model.each - null.each
        return float(gains.mean()), Z_SCORE * standard_error(gains, model.rows)
    return _errors(metric, model, null)  # type: ignore[arg-type]


def _shares(gains: Array, rows: Array | None) -> tuple[float, float]:
    """Compare shares of the same rows: each gain is 1, 0 or -1.

    Source: Agresti & Min (2005), half a row more of every kind, so that no interval is empty.
    """
    if rows is not None:
        return float(gains.mean()), Z_SCORE * standard_error(gains, rows)
    count, net, moved = len(gains), float(gains.sum()), float(np.abs(gains).sum())
    error = math.sqrt(moved + 1.0 - net * net / (count + 2.0)) / (count + 2.0)
    return net / count, Z_SCORE * error


def _balanced(model: ClassScores, null: ClassScores) -> tuple[float, float]:
    """Compare means of recalls: the classes are apart, and weigh the same."""
    gains, truth = model.right - null.right, model.truth
    rows = np.bincount(truth)
    there = rows > 0
    means = np.bincount(truth, gains)[there] / rows[there]
    squares = np.bincount(truth, np.square(gains))[there] / rows[there]
    spread = (squares - np.square(means)) / rows[there]
    return float(means.mean()), Z_SCORE * math.sqrt(max(float(spread.sum()), 0.0)) / len(means)


def _errors(metric: str, model: NumberScores, null: NumberScores) -> tuple[float, float]:
    """Compare errors; that of a root by what each row adds to it (the delta method)."""
    if metric == "mae":
        gains = null.each - model.each
        return float(gains.mean()), Z_SCORE * standard_error(gains, model.rows)
    roots = [math.sqrt(float(one.squared.mean())) for one in (model, null)]
    pulls = [
        one.squared / (2.0 * root) if root else np.zeros_like(one.squared)
        for one, root in zip((model, null), roots, strict=True)
    ]
    return roots[1] - roots[0], Z_SCORE * standard_error(pulls[1] - pulls[0], model.rows)


def _text(found: Mapping[str, Any], rows: int) -> str:
    """Return a verdict as a sentence."""
    if found["null_model"] is None:
        return "unclear: the outputs are not finite"
    kind, metric = (found[name].replace("_", " ") for name in ("null_model", "metric"))
    best = f"the best null model ({kind}, {metric} {found['null_value']:.3g})"
    if found["margin"] is None:
        return f"unclear: too few {found['part']} rows ({rows}) to compare with {best}"
    gain = f"{found['gain']:.2g} ± {found['margin']:.2g}"
    if found["status"] == "better":
        return f"better than {best} by {gain}"
    return f"not better than {best}: a gain of {gain}"
