"""Raw outputs as answers, in ONNX operators: classes, probabilities, the target's units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.export.scratch import Scratch
from chainrule.export.writer import DOUBLE, FLOAT, INT64, STRING, Operator
from chainrule.recipe.targets import ClassTarget, LabelTarget, ValueTarget

if TYPE_CHECKING:
    from chainrule.export.writer import Writer
    from chainrule.recipe import Recipe
    from chainrule.recipe.targets import Learnt

__all__ = ["Answer", "write_answers"]


class Answer(NamedTuple):
    """An output of the graph; ``shape`` leaves the rows out."""

    type: int
    shape: tuple[int, ...]


def write_answers(
    recipe: Recipe, writer: Writer, outputs: dict[str, tuple[int, ...]]
) -> dict[str, Answer]:
    """Write what a prediction answers of each raw output; return the answers by name.

    Those are ``predictions`` and ``probabilities``, of several outputs ``left.predictions``.
    """
    found: dict[str, Answer] = {}
    for output, learnt in recipe.learnt(outputs).items():
        prefix = f"{output}." if len(outputs) > 1 else ""
        scratch = Scratch(writer, f"{output}/answer")
        for entry, (value, answer) in _answers(scratch, output, learnt, outputs[output]).items():
            name = f"{prefix}{entry}"
            writer.operators.append(Operator("Identity", [value], [name], {}))
            found[name] = answer
    return found


def _answers(
    scratch: Scratch, raw: str, learnt: Learnt, shape: tuple[int, ...]
) -> dict[str, tuple[str, Answer]]:
    target, loss = learnt.target, learnt.loss
    if isinstance(target, ClassTarget):
        return _classes(scratch, raw, target, loss, shape)
    if isinstance(target, LabelTarget):
        chosen = scratch.op("Greater", raw, scratch.constant(0.0, np.float32))
        return {
            "predictions": (scratch.op("Cast", chosen, to=INT64), Answer(INT64, shape)),
            "probabilities": (scratch.op("Sigmoid", raw), Answer(FLOAT, shape)),
        }
    values = scratch.op("Cast", raw, to=DOUBLE)
    if isinstance(target, ValueTarget):
        values = scratch.op("Exp", values) if loss == "poisson" else values
        values = scratch.op("Mul", values, scratch.constant(target.std))
        values = scratch.op("Add", values, scratch.constant(target.mean))
        own = tuple(target.sample_shape)
        if own != shape:  # a bare number, or values that have an axis more
            values = scratch.op("Reshape", values, scratch.whole([-1, *own]))
        return {"predictions": (values, Answer(DOUBLE, own))}
    if loss in ("binary_cross_entropy", "poisson"):
        values = scratch.op("Exp" if loss == "poisson" else "Sigmoid", values)
    return {"predictions": (values, Answer(DOUBLE, shape))}


def _classes(
    scratch: Scratch, raw: str, target: ClassTarget, loss: str, shape: tuple[int, ...]
) -> dict[str, tuple[str, Answer]]:
    if shape[-1] == 1:
        second = scratch.op("Sigmoid", raw)
        first = scratch.op("Sigmoid", scratch.op("Neg", raw))
        shares = scratch.op("Concat", first, second, axis=-1)
        above = scratch.op("Greater", raw, scratch.constant(0.0, np.float32))
        flat = scratch.op("Squeeze", above, scratch.whole([-1]))
        number = scratch.op("Cast", flat, to=INT64)
    else:
        shares = scratch.op("Softmax", raw, axis=-1)
        number = scratch.op("ArgMax", raw, axis=-1, keepdims=0)
    kind, labels = _labels(target.classes)
    label = scratch.op("Gather", scratch.constant(labels, labels.dtype), number, axis=0)
    found = {"predictions": (label, Answer(kind, shape[:-1]))}
    if loss != "hinge":
        found["probabilities"] = (shares, Answer(FLOAT, (*shape[:-1], len(target.classes))))
    return found


def _labels(classes: list[Any]) -> tuple[int, Any]:
    if isinstance(classes[0], str):
        return STRING, np.array(classes, dtype=object)
    if isinstance(classes[0], float):
        return DOUBLE, np.array(classes, dtype=np.float64)
    return INT64, np.array(classes, dtype=np.int64)
