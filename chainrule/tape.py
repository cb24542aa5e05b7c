"""What one pass carries: scratch memory, random streams, and the gradients of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import kernels
from chainrule.kernels import Array
from chainrule.streams import generator

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Array", "Backward", "Gradient", "Move", "Tape", "aligned"]

_LINE = 64  # bytes

# Takes the gradient in a layer's output, returns the one in its input.
Backward = Callable[[Array], Array]


def aligned(size: int, dtype: DTypeLike) -> Array:
    """Return a zeroed vector that starts on a cache line: no result then hangs on where it lies."""
    n_bytes = size * np.dtype(dtype).itemsize
    memory = np.zeros(n_bytes + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + n_bytes].view(dtype)


class Gradient:
    """A parameter's part of the gradient vector: the first use in a step writes, later uses add."""

    __slots__ = ("_step", "_tape", "view")

    def __init__(self, tape: Tape, view: Array) -> None:
        self._tape = tape
        self._step = -1
        self.view = view

    def add_matmul(self, a: Array, b: Array) -> None:
        """Add ``a @ b``, of as many values as the parameter has, whatever its axes."""
        view = self.view.reshape(*a.shape[:-1], b.shape[-1])
        if self._is_first():
            kernels.matmul(a, b, view)
        else:
            part = self._tape.empty(view.shape)
            kernels.matmul(a, b, part)
            kernels.add(view, part, view)

    def add_sum(self, value: Array) -> None:
        """Add the sum of a value over its first axes, as many as the parameter has not."""
        if self._is_first():
            kernels.column_sums(value, self.view)
        else:
            total = self._tape.empty(self.view.shape)
            kernels.column_sums(value, total)
            kernels.add(self.view, total, self.view)

    def add(self, value: Array) -> None:
        """Add a value of the parameter's shape."""
        if self._is_first():
            kernels.copy(value, self.view)
        else:
            kernels.add(self.view, value, self.view)

    def add_rows(self, rows: Array, values: Array) -> None:
        """Add each value to one row of the parameter; a row may be named often, or never."""
        if self._is_first():
            kernels.fill(self.view, 0.0)
        kernels.add_rows(rows, values, self.view)

    def _is_first(self) -> bool:
        first = self._step != self._tape.steps
        self._step = self._tape.steps
        return first


class Move(NamedTuple):
    """Where a moving average goes: average = momentum average + rest value."""

    average: Array
    value: Array
    momentum: float


class Tape:
    """The memory of one chain of steps: one tape belongs to one thread.

    ``training`` switches dropout on. ``seed``, the number given to ``begin``, and ``shard`` name
    the random streams. The network sets before each layer: ``wants_dx``, whether anyone reads the
    gradient in that layer's input, and ``mask``, which steps of the input sequences are no padding
    (True), None if all; a layer that makes a mask sets it anew. Of several inputs it is where none
    is padding, and ``source_masks`` has each. ``masks`` are those of the network's outputs.
    ``moves`` are the moving averages noted in this step, ``place`` is how many arrays it took.
    ``carried`` holds what recurrent layers go on from at the next window, by the layer's number;
    None where each sequence comes whole. ``window`` is the steps of a shorter window.
    Shapes: mask (batch, steps).
    """

    def __init__(
        self,
        parameters: Iterable[Array] = (),
        *,
        dtype: DTypeLike = "float32",
        training: bool = False,
        seed: int = 0,
        shard: int = 0,
    ) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.training = training
        self.seed = seed
        self.shard = shard
        self.wants_dx = True
        self.mask: Array | None = None
        self.source_masks: list[Array | None] = []
        self.masks: list[Array | None] = [None]
        self.carried: dict[int, Array] | None = None
        self.window: int | None = None
        self.steps = 0
        self._number = 0
        self.place = 0
        self._buffers: list[Array] = []
        self._views: list[dict[tuple[Any, Any], Array]] = []
        self._parameters = list(parameters)
        self.gradients = aligned(sum(p.size for p in self._parameters), self.dtype)
        self._gradients: dict[int, Gradient] = {}
        self.moves: list[Move] = []
        start = 0
        for parameter in self._parameters:
            view = self.gradients[start : start + parameter.size].reshape(parameter.shape)
            self._gradients[id(parameter)] = Gradient(self, view)
            start += parameter.size

    def begin(self, number: int) -> None:
        """Start step ``number``: all scratch memory handed out before is used again."""
        self.steps += 1
        self._number = number
        self.place = 0
        self.moves.clear()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> Array:
        """Return an array of any content; the same memory at the same place of every step."""
        place = self.place
        self.place = place + 1
        if place == len(self._views):
            self._views.append({})
            self._buffers.append(np.empty(0, np.uint8))
        view = self._views[place].get((shape, dtype))
        return self._make(place, shape, dtype) if view is None else view

    def release(self) -> None:
        """Give the scratch memory back."""
        self.place = 0
        self._buffers.clear()
        self._views.clear()

    def gradient(self, parameter: Array) -> Gradient:
        """Return where a parameter's gradient goes."""
        return self._gradients[id(parameter)]

    def move(self, average: Array, value: Array, momentum: float) -> None:
        """Note where a moving average goes in this step: nothing moves before ``apply_moves``."""
        self.moves.append(Move(average, value, momentum))

    def apply_moves(self) -> None:
        """Move each average toward the value noted."""
        for average, value, momentum in self.moves:
            np.multiply(average, momentum, out=average)
            np.add(average, (1.0 - momentum) * value, out=average)
        self.moves.clear()

    def window_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return an input's shape in this step: shorter, if sequences come in windows."""
        return shape if self.window is None else (self.window, *shape[1:])

    @property
    def scratch(self) -> Sequence[Array]:
        """The memory handed out so far, as bytes, all of it kept for the next steps."""
        return self._buffers

    @property
    def scratch_bytes(self) -> int:
        """Return how much that is."""
        return sum(buffer.size for buffer in self._buffers)

    def random(self, key: int) -> np.random.Generator:
        """Return this step's random stream of the layer with a number."""
        keys = (key, self.shard) if self.shard else (key,)  # one shard: as before there were any
        return generator(self.seed, "dropout", self._number, *keys)

    def _make(self, place: int, shape: tuple[int, ...], dtype: DTypeLike | None) -> Array:
        """Cut a view from the buffer at a place, grown if need be: a smaller last batch fits in."""
        of = self.dtype if dtype is None else np.dtype(dtype)
        n_bytes = math.prod(shape) * of.itemsize
        if n_bytes > self._buffers[place].size:
            self._buffers[place] = aligned(n_bytes, np.uint8)
            self._views[place].clear()
        view = self._buffers[place][:n_bytes].view(of).reshape(shape)
        self._views[place][shape, dtype] = view
        return view
