"""Operators between raw columns and features, and between outputs and answers: in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.export.writer import Operator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.export.writer import Writer

__all__ = ["Scratch"]


@dataclass(frozen=True)
class Scratch:
    """Writes operators whose values have names of their own: ``/age/Sub_3``."""

    writer: Writer
    owner: str

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write an operator; return the name of its output."""
        name = f"/{self.owner}/{kind}_{len(self.writer.operators) + 1}"
        self.writer.operators.append(Operator(kind, list(inputs), [name], attributes))
        return name

    def constant(self, value: ArrayLike, dtype: Any = np.float64) -> str:
        """Write a constant; return its name."""
        name = f"/{self.owner}/constant_{len(self.writer.tensors) + 1}"
        self.writer.tensors[name] = np.asarray(value, dtype)
        return name

    def whole(self, value: ArrayLike) -> str:
        """Write a constant of whole numbers; return its name."""
        return self.constant(value, np.int64)
