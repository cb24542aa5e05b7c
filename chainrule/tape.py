"""What one pass carries: scratch memory, random streams, and the gradients of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import kernels
from chainrule.kernels import Array
from chainrule.memory import LINE, Memory, Place
from chainrule.streams import generator

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Array", "Backward", "Gradient", "Move", "Tape", "aligned"]

# Takes the gradient in a layer's output, returns the one in its input.
Backward = Callable[[Array], Array]

_PAGE = 4096  # bytes
_APART = 11 * LINE
_vectors = count()


def aligned(size: int, dtype: DTypeLike) -> Array:
    """Return a zeroed vector that starts on a cache line: no result then hangs on where it lies.

    Each starts at another place in its page. A processor takes a read for one of what was just
    written at the same place of another page, and waits: Adam then takes half as long again.
    """
    n_bytes = size * np.dtype(dtype).itemsize
    memory = np.zeros(n_bytes + _PAGE, np.uint8)
    start = (next(_vectors) * _APART - memory.ctypes.data) % _PAGE
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
        self.add_written(lambda sums: kernels.column_sums(value, sums))

    def add_written(self, write: Callable[[Array], None]) -> None:
        """Add what a function writes to an array of the parameter's shape."""
        if self._is_first():
            write(self.view)
        else:
            part = self._tape.empty(self.view.shape)
            write(part)
            kernels.add(self.view, part, self.view)

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
    ``moves`` are the moving averages noted in this step, ``place`` is how far it has come.
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
        self._memory = Memory()
        self._start = self.place = Place(())
        self._parameters = list(parameters)
        self.gradients = aligned(sum(p.size for p in self._parameters), self.dtype)
        self._gradients: dict[int, Gradient] = {}
        self.moves: list[Move] = []
        self._kept: list[Array] = []
        start = 0
        for parameter in self._parameters:
            view = self.gradients[start : start + parameter.size].reshape(parameter.shape)
            self._gradients[id(parameter)] = Gradient(self, view)
            start += parameter.size

    def begin(self, number: int) -> None:
        """Start step ``number``: all scratch memory is free."""
        self.steps += 1
        self._number = number
        self.place = self._start
        self.moves.clear()
        self._kept.clear()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> Array:
        """Return an array of any content: the same one in every step that asked as this one did."""
        place = self.place.then.get((shape, dtype))
        if place is None:
            of = self.dtype if dtype is None else dtype
            place = self.place.then[shape, dtype] = self._memory.take(self.place, shape, of)
        self.place = place
        array: Array = place.array
        return array

    def keep(self, array: Array) -> None:
        """Have an array last until the next step, whatever is freed."""
        self._kept.append(array)

    def free(self, since: Place, in_use: Sequence[Array | None]) -> None:
        """Free what was handed out after a place, but for what is to be kept, and these arrays.

        Where a step asks as one before it did, it is not looked again at what these are.
        """
        place = self.place.then.get(id(since))
        if place is None:
            arrays = [*self._kept, *(array for array in in_use if array is not None)]
            place = self.place.then[id(since)] = self._memory.keep(since, arrays)
        self.place = place

    @property
    def is_new(self) -> bool:
        """Whether no step has asked for anything more after what this one asked for."""
        return not self.place.then

    def reserve(self, n_bytes: int) -> None:
        """Have so much memory in one piece for what the step asks for from here on.

        Less is no error, only more pieces: what was freed of several cannot be taken as one.
        """
        self._memory.reserve(self.place, n_bytes)

    def release(self) -> None:
        """Give the scratch memory back."""
        self._memory = Memory()
        self._start = self.place = Place(())

    def gradient(self, parameter: Array) -> Gradient:
        """Return where a parameter's gradient goes."""
        return self._gradients[id(parameter)]

    def move(self, average: Array, value: Array, momentum: float) -> None:
        """Note where a moving average goes in this step: nothing moves before ``apply_moves``."""
        self.moves.append(Move(average, value, momentum))
        self.keep(value)

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
    def scratch(self) -> list[Array]:
        """All arrays handed out so far, as bytes, kept for the next steps; some overlap."""
        return [array.reshape(-1).view(np.uint8) for array in self._memory.arrays]

    @property
    def scratch_bytes(self) -> int:
        """Return how much memory they lie in."""
        return self._memory.n_bytes

    def random(self, key: int) -> np.random.Generator:
        """Return this step's random stream of the layer with a number."""
        keys = (key, self.shard) if self.shard else (key,)  # one shard: as before there were any
        return generator(self.seed, "dropout", self._number, *keys)
