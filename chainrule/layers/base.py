"""What a layer is to the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from chainrule.errors import ShapeError
from chainrule.tape import Array, Tape

__all__ = ["Layer", "Parameters", "check_shape"]

# A layer's own tensors by their names within it, such as ``kernel``: views of the flat vector.
Parameters = Mapping[str, Array]


class Layer(Protocol):
    """A differentiable function of one batch; nothing of a call stays on it."""

    @classmethod
    def build(cls, spec: Any, number: int, parameters: Parameters) -> Layer:
        """Make the layer of a spec of its kind, over its views; ``number`` is its place."""
        ...

    def forward(self, x: Any, tape: Tape) -> tuple[Array, Callable[[Array], Any]]:
        """Return the output and the function that takes the gradient back.

        A kind that joins several inputs takes a list of them, and gives back one of gradients. The
        gradient that comes in belongs to others too: it is never written to.
        """
        ...


def check_shape(x: Array, shape: tuple[str | int, ...], *, owner: str) -> None:
    """Compare an array with (name or size, ...).

    Raises: ShapeError, naming the owner and both shapes, if the axes or a given size differ.
    """
    fits = x.ndim == len(shape)
    for wanted, got in zip(shape, x.shape, strict=False):
        fits = fits and (wanted == got or isinstance(wanted, str))
    if not fits:
        named = ", ".join(map(str, shape))
        raise ShapeError(f"{owner} wants an array of shape ({named}), got {x.shape}")
