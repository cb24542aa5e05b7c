"""Which rows train, which validate, which test: the same ones whenever and wherever it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError, SpecError
from chainrule.recipe.gathering import gathered
from chainrule.recipe.hashing import hash_numbers, hash_text, mixed
from chainrule.recipe.values import (
    counted,
    is_datetime,
    listed,
    read_datetime,
    read_number,
    read_text,
    shown,
)
from chainrule.streams import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chainrule.kernels import Array
    from chainrule.spec import (
        AnySplit,
        ColumnSplitSpec,
        HashSplitSpec,
        KFoldSplitSpec,
        SplitSpec,
        StratifiedSplitSpec,
        TimeSplitSpec,
    )

__all__ = ["Sight", "Split", "row_numbers", "split_rows"]

TRAIN, VALIDATION, TEST = 0, 1, 2
MAX_STRATA = 10_000
BLOCK_ROWS = 1 << 20


@dataclass(frozen=True)
class Split:
    """The row numbers of each part, each ascending."""

    train: Array
    validation: Array
    test: Array


@dataclass(frozen=True)
class Sight:
    """What a split may look at besides the number of rows.

    ``words`` are those that a column's codes stand for; ``target`` is the one to stratify by.
    """

    tensors: Mapping[str, Array] = field(default_factory=dict)
    words: Mapping[str, list[str]] = field(default_factory=dict)
    target: str | None = None


def row_numbers(mask: Array) -> Array:
    """Return where a mask is true, in four bytes each where they fit, without eight on the way."""
    dtype = np.int32 if len(mask) <= np.iinfo(np.int32).max else np.int64
    found = np.empty(int(np.count_nonzero(mask)), dtype)
    done = 0
    for start in range(0, len(mask), BLOCK_ROWS):
        places = np.flatnonzero(mask[start : start + BLOCK_ROWS])
        found[done : done + len(places)] = places + start
        done += len(places)
    return found


def split_rows(rows: Array, spec: AnySplit, seed: int, sight: Sight | None = None) -> Split:
    """Deal rows to the three parts; a part with a share has a row at least.

    Raises: SpecError at ``split`` or in it, if a part that is asked for has no row.
    """
    parts = _DEALERS[spec.kind](rows, spec, seed, sight or Sight())
    return Split(*(rows[parts == part] for part in (TRAIN, VALIDATION, TEST)))


def _deal_at_random(rows: Array, spec: SplitSpec, seed: int, sight: Sight) -> Array:
    validation, test = _sizes(len(rows), spec)
    order = _shuffled(len(rows), seed)
    parts = np.zeros(len(rows), np.uint8)
    parts[order[:validation]] = VALIDATION
    parts[order[validation : validation + test]] = TEST
    return parts


def _deal_by_class(rows: Array, spec: StratifiedSplitSpec, seed: int, sight: Sight) -> Array:
    """Give each class its share of each part: whole rows first, then to the largest remainders."""
    validation, test = _sizes(len(rows), spec)
    classes = _classes(rows, sight)
    counts = _counts(classes)
    aside = _allotted(counts, spec.validation, validation, counts - 1)
    tested = _allotted(counts, spec.test, test, counts - 1 - aside)
    for part, given, wanted in (("validation", aside, validation), ("test", tested, test)):
        if wanted and not given.any():
            detail = f"has no row to give to {part}: a class keeps one at least to train on"
            raise SpecError.at("split.kind", detail)
    order = _shuffled(len(rows), seed)
    parts = np.zeros(len(rows), np.uint8)
    passed = np.zeros(len(counts), np.int64)  # rows of each class in the blocks before
    for start in range(0, len(rows), BLOCK_ROWS):
        some = order[start : start + BLOCK_ROWS]
        some = some[np.argsort(classes[some], kind="stable")]
        here = np.bincount(classes[some], minlength=len(counts))
        place = np.arange(len(some)) + np.repeat(passed - (np.cumsum(here) - here), here)
        one, both = (np.repeat(limits, here) for limits in (aside, aside + tested))
        parts[some[place < both]] = TEST
        parts[some[place < one]] = VALIDATION
        passed += here
    return parts


def _deal_by_column(rows: Array, spec: ColumnSplitSpec, seed: int, sight: Sight) -> Array:
    values = gathered(_column(sight, spec.column), rows)
    words = sight.words.get(spec.column)
    parts = np.zeros(len(rows), np.uint8)
    for part, name in ((VALIDATION, "validation"), (TEST, "test")):
        for index, wanted in enumerate(getattr(spec, name)):
            place = f"split.{name}[{index}]"
            found = values == _key(wanted, words, place)
            if not found.any():
                detail = f"no row with a target has {shown(wanted)} in {spec.column!r}"
                hint = f"; its values are {listed(words)}" if words else ""
                raise SpecError.at(place, detail + hint)
            if parts[found].any():
                raise SpecError.at(place, f"{shown(wanted)} is named before")
            parts[found] = part
    if parts.all():
        raise SpecError.at("split", "leaves no row to train on: each row's value is named")
    return parts


def _deal_by_hash(rows: Array, spec: HashSplitSpec, seed: int, sight: Sight) -> Array:
    """Deal by where each key's 64 bits fall; neither seed nor other rows have a say."""
    columns = [(_column(sight, name), sight.words.get(name)) for name in spec.columns]
    words = [None if w is None else _hashed_words(w) for _, w in columns]
    salt = np.uint64(hash_text(spec.salt))
    parts = np.zeros(len(rows), np.uint8)
    for start in range(0, len(rows), BLOCK_ROWS):
        some = rows[start : start + BLOCK_ROWS]
        bits = np.full(len(some), salt)
        for (values, _), hashes in zip(columns, words, strict=True):
            bits = mixed(bits ^ _hashed(values[some], hashes))
        at = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        block = parts[start : start + BLOCK_ROWS]
        block[at < spec.validation + spec.test] = TEST
        block[at < spec.validation] = VALIDATION
    for part, share in ((VALIDATION, spec.validation), (TEST, spec.test), (TRAIN, 1.0)):
        if share and not (parts == part).any():
            name = ("train", "validation", "test")[part]
            detail = f"no key falls to {name}: there are few; try another salt, or a larger share"
            raise SpecError.at("split.key", detail)
    return parts


def _deal_by_time(rows: Array, spec: TimeSplitSpec, seed: int, sight: Sight) -> Array:
    """Keep the newest aside; of equal times the later row is newer, one without a time oldest."""
    validation, test = _sizes(len(rows), spec)
    column = _column(sight, spec.columns[0])
    kept = {VALIDATION: validation + test, TEST: test}
    edges = _edges(_times(column, rows), [count for count in kept.values() if count])
    parts = np.zeros(len(rows), np.uint8)
    for part, (edge, equal) in zip([part for part in kept if kept[part]], edges, strict=True):
        parts[_newest(column, rows, edge, equal)] = part
    return parts


def _deal_by_fold(rows: Array, spec: KFoldSplitSpec, seed: int, sight: Sight) -> Array:
    """Deal the test at even distances, then the rest in turn; in the order of classes if asked."""
    count, test = len(rows), _count(len(rows), spec.test)
    if count - test < spec.folds:
        left = counted(max(count - test, 0), "row")
        raise SpecError.at("split.folds", f"{spec.folds} folds of {left}, without those to test")
    order = _shuffled(count, seed)
    if spec.stratified:
        order = _by_class(order, _classes(rows, sight, "split.stratified"))
    tested = (np.arange(1, test + 1) * count + test - 1) // max(test, 1) - 1
    parts = np.zeros(count, np.uint8)
    parts[order[tested]] = TEST
    if spec.fold is not None:
        parts[np.delete(order, tested)[spec.fold - 1 :: spec.folds]] = VALIDATION
    return parts


_DEALERS: dict[str, Callable[[Array, Any, int, Sight], Array]] = {
    "random": _deal_at_random,
    "stratified": _deal_by_class,
    "column": _deal_by_column,
    "hash": _deal_by_hash,
    "time": _deal_by_time,
    "k_fold": _deal_by_fold,
}


def _sizes(rows: int, spec: SplitSpec | StratifiedSplitSpec | TimeSplitSpec) -> tuple[int, int]:
    """Return how many rows validate and test.  Raises: SpecError, if none is left."""
    validation, test = _count(rows, spec.validation), _count(rows, spec.test)
    if validation + test >= rows:
        wanted = f"validation {validation:,}, test {test:,}"
        detail = f"leaves no row to train on: {counted(rows, 'row')} with a target ({wanted})"
        raise SpecError.at("split", detail)
    return validation, test


def _count(rows: int, share: float) -> int:
    return max(1, round(rows * share)) if share else 0


def _shuffled(rows: int, seed: int) -> Array:
    """Return the row numbers in the seed's order: the same whether they take 4 bytes or 8."""
    order = np.arange(rows, dtype=np.int32 if rows <= np.iinfo(np.int32).max else np.int64)
    generator(seed, "split").shuffle(order)
    return order


def _classes(rows: Array, sight: Sight, place: str = "split.kind") -> Array:
    """Return a number for the class of each row, from 0.  Raises: SpecError at ``place``."""
    if sight.target is None:
        raise SpecError.at(place, "stratified goes by the classes of one target")
    values = sight.tensors[sight.target]
    if values.ndim > 2 and values.size > len(values):
        raise SpecError.at(place, "stratified wants one class for each row")
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, len(rows), BLOCK_ROWS)]

    def labels(some: slice) -> Array:
        """Return what the classes of a block's rows are called."""
        taken = values[rows[some]].reshape(len(rows[some]), -1)
        return taken.argmax(axis=1) if taken.shape[1] > 1 else taken[:, 0]

    found = np.unique(np.concatenate([np.unique(labels(some)) for some in blocks]))
    if len(found) > MAX_STRATA:
        detail = f"stratified goes by classes: {sight.target!r} has {len(found):,} different values"
        raise SpecError.at(place, detail)
    classes = np.empty(len(rows), np.uint16)
    for some in blocks:
        classes[some] = np.searchsorted(found, labels(some))
    return classes


def _counts(classes: Array) -> Array:
    """Count the rows of each class, block by block: numpy makes eight bytes of each row's class."""
    counts = np.zeros(int(classes.max()) + 1, np.int64)
    for start in range(0, len(classes), BLOCK_ROWS):
        counts += np.bincount(classes[start : start + BLOCK_ROWS], minlength=len(counts))
    return counts


def _by_class(order: Array, classes: Array) -> Array:
    """Return rows in the order of their classes, those of one as they were."""
    found, counts = np.empty_like(order), _counts(classes)
    begun = np.cumsum(counts) - counts  # where the next row of each class goes
    for start in range(0, len(order), BLOCK_ROWS):
        some = order[start : start + BLOCK_ROWS]
        some = some[np.argsort(classes[some], kind="stable")]
        here = np.bincount(classes[some], minlength=len(counts))
        found[np.arange(len(some)) + np.repeat(begun - (np.cumsum(here) - here), here)] = some
        begun += here
    return found


def _allotted(counts: Array, share: float, total: int, free: Array) -> Array:
    """Return how many rows of each class make a part of ``total``, of each at most ``free``."""
    exact = counts * share
    given = np.minimum(np.floor(exact).astype(np.int64), free)
    wanting = np.argsort(given - exact, kind="stable")  # the largest remainder first
    wanting = wanting[(given < free)[wanting]][: max(0, total - int(given.sum()))]
    given[wanting] += 1
    return given


def _newest(column: Array, rows: Array, edge: float, equal: int) -> Array:
    """Return a mask of the rows that are newer than ``edge``, and of the last so many as old."""
    mask = np.zeros(len(rows), np.bool_)
    left = equal
    for start in reversed(range(0, len(rows), BLOCK_ROWS)):
        some = slice(start, start + BLOCK_ROWS)
        times = _times(column, rows[some])
        same = np.flatnonzero(times == edge)
        same = same[max(0, len(same) - left) :]
        left -= len(same)
        mask[some] = times > edge
        mask[some][same] = True
    return mask


def _times(column: Array, rows: Array) -> Array:
    """Return when rows were; one without a time was before all others."""
    times = gathered(column, rows).astype(np.float64, copy=False)
    times[np.isnan(times)] = -np.inf
    return times


def _edges(times: Array, counts: Sequence[int]) -> list[tuple[float, int]]:
    """Return the oldest of so many newest times, and how many of these are as old as it.

    The times are in another order afterwards: a copy of many would take as much again.
    """
    times.partition([len(times) - count for count in counts])
    edges = [float(times[len(times) - count]) for count in counts]
    newer = [int(np.count_nonzero(times > edge)) for edge in edges]
    return [(edge, count - n) for edge, count, n in zip(edges, counts, newer, strict=True)]


def _column(sight: Sight, name: str) -> Array:
    values = sight.tensors[name]
    return values.reshape(len(values))


def _key(wanted: float | str, words: Sequence[str] | None, place: str) -> float:
    """Return a value as the tensor holds it; -2, which no code is, if it has no such word."""
    try:
        if words is not None:
            text = read_text(wanted, words)
            return words.index(text) if text in words else -2
        return read_datetime(wanted) if is_datetime(wanted) else read_number(wanted)
    except DataError as error:
        raise SpecError.at(place, error.problems[0].detail) from None


def _hashed(values: Array, words: Array | None) -> Array:
    """Return 64 bits for each value: of a word its text's, of a number its own."""
    return hash_numbers(values) if words is None else words[values]


def _hashed_words(words: Sequence[str]) -> Array:
    """Return 64 bits for each word, and at the end, at -1, for a missing one."""
    return np.array([*map(hash_text, words), hash_text("")], np.uint64)
