"""Masking: which steps of a sequence are padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.layers.base import check_shape

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import MaskingSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Masking"]


@dataclass(frozen=True)
class Masking:
    """A step all of whose features are ``mask_value`` is padding: zero, and False in the mask.

    Shapes: x (batch, steps, features) -> y alike.
    Raises: ShapeError, if x has other axes.
    """

    mask_value: float

    @classmethod
    def build(cls, spec: MaskingSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec.mask_value)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        check_shape(x, ("batch", "steps", "features"), owner="Masking")
        differs = np.not_equal(x, self.mask_value, out=tape.empty(x.shape, bool))
        mask = np.logical_or.reduce(differs, axis=2, out=tape.empty(x.shape[:2], bool))
        y = np.multiply(x, mask[..., None], out=tape.empty(x.shape))
        tape.mask = mask
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            return np.multiply(dy, mask[..., None], out=tape.empty(x.shape))

        return y, backward
