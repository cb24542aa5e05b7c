"""The rows of a part, block by block: features, what the network answers, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.evaluation.outputs import output_of
from chainrule.losses.objective import fitting_mask
from chainrule.naming import named, unnamed
from chainrule.recipe.columns import CategoryColumn, DatetimeColumn
from chainrule.recipe.inputs import TableInputs
from chainrule.recipe.targets import check_finite
from chainrule.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from chainrule.evaluation.outputs import Output
    from chainrule.kernels import Array
    from chainrule.network import Network
    from chainrule.recipe import Recipe
    from chainrule.recipe.columns import Column

__all__ = ["Answered", "Block", "Reader"]

BLOCK_ROWS = 4096
REMEMBERED = 1_000_000  # features of a part that are kept rather than made again


class Block(NamedTuple):
    """Some rows: features and encoded targets by name, in double precision.

    ``last`` are the targets of the last rows of windows, in their own units.
    """

    x: dict[str, Array]
    y: dict[str, Array]
    last: dict[str, Array]

    @property
    def rows(self) -> int:
        return len(next(iter(self.x.values())))

    def flat(self) -> Array:
        """Return all features of a row side by side.  Shapes: (rows, features), a copy."""
        return np.concatenate([one.reshape(self.rows, -1) for one in self.x.values()], axis=1)


@dataclass(frozen=True)
class Answered:
    """One output's answers of a part, with one axis of positions.

    ``keep`` are the positions of all that count (None: every one), ``rows`` as ``standard_error``.
    Shapes: answers (positions, n), truth as the output's kind has it.
    """

    answers: Array
    truth: Array
    keep: Array | None
    rows: Array | None

    def kept(self, answers: Array) -> Array:
        """Return another model's answers of the same positions.  Shapes: (rows, ..., n)."""
        flat = answers.reshape(-1, answers.shape[-1])
        return flat if self.keep is None else flat[self.keep]


class Reader:
    """Reads the rows of each part as a network gets them; ``tell`` is called at every block.

    ``parts`` are the numbers of their rows.
    """

    def __init__(
        self,
        net: Network,
        recipe: Recipe,
        tensors: Mapping[str, Array],
        parts: Mapping[str, Array],
        tell: Callable[[], None],
    ) -> None:
        self.net = net
        self.learnt = recipe.learnt(net.output_shapes)
        self.outputs: dict[str, Output] = {n: output_of(one) for n, one in self.learnt.items()}
        self._recipe = recipe
        self.parts = parts
        self._tensors = tensors
        self._tell = tell
        self._size = net.block_rows(BLOCK_ROWS)
        self._remembered: dict[str, list[Block]] = {}

    def blocks(self, part: str) -> Iterator[Block]:
        """Yield rows in order; those of a small part are made once only."""
        known = self._remembered.get(part)
        if known is not None:
            yield from known
            return
        indices = self.parts[part]
        width = sum(int(np.prod(shape)) for shape in self.net.input_shapes.values())
        made: list[Block] | None = [] if width * len(indices) <= REMEMBERED else None
        windows = self._windows(part)
        for start in range(0, len(indices), self._size):
            self._tell()
            some = slice(start, start + self._size)
            if windows is not None:
                x, y, last = windows[0][some], windows[1], windows[2]
                y = {name: one[some] for name, one in named(y, list(self.outputs)).items()}
                last = {name: one[some] for name, one in last.items()}
            else:
                x, y, *_ = self._recipe.apply(self._tensors, indices[some])
                last = {}
            block = Block(
                _arrays(named(x, list(self.net.input_shapes))),
                _arrays(named(y, list(self.outputs))),
                last,
            )
            if made is not None:
                made.append(block)
            yield block
        if made is not None:
            self._remembered[part] = made

    def _windows(self, part: str) -> tuple[Any, Any, dict[str, Array]] | None:
        """Return all windows of a part, whose rows are kept once; None, if samples are rows."""
        if self._recipe.window is None:
            return None
        x, y, *_ = self._recipe.apply(self._tensors, self.parts[part])
        return x, y, self._recipe.last_values(self._tensors, self.parts[part], self.outputs)

    def answered(self, part: str) -> dict[str, Answered]:
        """Return the network's answers, by output.

        Raises: DataError, if an output is not finite.
        """
        found: dict[str, list[tuple[Array, ...]]] = {name: [] for name in self.outputs}
        tape, start = Tape(dtype=self.net.dtype), 0
        with np.errstate(all="ignore"):
            for block in self.blocks(part):
                tape.begin(start)
                x = {n: np.ascontiguousarray(one, self.net.dtype) for n, one in block.x.items()}
                raw, _ = self.net.forward(unnamed(x), tape)
                numbers = np.arange(start, start + block.rows)
                for place, (name, one) in enumerate(named(raw, list(self.outputs)).items()):
                    mask = fitting_mask(tape.masks[place], one)
                    found[name].append(self._pieces(name, one, block.y[name], mask, numbers))
                start += block.rows
        return {name: _joined(pieces) for name, pieces in found.items()}

    def predictions(self, part: str, model: Callable[[Block], Array]) -> Array:
        """Return another model's answers to the same rows.  Shapes: (rows, ..., n)."""
        with np.errstate(all="ignore"):
            return np.concatenate([model(block) for block in self.blocks(part)])

    @property
    def has_windows(self) -> bool:
        """Whether samples are windows of a table's rows."""
        return self._recipe.window is not None

    def columns(self) -> dict[str, list[str] | None]:
        """Return the columns of a table to cut by, with the words of their codes, by number.

        Windows have none: their rows may have many values.
        """
        if self.has_windows:
            return {}
        return {
            name: column.categories if isinstance(column, CategoryColumn) else None
            for name, column in self._columns.items()
        }

    def holds_times(self, name: str) -> bool:
        """Tell whether the numbers of a column are times, in seconds."""
        return isinstance(self._columns[name], DatetimeColumn)

    def column(self, part: str, name: str) -> Array:
        """Return a column of a part's rows: numbers, or the places of the words.

        What is missing is NaN or -1; a word that training did not see has the number after the
        last.
        """
        column = self._columns[name]
        values: Array = self._tensors[name][self.parts[part]]
        if not isinstance(column, CategoryColumn):
            return column.of_tensor(values).astype(np.float64)
        codes = np.asarray(column.codes)
        place = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
        missing = np.isnan(values) if values.dtype.kind == "f" else values < 0
        known = np.where(codes[place] == values, place, len(codes))
        return np.where(missing, -1, known)

    @cached_property
    def _columns(self) -> dict[str, Column]:
        """The columns that go in, but for those of which only hashes are known."""
        inputs = self._recipe.inputs
        tables = inputs.values() if isinstance(inputs, dict) else [inputs]
        columns = [c for one in tables if isinstance(one, TableInputs) for c in one.columns]
        return {
            column.name: column
            for column in columns
            if not isinstance(column, CategoryColumn) or column.categories
        }

    def chosen(self, part: str, places: Array) -> tuple[Array, dict[str, Array]]:
        """Return features and targets of some rows of a part, by their places in it, ascending.

        Shapes: places (rows,) -> (rows, features), and each output's targets.
        """
        features: list[Array] = []
        targets: dict[str, list[Array]] = {name: [] for name in self.outputs}
        start = 0
        for block in self.blocks(part):
            first, last = np.searchsorted(places, (start, start + block.rows))
            here = places[first:last] - start
            features.append(block.flat()[here])
            for name, one in block.y.items():
                targets[name].append(one[here])
            start += block.rows
        return np.concatenate(features), {n: np.concatenate(one) for n, one in targets.items()}

    def _pieces(
        self, name: str, raw: Array, target: Array, mask: Array | None, numbers: Array
    ) -> tuple[Array, ...]:
        """Return answers, truth, which positions count, and their rows' numbers."""
        output, positions = self.outputs[name], raw.shape[:-1]
        answers = output.answers(check_finite(raw))
        truth = output.truth(target, positions)
        count = int(np.prod(positions))
        rows = np.repeat(numbers, count // len(numbers))
        keep = np.ones(count, bool) if mask is None else _spread(mask, positions)
        flat = truth.reshape(count, *truth.shape[len(positions) :])
        return answers.reshape(count, -1)[keep], flat[keep], keep, rows[keep]


def _arrays(values: dict[str, Any]) -> dict[str, Array]:
    """Return values as arrays: a recipe may give what makes an array only when it is asked to."""
    return {name: np.asarray(one) for name, one in values.items()}


def _spread(mask: Array, positions: tuple[int, ...]) -> Array:
    """Return a mask of leading axes for all positions, flat."""
    wide = mask.reshape(*mask.shape, *[1] * (len(positions) - mask.ndim))
    return np.broadcast_to(wide, positions).ravel()


def _joined(pieces: list[tuple[Array, ...]]) -> Answered:
    answers, truth, keep, rows = (np.concatenate(one) for one in zip(*pieces, strict=True))
    alone = bool((np.diff(rows) > 0).all())
    return Answered(answers, truth, None if keep.all() else keep, None if alone else rows)
