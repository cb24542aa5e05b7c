"""What training minimises for a whole network: the outputs' losses, their weights and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import kernels
from chainrule.errors import DataError, Problem, ShapeError, SpecError
from chainrule.losses.balance import balanced_weights, class_counts, class_weights_of, weigh_classes
from chainrule.losses.checks import check_target
from chainrule.losses.table import loss_of
from chainrule.metrics import Tallies, Tally
from chainrule.naming import Values, named, unnamed
from chainrule.spec import Document, parse
from chainrule.spec.training.losses import LossBase, NamedLoss

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.losses.base import Loss
    from chainrule.spec import TrainingSpec
    from chainrule.tape import Tape

__all__ = ["Objective", "fitting_mask", "infer_loss"]

Shape = tuple[int, ...]


class _Given(Document):
    """One loss as a document."""

    loss: NamedLoss


@dataclass(frozen=True)
class _Part:
    """One output: its shape without the batch axis, its loss, and that loss's weight."""

    shape: Shape
    spec: LossBase
    loss: Loss
    weight: float
    class_weights: Array | None


class Objective:
    """The losses of a network's outputs, by the outputs' names.

    ``given`` is a loss's name, document or spec, for every output; or a mapping with one for each.
    ``class_weights`` are as in a TrainingSpec, with class numbers for labels.
    Raises: SpecError at ``loss``, ``losses`` or ``class_weights``.
    """

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        given: object,
        class_weights: str | Sequence[Any] | Mapping[str, float] | None = None,
    ) -> None:
        self.shapes = dict(shapes)
        specs = _by_output(self.shapes, given)
        if class_weights is not None and len(specs) > 1:
            detail = "are for a network with one output; this one has several"
            raise SpecError.at("class_weights", detail)
        self._parts: dict[str, _Part] = {}
        for name, spec in specs.items():
            loss, weights = loss_of(spec), None
            if isinstance(class_weights, str):
                detail = "balanced follows from the rows that are learnt from: there are none"
                raise SpecError.at("class_weights", detail)
            if class_weights is not None:
                loss, weights = class_weights_of(loss, self.shapes[name], class_weights)
            self._parts[name] = _Part(self.shapes[name], spec, loss, spec.weight, weights)
        self._class_weights = class_weights

    @classmethod
    def of(cls, shapes: Mapping[str, Shape], training: TrainingSpec, target: Values) -> Objective:
        """Make a training's objective; a loss that it leaves open follows from the target's type.

        Raises: SpecError, as above, if both ``loss`` and ``losses`` are given, too.
        """
        given: Any = training.loss
        if training.losses is not None:
            if given is not None:
                raise SpecError.at("losses", "give loss or losses, not both")
            given = training.losses
        elif given is None:
            given = {name: infer_loss(one) for name, one in _named(target, shapes).items()}
        weights = training.class_weights
        if weights == "balanced" and len(shapes) == 1:
            (shape,), (goal,) = shapes.values(), _named(target, shapes).values()
            weights = balanced_weights(class_counts(np.asarray(goal), max(shape[-1], 2)))
        return cls(shapes, given, weights)

    @property
    def kinds(self) -> Any:
        """The loss's name, or of several outputs {output: name}."""
        return unnamed({name: part.loss.kind for name, part in self._parts.items()})

    def document(self) -> dict[str, Any]:
        """Return all that the objective follows from as plain JSON."""
        losses = {name: part.spec.render() for name, part in self._parts.items()}
        return {"losses": losses, "class_weights": self._class_weights}

    def check(self, target: Values) -> Values:
        """Check the targets of a whole dataset; return what to learn, of views where it can be.

        Raises: DataError at ``target`` or ``target.output``, on what the loss cannot take.
        """
        checked = {}
        for name, one in _named(target, self.shapes).items():
            part = self._parts[name]
            try:
                checked[name] = check_target(part.loss, part.shape, np.asarray(one))
            except DataError as error:
                raise _renamed(error, name, self.shapes) from None
        return unnamed(checked)

    def prepare(self, target: Values, dtype: np.dtype[Any], rows: int) -> Values:
        """Return a batch's targets, checked, as ``__call__`` wants them.

        Raises: ShapeError, if they have not as many rows; DataError, as ``check``.
        """
        goals = _named(self.check(target), self.shapes)
        for goal in goals.values():
            if len(goal) != rows:
                raise ShapeError(f"{rows} rows of inputs, {len(goal)} of targets")
        types = _named(self.dtypes(goals, dtype), self.shapes)
        return unnamed({name: goals[name].astype(types[name], copy=False) for name in goals})

    def dtypes(self, target: Values, dtype: np.dtype[Any]) -> Values:
        """Return the type in which each checked target is compared with outputs of a type."""
        numbers = np.dtype(np.intp)
        found = {}
        for name, one in _named(target, self.shapes).items():
            part = self._parts[name]
            found[name] = numbers if part.loss.is_classes(part.shape, one) else dtype
        return unnamed(found)

    def draw(self, rows: int, rng: np.random.Generator) -> Values:
        """Return random targets, in double precision, as ``check`` would."""
        parts = self._parts.items()
        return unnamed({name: part.loss.draw((rows, *part.shape), rng) for name, part in parts})

    def tallies(self, unit: Values = 1.0) -> Tallies:
        """Return empty sums for the metrics; ``unit`` is the size of a scaled target's 1.

        Of several outputs one for all, or {output: unit}.
        """
        parts = {}
        units: Mapping[str, Any] = (
            unit if isinstance(unit, Mapping) else dict.fromkeys(self._parts, unit)
        )
        for name, part in self._parts.items():
            columns = part.shape[-1]
            parts[name] = Tally(part.loss.metric(columns), columns, units[name])
        return Tallies(parts, {name: part.weight for name, part in self._parts.items()})

    def __call__(  # noqa: PLR0913
        self,
        y: Values,
        target: Values,
        tape: Tape,
        *,
        weights: Array | None = None,
        tallies: Tallies | None = None,
        shares: Sequence[float] | None = None,
    ) -> tuple[Array, Values]:
        """Return a batch's loss and its gradient in y, and note the metrics.

        Both are in the tape's memory, the loss until the next step.

        Of a part of a batch, ``shares`` say which share of all positions each output has in it, and
        the loss is that part's share of the whole one.
        ``weights`` are those of the rows or their steps, for every output. A step that the
        network's mask leaves out (``tape.masks``, of its last forward pass) counts nowhere.
        Shapes: y as the network gives it, target as ``check`` returned it, weights (batch,) or
        (batch, ...) -> () of float64, gradient like y.
        """
        total: Any = None
        gradients = {}
        ys, goals = _named(y, self.shapes), _named(target, self.shapes)
        of_whole = [1.0] * len(self._parts) if shares is None else shares
        outputs = zip(self._parts.items(), tape.masks, of_whole, strict=True)
        for (name, part), mask, share in outputs:
            y, goal = ys[name], goals[name]
            of_part = fitting_mask(mask, y)
            weighing, count = _weigh(part, y, goal, weights, of_part)
            shape = y.shape
            loss, work, dy = tape.empty((), np.float64), tape.empty(shape), tape.empty(shape)
            part.loss.write(y, goal, dy, loss, weights=weighing, count=count, work=work)
            if tallies is not None:
                tallies.parts[name].add(loss, y, goal, work, of_part)
            scale = part.weight * share
            if scale != 1.0:
                kernels.multiply(dy, scale, dy)
                kernels.multiply(loss, scale, loss)
            if total is not None:
                kernels.add(total, loss, loss)
            total, gradients[name] = loss, dy
        tape.keep(total)
        return total, unnamed(gradients)

    def positions(self, y: Values, tape: Tape) -> list[int]:
        """Return how many positions of each output count, as the network's masks have it."""
        ys = _named(y, self.shapes).values()
        return [
            _positions(one, fitting_mask(mask, one))
            for one, mask in zip(ys, tape.masks, strict=True)
        ]


def infer_loss(target: object) -> str:
    """Return the loss of a job that names none: class numbers are classified, numbers fitted."""
    integers = np.asarray(target).dtype.kind in "iu"
    return "softmax_cross_entropy" if integers else "mean_squared_error"


def _by_output(shapes: Mapping[str, Shape], given: object) -> dict[str, LossBase]:
    """Return each output's loss.  Raises: SpecError."""
    by_output = isinstance(given, Mapping) and ("kind" not in given or set(given) == set(shapes))
    if not by_output or not isinstance(given, Mapping):
        return dict.fromkeys(shapes, _one(given, "loss"))
    known = ", ".join(shapes)
    for name in given:
        if name not in shapes:
            raise SpecError.at(f"losses.{name}", f"there is no such output; there is {known}")
    for name in shapes:
        if name not in given:
            raise SpecError.at("losses", f"has no loss for the output {name!r}")
    return {name: _one(given[name], f"losses.{name}") for name in shapes}


def _one(given: object, path: str) -> LossBase:
    if isinstance(given, LossBase):
        return given
    try:
        return parse(_Given, {"loss": given}).loss
    except SpecError as error:
        places = [(path + p.path.removeprefix("loss"), p.detail) for p in error.problems]
        raise SpecError(*(Problem(*place) for place in places)) from None


def fitting_mask(mask: Array | None, y: Array) -> Array | None:
    """Return a mask if the output still has its steps."""
    if mask is None or y.ndim <= mask.ndim or y.shape[: mask.ndim] != mask.shape:
        return None
    return mask.astype(bool, copy=False)


def _weigh(
    part: _Part, y: Array, target: Array, weights: Array | None, mask: Array | None
) -> tuple[Array | None, int | None]:
    """Return the product of all weights of an output's positions, and the number of positions."""
    found, count = weights, None
    if part.class_weights is not None:
        found = _product(found, weigh_classes(part.class_weights, y, target))
    if mask is not None:
        found = _product(found, mask.astype(y.dtype))
        count = _positions(y, mask)
    return found, count


def _positions(y: Array, mask: Array | None) -> int:
    whole: int = y.size // y.shape[-1]
    return whole if mask is None else int(np.count_nonzero(mask)) * (whole // mask.size)


def _product(a: Array | None, b: Array) -> Array:
    """Multiply weights of leading axes, of which one may have more than the other."""
    if a is None:
        return b
    less, more = sorted((a, b), key=lambda one: one.ndim)
    return more * less.reshape(*less.shape, *[1] * (more.ndim - less.ndim))


def _named(values: Values, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Return targets or outputs by name.  Raises: DataError at ``target``."""
    if isinstance(values, np.ndarray) and len(shapes) == 1:
        return dict.fromkeys(shapes, values)
    try:
        return named(values, shapes)
    except ShapeError as error:
        raise DataError.at("target", str(error)) from None


def _renamed(error: DataError, name: str, shapes: Mapping[str, Shape]) -> DataError:
    """Say of which output a target is, if there are several."""
    if len(shapes) == 1:
        return error
    return DataError.at(f"target.{name}", error.problems[0].detail)
