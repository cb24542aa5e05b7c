"""What a table's own rows say against a job: a feature that is the target, a class that is all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.recipe.targets import ClassTarget, ValueTarget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chainrule.kernels import Array
    from chainrule.recipe import Recipe

__all__ = ["suspicions"]

MAX_ROWS = 20_000  # looked at, evenly over the table
MIN_ROWS = 40  # fewer say nothing
BINS = 64
KNOWN = 0.99  # of what the target's own distribution leaves open
LOPSIDED = 0.9  # of the rows are of one class


def suspicions(tensors: Mapping[str, Array], recipe: Recipe) -> list[str]:
    """Return warnings about a table's rows as inputs and target of a job, each with its place.

    Nothing is said of windows, whose inputs are not of the target's row, and of several outputs.
    """
    target = recipe.target
    if recipe.window or not recipe.takes_rows or not isinstance(target, ClassTarget | ValueTarget):
        return []
    everyone = len(tensors[target.name])
    rows = np.unique(np.linspace(0, everyone - 1, min(MAX_ROWS, everyone)).astype(np.int64))
    wanted = tensors[target.name][rows]
    there = ~np.isnan(wanted) if wanted.dtype.kind == "f" else wanted >= 0
    rows, wanted = rows[there], wanted[there].astype(np.float64)
    if len(rows) < MIN_ROWS:
        return []
    classes = isinstance(target, ClassTarget)
    found = [
        f"data.inputs: {name!r} alone tells {target.name!r} almost always: "
        "would it be known beforehand?"
        for name in recipe.columns
        if _tells(tensors[name][rows].astype(np.float64), wanted, classes=classes)
    ]
    return [*found, *(_lopsided(target.name, wanted) if classes else ())]


def _tells(feature: Array, wanted: Array, *, classes: bool) -> bool:
    """Tell whether a feature predicts the target: learnt on half of the rows, tried on the rest.

    The halves are drawn, always alike: a file may have its classes in turn.

    Numbers are cut into bins of equally many rows, so that nothing is asked of their relation.
    """
    tried, learnt = np.split(np.random.default_rng(0).permutation(len(wanted)), [len(wanted) // 2])
    known = feature[learnt][~np.isnan(feature[learnt])]
    if not known.size:
        return False
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.where(np.isnan(feature), len(edges) + 1, np.searchsorted(edges, feature))
    if classes:
        labels, wanted = np.unique(wanted, return_inverse=True)
        table = np.zeros((len(edges) + 2, len(labels)))
        np.add.at(table, (bins[learnt], wanted[learnt]), 1)
        guess, best = table.argmax(1)[bins[tried]], table.sum(0).argmax()
        wrong, open_ = (guess != wanted[tried]).mean(), (wanted[tried] != best).mean()
    else:
        counts = np.bincount(bins[learnt], minlength=len(edges) + 2)
        sums = np.bincount(bins[learnt], wanted[learnt], len(edges) + 2)
        mean = wanted[learnt].mean()
        guess = np.where(counts, sums / np.maximum(counts, 1), mean)[bins[tried]]
        wrong, open_ = ((guess - wanted[tried]) ** 2).mean(), ((wanted[tried] - mean) ** 2).mean()
    return bool(open_ > 0 and wrong <= (1 - KNOWN) * open_)


def _lopsided(target: str, wanted: Array) -> Iterator[str]:
    share = float(np.unique(wanted, return_counts=True)[1].max() / len(wanted))
    if LOPSIDED <= share < 1:
        yield (
            f"data.target: {share:.0%} of the rows are of one class of {target!r}: a model that "
            'always says so is right as often; see training.class_weights "balanced"'
        )
