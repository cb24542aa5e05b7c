"""What losses share: the mean over positions, its weights, and the shapes of targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from chainrule.errors import ShapeError

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.metrics import Metric

__all__ = ["Loss"]


class Loss:
    """A loss of raw outputs: its value and its gradient at once.

    A *position* is what has one output vector: a row, or a step or pixel of it. The loss is the sum
    over the positions, each times its weight, divided by their number and not by the sum of the
    weights. A subclass gives ``_each``, and ``_write_plain`` where there is a kernel.
    """

    kind: ClassVar[str]
    averages: ClassVar[bool] = True  # a position's loss is the mean over the last axis, not the sum

    def __call__(  # noqa: PLR0913
        self,
        y: Array,
        target: Array,
        out: Array | None = None,
        *,
        weights: Array | None = None,
        count: int | None = None,
        work: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the mean loss, and its gradient in y written to ``out``: as ``write``."""
        dy = np.empty(y.shape, y.dtype) if out is None else out
        work = np.empty(y.shape, y.dtype) if work is None else work
        loss = np.empty(())
        self.write(y, target, dy, loss, weights=weights, count=count, work=work)
        return float(loss), dy

    def write(  # noqa: PLR0913
        self,
        y: Array,
        target: Array,
        dy: Array,
        loss: Array,
        *,
        weights: Array | None,
        count: int | None,
        work: Array,
    ) -> None:
        """Write the mean loss to ``loss``, and its gradient in y to ``dy``.

        ``weights`` belong to the leading axes, ``count`` is the number of positions that the mean
        is over (default: all), ``work`` is scratch like y.
        Shapes: y and dy (batch, ..., n); target alike, (batch, ...) for n = 1, or class numbers
        (batch, ...) where the loss takes them; weights (batch,) or (batch, ...); loss () of
        float64.
        Raises: ShapeError.
        """
        target = self._fit(y, target)
        if weights is None and count is None and self._write_plain(y, target, dy, loss):
            return
        n = y.shape[-1]
        goal = target.reshape(-1, n) if target.ndim == y.ndim else target.reshape(-1)
        flat = dy.reshape(-1, n)
        each = self._each(y.reshape(-1, n), goal, flat, work.reshape(-1, n))
        scale = 1.0 / (max(each.size if count is None else count, 1) * (n if self.averages else 1))
        if weights is not None:
            weighing = _spread(weights, y.shape[:-1])
            each *= weighing.reshape(-1)
            dy *= weighing[..., None]
        dy *= scale
        loss.fill(float(np.add.reduce(each, dtype=np.float64)) * scale)

    def metric(self, columns: int) -> Metric:
        """Return the metrics that go with the loss, for outputs with a last axis of ``columns``."""
        raise NotImplementedError

    def takes_classes(self, columns: int) -> bool:
        """Tell whether a target may be class numbers, one for each position."""
        return False

    def is_classes(self, output_shape: tuple[int, ...], target: Array) -> bool:
        """Tell whether a target holds class numbers.  Shapes: output_shape leaves the rows out."""
        return self.takes_classes(output_shape[-1]) and target.ndim == len(output_shape)

    def check(self, output_shape: tuple[int, ...], target: Array) -> Array:
        """Check the values of a whole dataset's target, whose shape fits; return what to learn.

        Raises: DataError at ``target``.
        """
        return target

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return random targets for outputs of a shape."""
        return rng.standard_normal(shape)

    def _write_plain(self, y: Array, target: Array, dy: Array, loss: Array) -> bool:
        """Do what ``write`` does by one kernel, if there is one, and tell so: no weights then."""
        return False

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        """Return each position's loss, and write its gradient to dy; both as sums if it averages.

        Shapes: y, dy and work (positions, n), target alike or (positions,) -> (positions,).
        """
        raise NotImplementedError

    def _fit(self, y: Array, target: Array) -> Array:
        """Return a batch's target in the shape that ``_each`` wants, in y's precision.

        Raises: ShapeError.
        """
        if self.takes_classes(y.shape[-1]) and target.ndim == y.ndim - 1:
            if target.shape != y.shape[:-1]:
                raise ShapeError(self._mismatch(y.shape[:-1], target))
            return target
        if target.shape != y.shape:
            if y.shape != (*target.shape, 1):
                raise ShapeError(self._mismatch(y.shape, target))
            target = target.reshape(y.shape)
        return target if target.dtype == y.dtype else target.astype(y.dtype)

    def _mismatch(self, wanted: tuple[int, ...], target: Array) -> str:
        return f"{self.kind} wants targets of shape {wanted}, got {target.shape}"


def _spread(weights: Array, positions: tuple[int, ...]) -> Array:
    """Return weights of the leading axes as weights of every position, without copying them."""
    if weights.shape != positions[: weights.ndim]:
        raise ShapeError(f"weights of shape {weights.shape} do not lead positions {positions}")
    more: tuple[Any, ...] = (1,) * (len(positions) - weights.ndim)
    return np.broadcast_to(weights.reshape(*weights.shape, *more), positions)
