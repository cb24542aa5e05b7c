"""Null models: what anybody could say without a network, learnt from the same training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.evaluation.linear import Design, logistic, ridge, softmax_of
from chainrule.evaluation.outputs import ClassOutput, LabelOutput, NumberOutput
from chainrule.streams import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.evaluation.outputs import Output
    from chainrule.evaluation.reading import Answered, Block, Reader
    from chainrule.kernels import Array

__all__ = ["PARTS", "Null", "fit_nulls"]

PARTS = ("train", "validation", "test")  # their numbers are those of the random streams
MAX_ROWS = 100_000
MAX_FEATURES = 1_000
MAX_NUMBERS = 4_000_000  # of the features to fit on
MAX_WEIGHTS = 20_000
MIN_ROWS = 10


@dataclass(frozen=True)
class Null:
    """A null model, or why there is none of this kind.

    ``rows``: those that it was learnt from. ``answer`` takes a block of rows and answers as an
    output does.
    """

    kind: str
    rows: int = 0
    answer: Callable[[Block], Array] | None = None
    reason: str | None = None


def fit_nulls(reader: Reader, trained: Mapping[str, Answered], seed: int) -> dict[str, list[Null]]:
    """Learn the null models of every output.  ``trained``: the answers of the training part."""
    found = {
        name: [*_constants(reader.outputs[name], one, reader.net.output_shapes[name])]
        for name, one in trained.items()
    }
    for name, nulls in found.items():
        if reader.learnt[name].task == "forecast":
            nulls.append(_last_value(reader, name))
    for name, one in _linear(reader, seed).items():
        found[name].append(one)
    return found


def _constants(output: Output, trained: Answered, shape: tuple[int, ...]) -> list[Null]:
    """Return the models that say the same of every row."""
    truth, rows = trained.truth, len(trained.truth)
    if isinstance(output, ClassOutput):
        counts = np.bincount(truth, minlength=trained.answers.shape[1])
        with np.errstate(divide="ignore"):  # what training never saw has no probability
            shares = np.log(counts / rows)
        return [Null("majority", rows, _always(shares, shape[:-1]))]
    if isinstance(output, LabelOutput):
        shares = (truth.sum(axis=0) + 0.5) / (rows + 1.0)  # never quite certain
        return [Null("majority", rows, _always(np.log(shares / (1.0 - shares)), shape[:-1]))]
    means, medians = truth.mean(axis=0), np.median(truth, axis=0)
    return [
        Null("mean", rows, _always(means, shape[:-1])),
        Null("median", rows, _always(medians, shape[:-1])),
    ]


def _always(answer: Array, steps: tuple[int, ...]) -> Callable[[Block], Array]:
    """Return what says the same of every position.  Shapes: answer (n,)."""
    return lambda block: np.broadcast_to(answer, (block.rows, *steps, answer.size))


def _last_value(reader: Reader, name: str) -> Null:
    """Return the model for which everything stays as it was last."""
    inputs, shape = reader.net.input_shapes, reader.net.output_shapes[name]
    if reader.has_windows:

        def last(block: Block) -> Array:
            value = block.last[name].reshape(block.rows, *[1] * len(shape))
            return np.broadcast_to(value, (block.rows, *shape))

        return Null("last_value", len(reader.parts["train"]), last)
    if len(inputs) > 1:
        return Null("last_value", reason="the network has several inputs")
    (sample,) = inputs.values()
    if reader.columns():
        return Null("last_value", reason="the inputs are columns in units of their own")
    if reader.net.vocabularies:
        return Null("last_value", reason="the inputs are numbers of words")
    if len(sample) > 2 or (len(sample) == 2 and sample[1] not in (1, shape[-1])):
        detail = f"the inputs {sample} do not tell which of their numbers the target goes on from"
        return Null("last_value", reason=detail)

    def answer(block: Block) -> Array:
        (x,) = block.x.values()
        last = x[:, -1:] if x.ndim == 2 else x[:, -1]
        return np.broadcast_to(last.reshape(len(x), *[1] * (len(shape) - 1), -1), (len(x), *shape))

    return Null("last_value", len(reader.parts["train"]), answer)


def _linear(reader: Reader, seed: int) -> dict[str, Null]:
    """Return a linear model of all features for each output."""
    features = sum(math.prod(shape) for shape in reader.net.input_shapes.values())
    found = {name: _left_out(reader, name, features) for name in reader.outputs}
    left = {name: Null("linear", reason=reason) for name, reason in found.items() if reason}
    if len(left) == len(found):
        return left
    rows = len(reader.parts["train"])
    count = min(rows, MAX_ROWS, MAX_NUMBERS // features)
    places = np.arange(rows)
    if count < rows:
        rng = generator(seed, "evaluation", len(PARTS))
        places = np.sort(rng.choice(rows, count, replace=False))
    values, targets = reader.chosen("train", places)
    design = Design(values)
    return {
        name: left.get(name) or _fitted(reader.outputs[name], design, targets[name])
        for name in found
    }


def _left_out(reader: Reader, name: str, features: int) -> str | None:
    """Return why an output has no linear model."""
    net, learnt, output = reader.net, reader.learnt[name], reader.outputs[name]
    shape = net.output_shapes[name]
    width = len(output.words) if isinstance(output, ClassOutput) else math.prod(shape)
    rows, weights = len(reader.parts["train"]), (features + 1) * width
    stepped = len(shape) > 1 and not isinstance(output, NumberOutput)
    reasons = {
        "the inputs themselves are what is learnt": learnt.task == "reconstruction",
        "the inputs are numbers of words, which say nothing by their size": bool(net.vocabularies),
        "the target has steps": stepped,
        f"{features:,} features, at most {MAX_FEATURES:,}": features > MAX_FEATURES,
        f"{weights:,} weights, at most {MAX_WEIGHTS:,}": weights > MAX_WEIGHTS,
        f"fewer than {MIN_ROWS} training rows": rows < MIN_ROWS,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _fitted(output: Output, design: Design, target: Array) -> Null:
    """Fit a linear model of one output on the chosen training rows."""
    rows = len(design.x)
    if isinstance(output, NumberOutput):
        model = ridge(design, output.truth(target, (rows,)))
        shape = output.shape
        return Null("linear", rows, lambda block: model(block.flat()).reshape(block.rows, *shape))
    if isinstance(output, LabelOutput):
        labels = logistic(design, output.truth(target, (rows,)), independent=True)
        return Null("linear", rows, lambda block: labels(block.flat()))
    classes = len(output.words) if isinstance(output, ClassOutput) else 0
    goal = np.zeros((rows, classes))
    goal[np.arange(rows), output.truth(target, (rows,))] = 1.0
    scores = logistic(design, goal, independent=False)
    return Null("linear", rows, lambda block: softmax_of(scores(block.flat()))[0])
