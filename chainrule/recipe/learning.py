"""How a target is learnt: task and loss decided, and the encoding taken from the data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.recipe.columns.number import moments
from chainrule.recipe.gathering import Present, gathered
from chainrule.recipe.inputs import ArrayInputs
from chainrule.recipe.scaled import scaled_extremes
from chainrule.recipe.targets import (
    ClassTarget,
    InputTarget,
    Label,
    LabelTarget,
    Learnt,
    ValueTarget,
)
from chainrule.recipe.values import listed, shown
from chainrule.spec.training.losses import TASK_LOSSES, LossName, Task, default_loss, default_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.kernels import Array
    from chainrule.recipe.choice import Choice

__all__ = ["check_strata", "fit_reconstruction", "fit_targets"]

MAX_CLASSES = 10_000
FEW_VALUES = 10  # whole numbers with no more distinct values may well be classes
BLOCK_ROWS = 1 << 20  # sorted together
_SHARES_OFF = 1e-3  # by which the shares of a row may miss 1


def fit_targets(
    tensors: Mapping[str, Array],
    choice: Choice,
    tasks: Mapping[str, Task | None],
    losses: Mapping[str, LossName | None],
    rows: tuple[Array, Array],
) -> dict[str, Learnt]:
    """Decide task and loss of each output, and learn the encoding of its target.

    ``rows`` are those that have all targets, and of these the ones to learn from.
    Raises: SpecError at ``task``, or where the request names the target.
    """
    usable, train = rows
    learnt = {}
    for output, (name, place) in choice.targets.items():
        task, loss = tasks.get(output), losses.get(output)
        whole, column = tensors[name], choice.known[name]
        values = whole if len(usable) == len(whole) else gathered(whole, usable)
        try:
            learnt[output] = _fit_target(values, (whole, train), column, task, loss)
        except SpecError as error:
            if len(choice.targets) == 1:
                raise
            (problem,) = error.problems
            detail = f"{problem.detail} (output {output!r})"
            raise SpecError.at({"target": place}.get(problem.path, problem.path), detail) from None
    return learnt


def _fit_target(
    values: Array,
    train: tuple[Array, Array],
    column: Mapping[str, Any],
    task: Task | None,
    loss: LossName | None,
) -> Learnt:
    """Decide task and loss, and learn the encoding of the target.

    ``values`` are the rows that have one, ``train`` all of the dataset's and the numbers of the
    training part's, ``column`` is the schema's description of the column or array.
    Raises: SpecError at ``task`` or ``target``.
    """
    discrete = values.dtype.kind in "iu"  # a table's categories; an array's integers
    is_open = task is None and loss is None
    task, loss = _resolve(task, loss, discrete=discrete)
    if "shape" in column:
        return Learnt(_fit_array(values, column["name"], task, loss), task, loss)
    if task == "classification":
        return Learnt(_fit_classes(values, column, loss), task, loss)
    name = column["name"]
    if discrete:
        detail = f"column {name!r} holds text, regression wants numbers"
        raise SpecError.at("target", f"{detail} (softmax_cross_entropy learns classes)")
    if loss == "poisson":
        _check_all(values >= 0, values, "must be counts >= 0 for poisson")
        return Learnt(ValueTarget(name=name), task, loss)
    mean, std = moments(Present(*train)).scale
    if not math.isfinite(mean) or not math.isfinite(std):
        raise SpecError.at("target", f"column {name!r} has numbers too large to standardise")
    few = _few(column) if is_open else None
    return Learnt(ValueTarget(name=name, mean=mean, std=std, few=few), task, loss)


def check_strata(
    tensors: Mapping[str, Array],
    choice: Choice,
    tasks: Mapping[str, Task | None],
    losses: Mapping[str, LossName | None],
) -> None:
    """Raise SpecError at ``split.kind``, if rows are to be dealt by classes that are none."""
    for output, (name, _) in choice.targets.items():
        discrete = tensors[name].dtype.kind in "iu"
        task, _ = _resolve(tasks.get(output), losses.get(output), discrete=discrete)
        if task != "classification":
            detail = f"stratified goes by classes, {name!r} is learnt as numbers"
            hint = 'give "task": "classification", if its values are classes'
            raise SpecError.at("split.kind", f"{detail}: {hint}")


def fit_reconstruction(
    tensors: Mapping[str, Array],
    inputs: Any,
    loss: LossName | None,
) -> Learnt:
    """Learn to give back what goes in.

    Raises: SpecError at ``task``, if the loss is none of that; at ``inputs``, if it cannot take
    them.
    """
    if isinstance(inputs, dict):
        raise SpecError.at("task", "reconstruction is for a network with one input")
    task, loss = _resolve("reconstruction", loss, discrete=False)
    target = InputTarget(sample_shape=list(inputs.shape))
    if isinstance(inputs, ArrayInputs):
        _check_range(_scaled(inputs, tensors), loss, "inputs")
    elif loss in ("binary_cross_entropy", "poisson"):
        scaled = [c.name for c in inputs.columns if c.kind != "category" or c.vocabulary]
        if scaled:
            detail = f"hold columns not from 0 to 1 ({listed(scaled)}), which {loss} cannot take"
            raise SpecError.at("inputs", detail)
    return Learnt(target, task, loss)


def _scaled(inputs: ArrayInputs, tensors: Mapping[str, Array]) -> Array:
    """Return the numbers that an array's inputs are of, or the extremes of scaled ones."""
    values, scale = tensors[inputs.name], inputs.scale
    return values if scale is None else scaled_extremes(values, scale)


def _resolve(task: Task | None, loss: LossName | None, *, discrete: bool) -> tuple[Task, LossName]:
    """Decide what was left open: an explicit task, else the loss, else the target's type."""
    if task and loss and loss not in TASK_LOSSES[task]:
        detail = f"{task} does not go with the loss {loss}"
        raise SpecError.at("task", f"{detail}; it takes {', '.join(TASK_LOSSES[task])}")
    if task is None:
        by_type: Task = "classification" if discrete else "regression"
        task = default_task(loss) if loss else by_type
    return task, loss or default_loss(task)


def _few(column: Mapping[str, Any]) -> int | None:
    """Count the distinct values of a column of whole numbers that may as well be classes."""
    distinct = column.get("unique", 0) if column["type"] == "integer" else 0
    return distinct if 2 <= distinct <= FEW_VALUES else None


def _fit_classes(values: Array, column: Mapping[str, Any], loss: LossName) -> ClassTarget:
    """Give a column's distinct values numbers, in ascending order."""
    blocks = range(0, len(values), BLOCK_ROWS)
    keys = np.unique(np.concatenate([np.unique(values[n : n + BLOCK_ROWS]) for n in blocks]))
    kind, name = column["type"], column["name"]
    if len(keys) > MAX_CLASSES:
        detail = f"column {name!r} has {len(keys):,} different values, at most {MAX_CLASSES:,}"
        raise SpecError.at("target", f"{detail} classes")
    classes: list[Label]
    if kind == "categorical":
        classes = [column["categories"][code] for code in keys]
    else:
        classes = [int(key) if kind == "integer" else float(key) for key in keys]
    target = ClassTarget(name=name, classes=classes, keys=keys.tolist())
    return _check_classes(target, loss)


def _fit_array(
    values: Array, name: str, task: Task, loss: LossName
) -> ClassTarget | LabelTarget | ValueTarget:
    """Take an array as it is: it must hold what the loss compares with already."""
    if not np.isfinite(values).all():
        raise SpecError.at("target", f"array {name!r} has values that are not finite")
    if task != "classification":
        _check_range(values, loss, "target")
        return ValueTarget(name=name, sample_shape=list(values.shape[1:]))
    if loss == "binary_cross_entropy":
        _check_all((values == 0) | (values == 1), values, "must be 0 or 1 for binary_cross_entropy")
        if values.ndim > 2 or (values.ndim == 2 and values.shape[1] > 1):
            return LabelTarget(name=name, sample_shape=list(values.shape[1:]))
        return ClassTarget(name=name, classes=[0, 1], keys=[0, 1])
    single = values.ndim == 1 or values.shape[-1] == 1
    if not single and (values.dtype.kind not in "iu" or _is_one_hot(values)):
        return _fit_shares(values, name, loss)
    steps = list(values.shape[1:-1] if single else values.shape[1:])
    numbered = (values == np.floor(values)) & (values >= 0) & (values < MAX_CLASSES)
    _check_all(numbered, values, f"must be class numbers from 0 to {MAX_CLASSES - 1:,}")
    numbers = list(range(int(values.max()) + 1))
    absent = np.flatnonzero(np.bincount(values.ravel().astype(np.int64)) == 0).tolist()
    target = ClassTarget(name=name, classes=[*numbers], keys=[*numbers], steps=steps, absent=absent)
    return _check_classes(target, loss)


def _fit_shares(values: Array, name: str, loss: LossName) -> ClassTarget:
    """Take an array with a share for each class along its last axis."""
    _check_all(values >= 0, values, "must be shares of the classes, one column per class")
    if loss in ("hinge", "focal"):
        _check_all((values == 0) | (values == 1), values, f"must be one-hot for {loss}")
    sums = values.sum(axis=-1, dtype=np.float64)
    whole = np.abs(sums - 1.0) <= _SHARES_OFF
    _check_all(whole, sums, "must be shares of the classes that add up to 1 in each row")
    numbers = list(range(values.shape[-1]))
    steps = list(values.shape[1:-1])
    return ClassTarget(name=name, classes=[*numbers], keys=[*numbers], one_hot=True, steps=steps)


def _is_one_hot(values: Array) -> bool:
    return bool(((values == 0) | (values == 1)).all() and (values.sum(axis=-1) == 1).all())


def _check_range(values: Array, loss: LossName, path: str) -> None:
    """Raise SpecError, if an array has values that a loss cannot compare with."""
    if loss == "poisson":
        _check_all(values >= 0, values, "must be counts >= 0 for poisson", path)
    if loss == "binary_cross_entropy":
        good = (values >= 0) & (values <= 1)
        _check_all(good, values, "must be from 0 to 1 for binary_cross_entropy", path)


def _check_all(good: Array, values: Array, wanted: str, path: str = "target") -> None:
    """Raise SpecError, showing the first bad value."""
    if not good.all():
        raise SpecError.at(path, f"{wanted}, got {shown(values[~good][0].item())}")


def _check_classes(target: ClassTarget, loss: LossName) -> ClassTarget:
    count = len(target.classes)
    if count < 2:
        only = ", ".join(map(shown, target.classes))
        raise SpecError.at("target", f"has one class only ({only}): there is nothing to tell apart")
    if loss == "binary_cross_entropy" and count != 2:
        detail = f"has {count:,} classes, binary_cross_entropy wants 2"
        raise SpecError.at("target", f"{detail} (softmax_cross_entropy takes any number)")
    if loss == "kullback_leibler":
        detail = "has a class in each row, kullback_leibler wants shares of the classes"
        raise SpecError.at("target", f"{detail}, an array with a column for each")
    return target
