"""A pass over a batch as a list of kernels to call again: of a small network, most was Python.

The tape hands out the same memory at the same place of each step, so what a pass called may be
called again as it was, over the next batch. Whether that is all that the pass does is found out
once, and a network of which it is not is run layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chainrule.kernels import Noted
    from chainrule.tape import Array, Move, Tape

    # Learns from some rows, which are a share of the batch's, and returns their loss.
    Pass = Callable[[Array, float], Array]

__all__ = ["Replay"]

_MOST_BYTES = 64 << 20  # of scratch and gradients: beyond, Python's part is small
_NONSENSE = (0x00, 0xFF)  # as bytes; the second is NaN in floats, -1 and true


@dataclass
class _Program:
    """What a pass over so many rows calls, and where its results are."""

    run: Callable[[], object]
    loss: Array
    moves: list[Move]
    is_proven: bool = False


class Replay:
    """A pass in training: the first one is recorded, the second proves the record.

    For the proof the recorded calls run over the second batch on memory full of nonsense. They must
    end with the bits of the plain pass: a layer that calls what is no kernel, or draws, fails.
    ``kept`` is what a pass may touch beside the tape; of it, ``sums`` are added to.
    """

    def __init__(self, plain: Pass, tape: Tape, kept: Iterable[Array], sums: Array) -> None:
        self._plain = plain
        self._tape = tape
        self._kept = [*kept, sums]
        self._sums = sums
        self._rows = np.empty(0, np.intp)
        self._programs: dict[tuple[int, float], _Program | None] = {}  # None, if run plainly

    def learn(self, rows: Array, share: float) -> Array:
        """Return the loss of some rows, which are a share of the batch's; the tape has begun.

        Shapes: rows (n,) of intp -> ().
        """
        n = len(rows)
        if n > len(self._rows):
            self._rows = np.empty(n, np.intp)
            self._programs.clear()
        own = self._rows[:n]
        np.copyto(own, rows)
        program = self._programs.get((n, share))
        if program is None:
            if (n, share) in self._programs:
                return self._plain(own, share)
            return self._record(own, share)
        if not program.is_proven:
            return self._prove(own, share, program)
        program.run()
        self._tape.moves.extend(program.moves)
        return program.loss

    def release(self) -> None:
        """Let go of the tape's memory."""
        self._programs.clear()

    def _record(self, rows: Array, share: float) -> Array:
        with kernels.recording() as calls:
            loss = self._plain(rows, share)
        program = None
        if self._may_repeat(calls, loss):
            program = _Program(kernels.program(calls), loss, [*self._tape.moves])
        self._programs[len(rows), share] = program
        return loss

    def _may_repeat(self, calls: list[Noted], loss: Array) -> bool:
        """Tell whether all arrays of some calls are where those of the next step will be."""
        tape = self._tape
        if tape.scratch_bytes + tape.gradients.nbytes > _MOST_BYTES:
            return False
        if any(mask is not None for mask in tape.masks):
            return False  # only the loss looks at what they leave out, and not by kernels alone
        homes = [*tape.scratch, tape.gradients, self._rows, *self._kept]
        used = [loss, *_arrays([call.args for call in calls])]
        return all(any(np.may_share_memory(a, home) for home in homes) for a in used)

    def _prove(self, rows: Array, share: float, program: _Program) -> Array:
        before = self._sums.copy()
        loss = self._plain(rows, share)
        program.is_proven = loss is program.loss and self._repeats(program, before)
        if not program.is_proven:
            self._programs[len(rows), share] = None
        return loss

    def _repeats(self, program: _Program, before: Array) -> bool:
        """Tell whether a program ends as the pass just made, whose results stay."""
        tape = self._tape
        results = [
            tape.gradients,
            self._sums,
            program.loss,
            *(move.value for move in program.moves),
        ]
        wanted = [result.copy() for result in results]
        alike = True
        for nonsense in _NONSENSE:
            for memory in (*tape.scratch, tape.gradients.view(np.uint8)):
                memory.fill(nonsense)
            np.copyto(self._sums, before)
            program.run()
            pairs = zip(results, wanted, strict=True)
            alike = alike and all(a.tobytes() == b.tobytes() for a, b in pairs)
        for result, own in zip(results, wanted, strict=True):
            np.copyto(result, own)
        return alike


def _arrays(value: Any) -> Iterator[Array]:
    """Yield the arrays within the arguments of calls."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _arrays(each)
