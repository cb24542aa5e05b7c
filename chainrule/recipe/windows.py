"""Rows of a table as sequences: windows to learn from, and the latest rows to predict from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from chainrule.errors import DataError, Problem, SpecError, step
from chainrule.recipe.columns import key_translation
from chainrule.recipe.drawing import Drawn
from chainrule.recipe.layout import Groups, Layout, group_rows, is_there, lay_out
from chainrule.recipe.runs import Runs
from chainrule.recipe.split import Split
from chainrule.recipe.targets import ValueTarget
from chainrule.recipe.values import counted, listed, moment, read_datetime, read_number, read_text
from chainrule.spec.base import Document
from chainrule.spec.windowing import SlidingWindow, WindowSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.kernels import Array
    from chainrule.recipe.inputs import TableInputs
    from chainrule.recipe.targets import Learnt
    from chainrule.spec import DataSpec
    from chainrule.spec.training.losses import Task

__all__ = ["Latest", "Sampling", "WindowRecipe", "group_names"]

BLOCK_ROWS = 1 << 16
KeyType = Literal["number", "category", "datetime"]
_READ: dict[KeyType, Callable[[object], Any]] = {
    "number": read_number,
    "category": read_text,
    "datetime": read_datetime,
}
_TYPES: dict[str, KeyType] = {"categorical": "category", "datetime": "datetime"}


class Latest(NamedTuple):
    """The last rows of each group, in order of first appearance; padding is -1.

    ``heads`` are the numbers of the groups' first rows, ``short`` those of groups that have too few
    rows, and how many these have. Shapes: places (groups, length), heads (groups,).
    """

    places: Array
    heads: Array
    short: list[tuple[int, int]]


class Sampling(NamedTuple):
    """What windows are drawn from: a table of so many rows, and how these are split.

    ``targets`` must be there in the rows that hold targets, ``drops`` in all that go in.
    """

    tensors: Mapping[str, Array]
    rows: int
    split: Any
    seed: int
    targets: Sequence[str]
    drops: Sequence[str]


class WindowRecipe(Document):
    """The window of a job, and how the columns that it groups and orders by are read."""

    window: WindowSpec
    group: KeyType | None = None
    order_by: KeyType | None = None

    @classmethod
    def fit(
        cls, tensors: Mapping[str, Array], schema: Mapping[str, Any], data: DataSpec
    ) -> WindowRecipe | None:
        """Check what a request's window names, and decide what it leaves open; None without one.

        Raises: SpecError at ``window``, ``split`` or ``task``.
        """
        window, split = data.window, data.split
        if window is None:
            return None
        if data.task == "reconstruction":
            raise SpecError.at("task", "reconstruction is of rows or arrays, not of windows")
        known = {column["name"]: column for column in schema["columns"]}
        types = {
            key: _key_type(known, getattr(window, key), f"window.{key}")
            for key in ("group", "order_by")
        }
        if isinstance(window, SlidingWindow):
            if split.kind != "time" and not (split.kind == "random" and window.group):
                detail = "must be time" + (" or random, which deals groups" * bool(window.group))
                raise SpecError.at("split.kind", f"{detail}: no row may be in windows of two parts")
            if split.kind == "time" and split.column is not None:
                raise SpecError.at("split.column", "is not given: window.order_by says when")
        elif split.kind != "random":
            raise SpecError.at("split.kind", "must be random, which deals whole groups")
        if window.order_by is not None:
            _check_order(tensors, window.order_by)
        fitted = cls(window=window, **types)
        if isinstance(window, SlidingWindow) or window.max_length is not None:
            return fitted
        longest = int(fitted._groups(tensors, schema["rows"]).sizes.max(initial=1))
        return cls(window=window.model_copy(update={"max_length": longest}), **types)

    @property
    def length(self) -> int:
        """How many steps a sequence has."""
        window = self.window
        steps = window.length if isinstance(window, SlidingWindow) else window.max_length
        return steps or 1

    @property
    def has_steps(self) -> bool:
        """Whether a target is a sequence of values."""
        return isinstance(self.window, SlidingWindow) and isinstance(self.window.horizon, list)

    def draw(self, sampling: Sampling) -> Drawn:
        """Split the windows, and tell which rows are in those to learn from.  Raises: SpecError."""
        layout = self.lay_out(sampling)
        goals = Split(*(layout.of_part(number).goal_rows() for number in range(3)))
        return Drawn(layout.split, goals, layout.goal_rows(), layout.of_part(0).rows(), {})

    def lay_out(self, sampling: Sampling) -> Layout:
        """Place the windows of a table that have all they need.  Raises: SpecError."""
        tensors, rows = sampling.tensors, sampling.rows
        goals, inputs = np.ones(rows, bool), np.ones(rows, bool)
        for name in sampling.targets:
            goals &= is_there(tensors[name])
        for name in sampling.drops:
            inputs &= is_there(tensors[name])
        groups = self._groups(tensors, rows)
        return lay_out(groups, self.window, sampling.split, sampling.seed, (inputs, goals))

    def input_bytes(self, layout: Layout, row_bytes: int) -> int:
        """Return what ``encode`` takes for all windows, where a row's features take so much."""
        short = int(np.count_nonzero(layout.taken < self.length))
        rows = len(layout.order) + short * self.length
        return rows * row_bytes + layout.nbytes

    def learnt(self, one: Learnt, task: Task | None) -> Learnt:
        """Return what an output learns of each window; where no task is given, a forecast."""
        window = self.window
        if not isinstance(window, SlidingWindow):
            return one
        if task is None and one.task == "regression":
            one = one._replace(task="forecast")
        if isinstance(window.horizon, int):
            return one
        axis = "sample_shape" if isinstance(one.target, ValueTarget) else "steps"
        return one._replace(target=one.target.model_copy(update={axis: [len(window.horizon)]}))

    def encode(
        self, inputs: TableInputs, tensors: Mapping[str, Array], layout: Layout, dtype: str
    ) -> Runs:
        """Return windows as runs of their rows, each row encoded once; a short one is padded."""
        length = self.length
        whole, short = (np.flatnonzero((layout.taken == length) == is_whole) for is_whole in (1, 0))
        places = layout.at(whole).places()
        rows = np.full((len(places) + len(short) * length, *inputs.shape), 0.0, dtype)
        starts = np.empty(len(layout.first), np.intp)
        starts[whole] = np.searchsorted(places, layout.first[whole])
        starts[short] = len(places) + length * np.arange(len(short))
        _encode(inputs, tensors, layout.order[places], rows, np.arange(len(places)))
        if len(short):
            rows[len(places) :] = self.window.mask_value
            first, taken = layout.first[short], layout.taken[short]
            begin = starts[short] + (length - taken) * (self.window.padding == "pre")
            _encode(inputs, tensors, layout.order[_spans(first, taken)], rows, _spans(begin, taken))
        return Runs(rows, starts, length)

    def read_rows(
        self, inputs: TableInputs, rows: Sequence[Mapping[str, Any]], dtype: str
    ) -> Array:
        """Return the latest sequence of each group of raw rows, in order of first appearance.

        Shapes: (groups, length, features). Raises: DataError, at ``rows[3].day`` or ``rows``.
        """
        latest, _ = self._latest_of(rows)
        return self.fill(latest.places, inputs.read_rows(rows, dtype))

    def told(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return which group of raw rows each sequence is of, and which groups have none.

        Returns: {groups, left_out: [{group, rows}]?}, nothing where a window goes by no group.
        Raises: as ``read_rows``.
        """
        if self.group is None:
            return {}
        latest, keys = self._latest_of(rows)
        names = group_names(keys, self.group)
        answer: dict[str, Any] = {"groups": [names[row] for row in latest.heads.tolist()]}
        if latest.short:
            answer["left_out"] = [{"group": names[row], "rows": size} for row, size in latest.short]
        return answer

    def _latest_of(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Latest, list[Any]]:
        """Return the latest rows of each group of raw rows, and each row's group."""
        keys = {key: self._read_key(key, rows) for key in ("group", "order_by")}
        ranks = {key: _ranks(values, getattr(self, key)) for key, values in keys.items()}
        try:
            return self.latest(group_rows(len(rows), **ranks)), keys["group"] or []
        except DataError as error:
            raise error.under("rows") from None

    def latest(self, groups: Groups) -> Latest:
        """Return the last rows of each group that has enough of them.

        Raises: DataError, if no group has.
        """
        window, length, sizes = self.window, self.length, groups.sizes
        heads = np.minimum.reduceat(groups.order, groups.starts[:-1]) if len(sizes) else sizes
        appearance = np.argsort(heads)
        enough = sizes[appearance] >= (length if window.padding is None else 1)
        short = [(int(heads[one]), int(sizes[one])) for one in appearance[~enough]]
        if not enough.any():
            whose = "" if self.group is None else "none of the groups has enough rows: the longest "
            rows = counted(int(sizes.max(initial=0)), "row")
            raise DataError.at("", f"{whose}has {rows}, a window takes {length:,}")
        chosen = appearance[enough]
        taken = np.minimum(sizes[chosen], length)
        begin = np.arange(len(chosen)) * length
        begin += (length - taken) * (window.padding != "post")
        places = np.full((len(chosen), length), -1)
        last = groups.order[_spans(groups.starts[1:][chosen] - taken, taken)]
        places.reshape(-1)[_spans(begin, taken)] = last
        return Latest(places, heads[chosen], short)

    def fill(self, places: Array, features: Array) -> Array:
        """Return the features at some places, -1 being padding.  Shapes: (groups, length, n)."""
        x: Array = features[places]
        x[places < 0] = self.window.mask_value
        return x

    def groups_of(self, tensors: Mapping[str, Array], schema: Mapping[str, Any]) -> Groups:
        """Return the groups of another dataset's rows.

        Rows without a group are in none.
        Raises: DataError, if it lacks a column to group or order by, or has one of another type, or
        lacks values to order by.
        """
        known = {column["name"]: column for column in schema.get("columns", [])}
        keys: dict[str, Array] = {}
        problems = []
        for key in ("group", "order_by"):
            name = getattr(self.window, key)
            if name is None:
                continue
            if name not in known:
                problems.append(f"has no column {name!r}, the model's window.{key}")
                continue
            try:
                keys[key] = key_translation(getattr(self, key), known[name])(tensors[name])
            except DataError as error:
                problems.append(error.problems[0].detail)
                continue
            if key == "order_by" and not (there := is_there(keys[key])).all():
                row = int(np.argmin(there))
                problems.append(f"column {name!r}, the window's {key}, is empty in row {row}")
        if problems:
            raise DataError(*(Problem("", problem) for problem in problems))
        return group_rows(int(schema["rows"]), keys.get("group"), keys.get("order_by"))

    def _groups(self, tensors: Mapping[str, Array], rows: int) -> Groups:
        group, order_by = (
            None if name is None else tensors[name]
            for name in (self.window.group, self.window.order_by)
        )
        return group_rows(rows, group, order_by)

    def _read_key(
        self, key: Literal["group", "order_by"], rows: Sequence[Mapping[str, Any]]
    ) -> list[Any] | None:
        """Return what rows are grouped or ordered by: words, numbers, or seconds since 1970."""
        name, type_ = getattr(self.window, key), getattr(self, key)
        if name is None:
            return None
        read, values = _READ[type_], []
        for index, row in enumerate(rows):
            place = f"rows[{index}]"
            if not isinstance(row, Mapping):
                raise DataError.at(place, "must be an object of column names and values")
            if name not in row:
                raise DataError.at(place + step(name), f"is missing: it is the window's {key}")
            try:
                value = read(row[name])
            except DataError as error:
                raise error.under(place + step(name)) from None
            if value is None or value != value:  # noqa: PLR0124 NaN is a missing number
                raise DataError.at(place + step(name), f"must have a value: the window's {key}")
            values.append(value)
        return values


def _ranks(values: list[Any] | None, type_: KeyType | None) -> Array | None:
    """Return keys as numbers that compare alike."""
    if values is None:
        return None
    if type_ == "category":
        return np.unique(values, return_inverse=True)[1]
    return np.array(values, np.float64)


def group_names(keys: Sequence[Any], type_: KeyType) -> list[Any]:
    """Return groups as answers name them: words, numbers, or times as ISO 8601."""
    if type_ == "datetime":
        return [moment(seconds) for seconds in keys]
    if type_ == "number":
        return [int(one) if float(one).is_integer() else float(one) for one in keys]
    return list(keys)


def _key_type(known: Mapping[str, Any], name: str | None, place: str) -> KeyType | None:
    """Return how a column to group or order by is read.  Raises: SpecError."""
    if name is None:
        return None
    if name not in known:
        detail = f"there is no column {name!r}; the columns are {listed([*known])}"
        raise SpecError.at(place, detail)
    type_ = known[name]["type"]
    if type_ == "text":
        raise SpecError.at(place, f"column {name!r} is text of too many different values")
    return _TYPES.get(type_, "number")


def _check_order(tensors: Mapping[str, Array], name: str) -> None:
    there = is_there(tensors[name])
    if not there.all():
        detail = f"column {name!r} has no value in row {int(np.argmin(there))}"
        raise SpecError.at("window.order_by", f"{detail}: its place is unknown")


def _spans(first: Array, taken: Array) -> Array:
    """Return the numbers from each ``first`` on, so many each, one after the other."""
    before = np.cumsum(taken) - taken
    spans: Array = np.arange(int(taken.sum())) + np.repeat(first - before, taken)
    return spans


def _encode(
    inputs: TableInputs,
    tensors: Mapping[str, Array],
    rows: Array,
    out: Array,
    places: Array,
) -> None:
    """Write the features of some rows to places of ``out``, a block at a time."""
    for start in range(0, len(rows), BLOCK_ROWS):
        some = rows[start : start + BLOCK_ROWS]
        out[places[start : start + len(some)]] = inputs.encode(tensors, some, out.dtype.name)
