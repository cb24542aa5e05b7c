"""Targets of a whole dataset, checked once before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.losses.base import Loss

__all__ = ["check_classes", "check_distributions", "check_probabilities", "check_target"]


def check_target(loss: Loss, output_shape: tuple[int, ...], target: Array) -> Array:
    """Check the targets of a whole dataset; return them in the loss's shape.

    Shapes: output_shape leaves the batch axis out; (rows, ...) becomes a view (rows, ..., 1) where
    the last axis of the output is 1.
    Raises: DataError at ``target``, on a type, shape or value that the loss cannot take.
    """
    if target.dtype.kind not in "fiub":
        raise DataError.at("target", f"must be numbers, got {target.dtype}")
    if loss.is_classes(output_shape, target):
        if target.shape[1:] != output_shape[:-1]:
            wanted = f"must be class numbers {_rows(output_shape[:-1])}"
            raise DataError.at("target", f"{wanted}, got {target.shape}")
        return loss.check(output_shape, target)
    if output_shape[-1] == 1 and target.shape[1:] == output_shape[:-1]:
        target = target.reshape(*target.shape, 1)
    if target.shape[1:] != output_shape:
        wanted = f"{loss.kind} wants {_rows(output_shape)}"
        if loss.takes_classes(output_shape[-1]):
            wanted += f" or class numbers {_rows(output_shape[:-1])}"
        raise DataError.at("target", f"{wanted}, got {target.shape}")
    return loss.check(output_shape, target)


def check_classes(classes: int, target: Array) -> None:
    """Raise DataError, if a target does not hold class numbers from 0 to one below ``classes``."""
    if target.dtype.kind not in "iu":
        raise DataError.at("target", f"class numbers must be integers, got {target.dtype}")
    if not target.size:
        return
    least, most, last = int(target.min()), int(target.max()), classes - 1
    if least < 0 or most > last:
        detail = f"class numbers must be 0 to {last}, got {least} to {most}"
        raise DataError.at("target", detail)


def check_probabilities(owner: str, target: Array) -> None:
    """Raise DataError, if a target holds anything but numbers from 0 to 1."""
    if not target.size:
        return
    least, most = target.min(), target.max()
    if not (least >= 0 and most <= 1):
        detail = f"{owner} wants probabilities, 0 to 1, got {least:g} to {most:g}"
        raise DataError.at("target", detail)


def check_distributions(owner: str, target: Array) -> None:
    """Raise DataError, if the probabilities of a position do not add up to 1."""
    check_probabilities(owner, target)
    if not target.size:
        return
    worst = float(np.abs(target.sum(axis=-1, dtype=np.float64) - 1.0).max())
    if worst > 1e-3:
        detail = f"the probabilities of each row must add up to 1, one is off by {worst:g}"
        raise DataError.at("target", detail)


def _rows(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(["rows", *map(str, shape)]) + ")"
