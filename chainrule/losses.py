"""Losses: the value and its gradient at once, from raw outputs, numerically stable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule import kernels
from chainrule.errors import DataError, ShapeError
from chainrule.kernels import Array

__all__ = [
    "LOSSES",
    "Loss",
    "binary_cross_entropy",
    "check_target",
    "infer_loss",
    "is_classes",
    "mean_squared_error",
    "softmax_cross_entropy",
]

# (y, target) -> (loss, gradient in y); a third argument is memory for the gradient.
Loss = Callable[..., tuple[float, Array]]


def mean_squared_error(y: Array, target: Array, out: Array | None = None) -> tuple[float, Array]:
    """Mean of squared differences over all entries (target unit squared), and its gradient in y.

    Shapes: y (batch, ...), target alike or (batch,) for y (batch, 1) -> loss (), gradient like y.
    """
    dy = np.subtract(y, _like(target, y, "mean_squared_error"), out=_memory(y, out))
    flat = dy.reshape(-1)
    loss = float(np.dot(flat, flat)) / dy.size
    dy *= 2.0 / dy.size
    return loss, dy


def binary_cross_entropy(y: Array, target: Array, out: Array | None = None) -> tuple[float, Array]:
    """Mean cross-entropy in nats over all entries of independent logits, and its gradient in y.

    Shapes: as mean_squared_error.  Units: target is a probability, 0 to 1.
    Source: log(1 + exp(y)) - target y, written as softplus(-|y|) + max(y, 0) - target y.
    """
    target = _like(target, y, "binary_cross_entropy")
    dy = np.abs(y, out=_memory(y, out))
    np.negative(dy, out=dy)
    np.exp(dy, out=dy)
    np.log1p(dy, out=dy)
    loss = float(np.add.reduce(dy, axis=None, dtype=np.float64))
    np.greater(y, 0.0, out=dy)  # max(y, 0) - target y, entry by entry: sums would cancel
    dy -= target
    dy *= y
    loss += float(np.add.reduce(dy, axis=None, dtype=np.float64))
    kernels.ELEMENTWISE["sigmoid"].value(y, dy)
    dy -= target
    dy /= dy.size
    return loss / dy.size, dy


def softmax_cross_entropy(y: Array, target: Array, out: Array | None = None) -> tuple[float, Array]:
    """Mean cross-entropy in nats of logits over the last axis, and its gradient in y.

    Shapes: y (batch, ..., classes); target class numbers (batch, ...) or probabilities like y.
    """
    dy = _memory(y, out)
    classes = y.shape[-1]
    if target.ndim == y.ndim - 1:
        if target.shape != y.shape[:-1]:
            raise ShapeError(_mismatch("softmax_cross_entropy", y.shape[:-1], target.shape))
        flat = dy.reshape(-1, classes)
        return kernels.softmax_cross_entropy(y.reshape(-1, classes), target.reshape(-1), flat), dy
    target = _like(target, y, "softmax_cross_entropy")
    rows = y.size // classes
    mass = np.add.reduce(target, axis=-1, keepdims=True)
    np.subtract(y, np.maximum.reduce(y, axis=-1, keepdims=True), out=dy)
    aligned = float(np.vdot(dy, target))
    np.exp(dy, out=dy)
    total = np.add.reduce(dy, axis=-1, keepdims=True)
    loss = float(np.vdot(np.log(total), mass)) - aligned
    dy *= mass / total
    dy -= target
    dy /= rows
    return loss / rows, dy


LOSSES: dict[str, Loss] = {
    "mean_squared_error": mean_squared_error,
    "binary_cross_entropy": binary_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def infer_loss(target: Array) -> str:
    """Return the loss of a job that names none: class numbers are classified, numbers fitted."""
    integers = target.dtype.kind in "iu"
    return "softmax_cross_entropy" if integers else "mean_squared_error"


def is_classes(loss: str, output_shape: tuple[int, ...], target: Array) -> bool:
    """Tell whether a target holds class numbers, one for each prediction."""
    return loss == "softmax_cross_entropy" and target.ndim == len(output_shape)


def check_target(loss: str, output_shape: tuple[int, ...], target: Array) -> Array:
    """Check the targets of a whole dataset before any training; return them in the loss's shape.

    Shapes: output_shape leaves the batch axis out; (rows,) becomes a view (rows, 1) where the
    output is (1,).
    Raises: DataError at ``target``, on a type, shape or value that the loss cannot take.
    """
    if target.dtype.kind not in "fiub":
        raise DataError.at("target", f"must be numbers, got {target.dtype}")
    if is_classes(loss, output_shape, target):
        _check_classes(output_shape, target)
        return target
    if output_shape == (1,) and target.ndim == 1:
        target = target.reshape(-1, 1)
    if target.shape[1:] != output_shape:
        wanted = f"{loss} wants {_rows(output_shape)}"
        if loss == "softmax_cross_entropy":
            wanted += f" or class numbers {_rows(output_shape[:-1])}"
        raise DataError.at("target", f"{wanted}, got {target.shape}")
    if loss != "mean_squared_error" and target.size:
        _check_probabilities(loss, target)
    return target


def _check_classes(output_shape: tuple[int, ...], target: Array) -> None:
    if target.shape[1:] != output_shape[:-1]:
        wanted = f"must be class numbers {_rows(output_shape[:-1])}"
        raise DataError.at("target", f"{wanted}, got {target.shape}")
    if target.dtype.kind not in "iu":
        raise DataError.at("target", f"class numbers must be integers, got {target.dtype}")
    if not target.size:
        return
    least, most, last = int(target.min()), int(target.max()), output_shape[-1] - 1
    if least < 0 or most > last:
        detail = f"class numbers must be 0 to {last}, got {least} to {most}"
        raise DataError.at("target", detail)


def _check_probabilities(loss: str, target: Array) -> None:
    least, most = target.min(), target.max()
    if not (least >= 0 and most <= 1):
        detail = f"{loss} wants probabilities, 0 to 1, got {least:g} to {most:g}"
        raise DataError.at("target", detail)
    if loss == "softmax_cross_entropy":
        worst = float(np.abs(target.sum(axis=-1, dtype=np.float64) - 1.0).max())
        if worst > 1e-3:
            detail = f"the probabilities of each row must add up to 1, one is off by {worst:g}"
            raise DataError.at("target", detail)


def _like(target: Array, y: Array, owner: str) -> Array:
    """Return the target in y's shape and precision."""
    if target.shape != y.shape:
        if y.shape != (len(target), 1) or target.ndim != 1:
            raise ShapeError(_mismatch(owner, y.shape, target.shape))
        target = target.reshape(-1, 1)
    return target if target.dtype == y.dtype else target.astype(y.dtype)


def _memory(y: Array, out: Array | None) -> Array:
    return np.empty_like(y) if out is None else out


def _mismatch(owner: str, wanted: tuple[int, ...], got: tuple[int, ...]) -> str:
    return f"{owner} wants targets of shape {wanted}, got {got}"


def _rows(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(["rows", *map(str, shape)]) + ")"
