"""Arrays scaled by batch: pixels stay the bytes that they are in the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from chainrule import kernels
from chainrule.errors import SpecError
from chainrule.spec.arrays import DivideSpec
from chainrule.spec.base import Document

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.spec.arrays import ArrayOptions

__all__ = ["ArrayScale", "Scaled", "fit_scale", "is_small", "scaled_extremes"]

BLOCK_VALUES = 1 << 20
Numbers = list[float]


class ArrayScale(Document):
    """(x - mean) / std in float64, for each place of the last axis, or one for all."""

    mean: Numbers = Field(min_length=1)
    std: Numbers = Field(min_length=1)

    def apply(self, values: Array, dtype: str) -> Array:
        """Return scaled numbers, computed in float64 and rounded once."""
        out = np.empty(values.shape, dtype)
        kernels.scale(values, np.array(self.mean), np.array(self.std), out)
        return out


@dataclass(frozen=True)
class Scaled:
    """An array of which sample i is ``values[rows[i]]``, scaled; it is read by batch.

    ``values`` may be memory-mapped, and is never copied. Shapes: values (any, ...), rows (n,).
    """

    values: Array
    rows: Array
    scale: ArrayScale
    dtype: np.dtype[Any]

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Mean and deviation, always the same arrays."""
        return np.array(self.scale.mean), np.array(self.scale.std)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.values.shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, samples: Array | slice) -> Array:
        """Return some samples."""
        return self.scale.apply(self.values[self.rows[samples]], self.dtype.name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:].astype(dtype or self.dtype, copy=False)


def is_small(values: Array) -> bool:
    """Tell whether an array takes far less as it is than as features: bytes, such as pixels."""
    return values.dtype.kind in "iu" and values.dtype.itemsize <= 2


def fit_scale(values: Array, train: Array, options: ArrayOptions) -> ArrayScale | None:
    """Learn how an array is scaled from the training part; None, if it stays as it is.

    Raises: SpecError at ``preprocessing.array.scaling``, if its numbers are too large.
    """
    scaling = options.scaling
    if isinstance(scaling, DivideSpec):
        return ArrayScale(mean=[0.0], std=[scaling.by])
    if scaling.kind == "none":
        return None
    channels = values.shape[-1] if values.ndim > 1 else 1
    at_once = max(1, BLOCK_VALUES // max(values[:1].size, 1))
    blocks = [train[start : start + at_once] for start in range(0, len(train), at_once)]
    count = len(train) * values[:1].size // channels

    def total(of: Any) -> Array:
        parts = (of(values[rows].reshape(-1, channels).astype(np.float64)) for rows in blocks)
        found: Array = np.sum(list(parts), axis=0)
        return found

    with np.errstate(over="ignore", invalid="ignore"):
        mean = total(lambda block: block.sum(axis=0)) / count
        std = np.sqrt(total(lambda block: np.square(block - mean).sum(axis=0)) / count)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise SpecError.at("preprocessing.array.scaling", "standard: the numbers are too large")
    constant = std <= 1e-12 * np.abs(mean)
    return ArrayScale(
        mean=(mean + 0.0).tolist(), std=np.where(constant | (std == 0.0), 1.0, std).tolist()
    )


def scaled_extremes(values: Array, scale: ArrayScale) -> Array:
    """Return the least and the largest numbers of each channel, scaled."""
    flat = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
    return scale.apply(np.stack([flat.min(axis=0), flat.max(axis=0)]), "float64")
