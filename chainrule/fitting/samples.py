"""The rows that are learnt from: checked once, then gathered into the tape's memory by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import kernels
from chainrule.errors import DataError, ShapeError
from chainrule.layers import check_shape, check_vocabularies
from chainrule.recipe.runs import Runs
from chainrule.recipe.scaled import Scaled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.fitting.augmentation import Augmentation
    from chainrule.losses import Objective
    from chainrule.network import Network
    from chainrule.tape import Array, Tape

__all__ = ["Batch", "Rows", "Samples", "check_parts"]

# (inputs, targets), or (inputs, targets, weights of the rows); several inputs or outputs by name.
Rows = tuple[Any, ...]


class Batch(NamedTuple):
    """Some rows; ``x`` and ``target`` are one array each, or {name: array}."""

    x: Any
    target: Any
    weights: Array | None


class Samples:
    """Inputs and targets of equal length; they may be memory-mapped, and are read by batch.

    Inputs may also be runs of rows that are kept once (``Runs``), or scaled by batch (``Scaled``).
    Shapes: x (rows, *input_shape) or {input: array}; target as the objective wants it, or
    {output: array}; weights (rows,) or (rows, steps).
    Raises: DataError at ``inputs``, ``target`` or ``sample_weight``, if they do not fit the network
    or each other.
    """

    def __init__(
        self,
        net: Network,
        objective: Objective,
        x: ArrayLike | Mapping[str, ArrayLike],
        target: ArrayLike | Mapping[str, ArrayLike],
        weights: ArrayLike | None = None,
    ) -> None:
        self.objective = objective
        self.augmentation: Augmentation | None = None
        self._inputs = _inputs(net, x)
        self._targets: Any = objective.check(target)
        self.rows = len(next(iter(self._inputs.values())))
        self._check_rows()
        self._weights = None if weights is None else self._checked(np.asarray(weights))
        self._dtype = net.dtype
        targets = self._targets.values() if isinstance(self._targets, dict) else [self._targets]
        weighing = [] if self._weights is None else [self._weights]
        inputs = [array for one in self._inputs.values() for array in _parts(one)]
        self.arrays: list[Array] = [*inputs, *targets, *weighing]
        self._dtypes: Any = objective.dtypes(self._targets, net.dtype)

    def batch(self, rows: Array | slice, tape: Tape, epoch: int = 0) -> Batch:
        """Return some rows, in the network's precision, in the tape's memory or as views.

        With an augmentation they are numbers of rows, and changed as this epoch has it.
        """
        xs = {name: _gather(one, rows, tape, self._dtype) for name, one in self._inputs.items()}
        if self.augmentation is not None and not isinstance(rows, slice):
            for x in xs.values():
                self.augmentation.apply(x, rows, epoch)
        goal: Any
        if isinstance(self._targets, dict):
            goal = {
                name: _gather(one, rows, tape, self._dtypes[name])
                for name, one in self._targets.items()
            }
        else:
            goal = _gather(self._targets, rows, tape, self._dtypes)
        weights = self._weights
        if weights is not None:
            weights = _gather(weights, rows, tape, self._dtype)
        return Batch(xs if len(xs) > 1 else next(iter(xs.values())), goal, weights)

    def fault(self, rows: Array) -> str | None:
        """Say which array of some rows is not finite in the network's precision; None: all are."""
        targets = self._targets if isinstance(self._targets, dict) else {"": self._targets}
        for what, arrays in (("inputs", self._inputs), ("targets", targets)):
            for name, one in arrays.items():
                with np.errstate(over="ignore"):
                    numbers = one[rows].astype(self._dtype)
                if not np.isfinite(numbers).all():
                    owner = f"the {what} {name!r}" if len(arrays) > 1 else f"the {what}"
                    return f"{owner} of this step have numbers that are not finite in {self._dtype}"
        return None

    def _check_rows(self) -> None:
        if self.rows == 0:
            raise DataError.at("inputs", "has no rows")
        for name, one in self._inputs.items():
            if len(one) != self.rows:
                detail = f"{name!r} has {len(one)} rows, the first has {self.rows}"
                raise DataError.at("inputs", detail)
        targets = self._targets
        for one in targets.values() if isinstance(targets, dict) else [targets]:
            if len(one) != self.rows:
                detail = f"has {len(one)} rows, the inputs have {self.rows}"
                raise DataError.at("target", detail)

    def _checked(self, weights: Array) -> Array:
        """Return the weights of the rows or their steps, if every output has these."""
        if weights.dtype.kind not in "fiub":
            raise DataError.at("sample_weight", f"must be numbers, got {weights.dtype}")
        if weights.ndim == 0 or len(weights) != self.rows:
            detail = f"must be one for each of {self.rows} rows, got {weights.shape}"
            raise DataError.at("sample_weight", detail)
        for shape in self.objective.shapes.values():
            if weights.shape[1:] != shape[: weights.ndim - 1] or weights.ndim > len(shape):
                wanted = ("rows", *shape[:-1])
                detail = f"belong to leading axes of {wanted}, got {weights.shape}"
                raise DataError.at("sample_weight", detail)
        if not (np.isfinite(weights).all() and weights.min() >= 0):
            raise DataError.at("sample_weight", "must be finite numbers >= 0")
        return weights


def _parts(array: Array | Runs | Scaled) -> list[Array]:
    """Return the arrays that are read for an input."""
    if isinstance(array, Scaled):
        return [array.values, array.rows, *array.moments]
    return [array.rows, array.starts] if isinstance(array, Runs) else [array]


def check_parts(place: str, rows: object) -> None:
    """Raise DataError at a place, if rows are not given as a tuple (or a list) of their parts."""
    if isinstance(rows, tuple | list) and len(rows) in (2, 3):
        return
    got = f"{len(rows)} of them" if isinstance(rows, tuple | list) else type(rows).__name__
    detail = f"must be (inputs, targets) or (inputs, targets, weights), got {got}"
    raise DataError.at(place, detail)


def _inputs(net: Network, x: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, Any]:
    """Return the network's inputs by name.  Raises: DataError at ``inputs``."""
    shapes = net.input_shapes
    given: Mapping[str, Any] = x if isinstance(x, Mapping) else dict.fromkeys(shapes, x)
    if set(given) != set(shapes) or (len(shapes) > 1 and given is not x):
        got = list(given) if given is x else "one array"
        raise DataError.at("inputs", f"must be a mapping with {list(shapes)}, got {got}")
    found = {}
    for name, shape in shapes.items():
        array = found[name] = _array(given[name])
        if array.dtype.kind not in "fiub":
            raise DataError.at("inputs", f"must be numbers, got {array.dtype}")
        owner = "the network" if len(shapes) == 1 else f"the network's input {name!r}"
        try:
            check_shape(array, ("rows", *shape), owner=owner)
        except ShapeError as error:
            raise DataError.at("inputs", str(error)) from None
    try:
        check_vocabularies(found, net.vocabularies)
    except DataError as error:
        raise error.under("inputs") from None
    return found


def _array(values: Any) -> Any:
    return values if isinstance(values, Runs | Scaled) else np.asarray(values)


def _gather(
    array: Array | Runs | Scaled, rows: Array | slice, tape: Tape, dtype: np.dtype[Any]
) -> Array:
    if isinstance(array, Scaled):
        return _scale(array, rows, tape, dtype)
    if isinstance(array, Runs):
        taken = _gather_runs(array, rows, tape)
    elif isinstance(rows, slice):
        taken = array[rows]
    else:
        taken = tape.empty((len(rows), *array.shape[1:]), array.dtype)
        kernels.gather(array, rows, taken)
    if taken.dtype == dtype and taken.flags.c_contiguous:
        return taken
    out = tape.empty(taken.shape, dtype)
    kernels.cast(taken, out)
    return out


def _gather_runs(runs: Runs, rows: Array | slice, tape: Tape) -> Array:
    if isinstance(rows, slice):
        rows = np.arange(rows.start, rows.stop)
    taken = tape.empty((len(rows), *runs.shape[1:]), runs.dtype)
    places = tape.empty((len(rows), runs.length), np.intp)
    kernels.gather_runs(runs.rows, runs.starts, rows, places, taken)
    return taken


def _scale(scaled: Scaled, rows: Array | slice, tape: Tape, dtype: np.dtype[Any]) -> Array:
    if isinstance(rows, slice):
        rows = np.arange(rows.start, rows.stop)
    places = tape.empty((len(rows),), scaled.rows.dtype)
    kernels.gather(scaled.rows, rows, places)
    taken = tape.empty((len(rows), *scaled.shape[1:]), scaled.values.dtype)
    kernels.gather(scaled.values, places, taken)
    out = tape.empty(taken.shape, dtype)
    kernels.scale(taken, *scaled.moments, out)
    return out
