"""Where the windows of a table are: groups, each in its order, cut in parts and then in windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.errors import SpecError
from chainrule.recipe.split import Split, split_rows
from chainrule.recipe.values import counted
from chainrule.spec.windowing import SlidingWindow

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.spec import SplitSpec, TimeSplitSpec
    from chainrule.spec.windowing import GroupWindow

    Shares = SplitSpec | TimeSplitSpec

__all__ = ["Groups", "Layout", "group_rows", "is_there", "lay_out"]

PARTS = ("train", "validation", "test")


class Groups(NamedTuple):
    """``order`` has the rows group by group, each group in its order; it begins at ``starts``.

    Shapes: order (rows with a group,), starts (groups + 1,).
    """

    order: Array
    starts: Array

    @property
    def sizes(self) -> Array:
        return np.diff(self.starts)


@dataclass(frozen=True)
class Layout:
    """The windows of a table: each has ``taken`` rows of ``order`` from ``first`` on.

    ``goals`` are the rows that hold its target, ``part`` is the number of its part in PARTS.
    Shapes: first, taken and part (windows,), goals (windows, horizons).
    """

    order: Array
    first: Array
    taken: Array
    goals: Array
    part: Array

    @property
    def split(self) -> Split:
        """Each part's windows by the number of their first row, ascending."""
        return Split(*(self.of_part(number).heads() for number in range(3)))

    @property
    def nbytes(self) -> int:
        """What it takes, with as much again for what it is chosen from."""
        arrays = (self.order, self.first, self.taken, self.goals, self.part)
        return 2 * sum(array.nbytes for array in arrays)

    def heads(self) -> Array:
        """Return the numbers of the windows' first rows, ascending."""
        return np.sort(self.order[self.first])

    def chosen(self, heads: Array) -> Layout:
        """Return the windows that begin with some rows, in the order of these."""
        place = np.full(int(self.order.max(initial=-1)) + 1, -1)
        place[self.order[self.first]] = np.arange(len(self.first))
        return self.at(place[heads])

    def of_part(self, number: int) -> Layout:
        """Return the windows of one part."""
        return self.at(np.flatnonzero(self.part == number))

    def places(self) -> Array:
        """Return which places of ``order`` are in a window, ascending."""
        edges = np.zeros(len(self.order) + 1, np.intp)
        np.add.at(edges, self.first, 1)
        np.add.at(edges, self.first + self.taken, -1)
        return np.flatnonzero(np.cumsum(edges[:-1]))

    def rows(self) -> Array:
        """Return the numbers of the rows that are in a window, ascending."""
        return np.sort(self.order[self.places()])

    def last_rows(self) -> Array:
        """Return the number of each window's last row."""
        rows: Array = self.order[self.first + self.taken - 1]
        return rows

    def goal_rows(self) -> Array:
        """Return the numbers of the rows that hold a target, ascending."""
        return np.unique(self.goals)

    def at(self, which: Array) -> Layout:
        """Return some windows by their numbers."""
        return Layout(
            self.order, self.first[which], self.taken[which], self.goals[which], self.part[which]
        )


def group_rows(rows: int, group: Array | None, order_by: Array | None) -> Groups:
    """Sort rows by group, within it by ``order_by``, and where that ties as in the file.

    A row without a group is in none. Shapes: group and order_by (rows,).
    """
    everyone = np.arange(rows)
    if group is not None:
        everyone = everyone[is_there(group)]
    keys = [values[everyone] for values in (order_by, group) if values is not None]
    order = everyone[np.lexsort(keys)] if keys else everyone
    if group is None:
        return Groups(order, np.array([0, rows]))
    sorted_ = group[order]
    borders = np.flatnonzero(sorted_[1:] != sorted_[:-1]) + 1
    return Groups(order, np.array([0, *borders, len(order)] if len(order) else [0]))


def lay_out(
    groups: Groups,
    window: SlidingWindow | GroupWindow,
    split: Shares,
    seed: int,
    good: tuple[Array, Array],
) -> Layout:
    """Place the windows whose rows may all go in, and all hold targets, as ``good`` tells.

    No row is in windows of two parts: in time, each group is cut by shares of its rows; at random,
    whole groups are dealt. Shapes: good (rows,) each.
    Raises: SpecError at ``split`` or ``window``, if a part that is wanted has no window.
    """
    starts, stops, part = _segments(groups, split, seed)
    if isinstance(window, SlidingWindow):
        first, taken, of, ahead = _sliding(stops - starts, window)
    else:
        first, taken, of, ahead = _whole(stops - starts, window)
    first = starts[of] + first
    goals = groups.order[first[:, None] + taken[:, None] - 1 + ahead]
    found = Layout(groups.order, first, taken, goals, part[of])
    found = found.at(np.flatnonzero(good[1][goals].all(axis=1)))
    if not good[0].all():
        bad = np.concatenate([[0], np.cumsum(~good[0][groups.order])])  # before each place
        whole = bad[found.first] == bad[found.first + found.taken]
        found = found.at(np.flatnonzero(whole))
    longest = [int((stops - starts)[part == number].max(initial=0)) for number in range(3)]
    _check(found, window, split, longest)
    return found


def _segments(groups: Groups, split: Shares, seed: int) -> tuple[Array, Array, Array]:
    """Return where the parts of the groups begin and end, and which part each is of."""
    starts, sizes = groups.starts[:-1], groups.sizes
    if split.kind == "random":
        return starts, starts + sizes, _dealt(len(starts), split, seed)
    test = np.rint(sizes * split.test).astype(np.intp)
    validation = np.rint(sizes * split.validation).astype(np.intp)
    ends = starts + sizes
    borders = [starts, ends - test - validation, ends - test, ends]
    part = np.repeat(np.arange(3), len(starts))
    return np.concatenate(borders[:3]), np.concatenate(borders[1:]), part


def _dealt(groups: int, split: Shares, seed: int) -> Array:
    """Return the part of each group.  Raises: SpecError at ``split``."""
    try:
        dealt = split_rows(np.arange(groups), split, seed)
    except SpecError:
        detail = f"leaves no group to train on: there is {counted(groups, 'group')}"
        raise SpecError.at("split", detail) from None
    part = np.zeros(groups, np.intp)
    part[dealt.validation], part[dealt.test] = 1, 2
    return part


def _sliding(sizes: Array, window: SlidingWindow) -> tuple[Array, Array, Array, Array]:
    """Return each window's first row in its segment, its rows, its segment, and the horizons."""
    ahead = np.array(window.horizons)
    fits = sizes - window.length - ahead[-1]
    counts = np.maximum(fits // window.stride + 1, 0)
    of = np.repeat(np.arange(len(sizes)), counts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    first, taken = number * window.stride, np.full(len(of), window.length)
    if window.padding is not None:
        short = np.flatnonzero((fits < 0) & (sizes > ahead[-1]))
        of = np.concatenate([of, short])
        first = np.concatenate([first, np.zeros_like(short)])
        taken = np.concatenate([taken, sizes[short] - ahead[-1]])
    return first, taken, of, ahead


def _whole(sizes: Array, window: GroupWindow) -> tuple[Array, Array, Array, Array]:
    """Return the same for whole groups, of which the last rows are taken."""
    of = np.flatnonzero(sizes)
    taken = np.minimum(sizes[of], window.max_length or sizes.max(initial=0))
    return sizes[of] - taken, taken, of, np.zeros(1, np.intp)


def _check(
    found: Layout, window: SlidingWindow | GroupWindow, split: Shares, longest: list[int]
) -> None:
    """Raise SpecError, if a part that is wanted has no window."""
    counts = np.bincount(found.part, minlength=3)
    wanted = (1.0, split.validation, split.test)
    for number, share in enumerate(wanted):
        if counts[number] or not share:
            continue
        detail = f"leaves no window with a target to {PARTS[number]}"
        if isinstance(window, SlidingWindow):
            needed = window.length + window.horizons[-1]
            rows = counted(longest[number], "row")
            detail += f": it has {rows} of a group at most, a window and its target take {needed:,}"
        if number:
            detail += f"; raise split.{PARTS[number]}, or give 0"
        raise SpecError.at("split", detail)


def is_there(values: Array) -> Array:
    """Tell of each row of a table's column whether it has a value."""
    return ~np.isnan(values) if values.dtype.kind == "f" else values >= 0
