"""The passes of a network as lists of kernels to call again: of a small one, most was Python.

The tape hands out the same memory at the same place of each step, so what a pass called may be
called again as it was, over the next batch. Whether that is all that the pass does is found out
once, and a network of which it is not is run layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from functools import partial

    from chainrule.memory import Place
    from chainrule.naming import Values
    from chainrule.network import Network
    from chainrule.tape import Array, Move, Tape

__all__ = ["Replay"]

_MOST_BYTES = 64 << 20  # of scratch and gradients: beyond, Python's part is small
_NONSENSE = (0x00, 0xFF)  # as bytes; the second is NaN in floats, -1 and true


@dataclass
class _Program:
    """What the passes over so many rows call, the arrays that go in and those that come out."""

    inputs: list[Array]
    y: Values
    forward: list[partial[Any]]
    place: Place  # of the tape after the forward pass
    moves: list[Move]
    backward: list[partial[Any]] = field(default_factory=list)
    slopes: list[Array] = field(default_factory=list)
    is_proven: bool = False

    def run_back(self, dy: Values) -> None:
        """Run backward over the gradient in y, wherever it is."""
        slopes = _listed(dy)
        if not _same(slopes, self.slopes):
            for given, slope in zip(slopes, self.slopes, strict=True):
                np.copyto(slope, given)
        for call in self.backward:
            call()


class Replay:
    """A network's passes in training: the first is recorded, the second proves the record.

    For the proof the recorded calls run over the second batch on memory full of nonsense. They must
    end with the bits of the plain pass: a layer that calls what is no kernel, or draws, fails.
    """

    def __init__(self, net: Network, tape: Tape) -> None:
        self._net = net
        self._tape = tape
        self._programs: dict[int, _Program | None] = {}  # by rows; None, if it is run plainly

    def forward(self, x: Values) -> tuple[Values, Callable[[Values], object]]:
        """Run the layers forward, as ``Network.forward``; the backward only leaves gradients."""
        inputs, tape = _listed(x), self._tape
        rows = len(inputs[0])
        program = self._programs.get(rows)
        if program is None:
            if rows in self._programs or tape.carried is not None:
                return self._net.forward(x, tape)
            return self._record(x, inputs)
        if not _same(inputs, program.inputs):
            return self._net.forward(x, tape)
        if not program.is_proven:
            return self._prove(x, program)
        for call in program.forward:
            call()
        tape.place = program.place
        tape.moves.extend(program.moves)
        return program.y, program.run_back

    def _record(self, x: Values, inputs: list[Array]) -> tuple[Values, Callable[[Values], object]]:
        tape = self._tape
        with kernels.recording() as forward:
            y, back = self._net.forward(x, tape)
        program = _Program(inputs, y, forward, tape.place, [*tape.moves])

        def backward(dy: Values) -> None:
            with kernels.recording() as program.backward:
                back(dy)
            program.slopes = _listed(dy)
            self._programs[len(inputs[0])] = program if self._may_repeat(program) else None

        return y, backward

    def _may_repeat(self, program: _Program) -> bool:
        """Tell whether all arrays of a program are where those of the next step will be."""
        tape, net = self._tape, self._net
        if tape.scratch_bytes + tape.gradients.nbytes > _MOST_BYTES:
            return False
        homes = [*tape.scratch, tape.gradients, net.flat, net.state]
        calls = [*program.forward, *program.backward]
        used = [*program.inputs, *program.slopes, *_arrays([(c.args, c.keywords) for c in calls])]
        return all(any(np.may_share_memory(a, home) for home in homes) for a in used)

    def _prove(self, x: Values, program: _Program) -> tuple[Values, Callable[[Values], object]]:
        y, back = self._net.forward(x, self._tape)

        def backward(dy: Values) -> None:
            back(dy)
            program.is_proven = _same(_listed(dy), program.slopes) and self._repeats(program)
            if not program.is_proven:
                self._programs[len(program.inputs[0])] = None

        return y, backward

    def _repeats(self, program: _Program) -> bool:
        """Tell whether a program ends as the pass before it, whose results stay."""
        tape = self._tape
        results = [tape.gradients, *_listed(program.y), *(move.value for move in program.moves)]
        wanted = [result.copy() for result in results]
        given = [*program.inputs, *program.slopes]
        for nonsense in _NONSENSE:
            for memory in (*tape.scratch, tape.gradients.view(np.uint8)):
                if not any(np.may_share_memory(memory, array) for array in given):
                    memory.fill(nonsense)
            for call in (*program.forward, *program.backward):
                call()
            alike = [a.tobytes() == b.tobytes() for a, b in zip(results, wanted, strict=True)]
            for result, kept in zip(results, wanted, strict=True):
                np.copyto(result, kept)
            if not all(alike):
                return False
        return True


def _listed(values: Values) -> list[Array]:
    return [*values.values()] if isinstance(values, dict) else [values]


def _same(ours: list[Array], theirs: list[Array]) -> bool:
    return [*map(id, ours)] == [*map(id, theirs)]


def _arrays(value: Any) -> Iterator[Array]:
    """Yield the arrays within the arguments of calls."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _arrays(each)
