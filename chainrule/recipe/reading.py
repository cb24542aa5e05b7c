"""Rows of another dataset as a recipe's features: columns by name, categories by their words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError, Problem
from chainrule.naming import unnamed
from chainrule.recipe.columns import translation
from chainrule.recipe.inputs import ArrayInputs, TableInputs
from chainrule.recipe.values import counted, listed, shown
from chainrule.recipe.windows import group_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from chainrule.kernels import Array
    from chainrule.naming import Values
    from chainrule.recipe.recipe import Recipe
    from chainrule.recipe.windows import Latest, WindowRecipe

__all__ = ["Reader"]

SHOWN = 5  # groups that a window leaves out


class Reader:
    """Reads a prepared dataset block by block, whichever file it was parsed from.

    Its codes of categories are its own; columns that the recipe does not name are left alone.
    ``rows`` counts the rows; with a window they are the latest sequences, one for each group in
    order of first appearance, and ``tensors`` tell which there are. ``groups`` are then the groups'
    names, if it goes by groups, and ``left_out`` says which rows are in no sequence.
    Raises: DataError, naming each column or array that cannot be read.
    """

    def __init__(
        self, recipe: Recipe, schema: Mapping[str, Any], tensors: Mapping[str, Array]
    ) -> None:
        self._window = recipe.window
        self._places = np.empty((0, 0), np.intp)
        inputs = recipe.inputs if isinstance(recipe.inputs, dict) else {"": recipe.inputs}
        self._tables = {key: one for key, one in inputs.items() if isinstance(one, TableInputs)}
        self._arrays = {key: one for key, one in inputs.items() if isinstance(one, ArrayInputs)}
        problems: list[str] = []
        if self._tables:
            given = {one["name"]: one for one in schema.get("columns", [])}
            self._translate = _translations(self._tables, given, problems)
            self.rows = int(schema["rows"])
        else:
            shapes = {one["name"]: one["shape"] for one in schema.get("arrays", [])}
            self.rows = _check_arrays(self._arrays, shapes, problems)
        if problems:
            raise DataError(*(Problem("", problem) for problem in problems[:20]))
        self.groups: list[Any] | None = None
        self.left_out: list[str] = []
        if self._window is not None:
            groups = self._window.groups_of(tensors, schema)
            latest = self._window.latest(groups)
            self._places, self.rows = latest.places, len(latest.places)
            if (name := self._window.window.group) is not None:
                keys = partial(_group_values, tensors[name], schema, self._window)
                self.groups = keys(latest.heads)
                words = keys(np.array([row for row, _ in latest.short[:SHOWN]], int))
                self.left_out = [*_short(latest, words, self._window.length)]
                if nowhere := len(tensors[name]) - len(groups.order):
                    verb = "has" if nowhere == 1 else "have"
                    text = f"{counted(nowhere, 'row')} {verb} no {name!r}, and so no group"
                    self.left_out.append(text)

    def read(self, tensors: Mapping[str, Array], start: int, stop: int, dtype: str) -> Values:
        """Return the features of the rows from ``start`` to before ``stop``.

        Shapes: (stop - start, ...), of several inputs by name.
        Raises: DataError at ``[row]`` of these, if an array holds what is not finite.
        """
        if self._window is not None:
            places = self._places[start:stop]
            used, where = np.unique(places, return_inverse=True)
            features = self._encode(tensors, np.maximum(used, 0), len(used), dtype)
            return self._window.fill(
                np.where(places < 0, -1, where.reshape(places.shape)), features
            )
        if self._tables:
            return self._encode(tensors, slice(start, stop), stop - start, dtype)
        rows = np.arange(stop - start)
        blocks = {one.name: _finite(tensors[one.name][start:stop]) for one in self._arrays.values()}
        encoded = {key: one.encode(blocks, rows, dtype) for key, one in self._arrays.items()}
        return unnamed({key: np.asarray(one) for key, one in encoded.items()})

    def _encode(
        self, tensors: Mapping[str, Array], rows: Array | slice, count: int, dtype: str
    ) -> Values:
        """Return the features of some rows of a table."""
        blocks = {
            name: translate(tensors[name][rows]) for name, translate in self._translate.items()
        }
        found = {}
        for key, one in self._tables.items():
            own = [blocks[column.name] for column in one.columns]
            found[key] = one.encode_values(own, count, dtype)
        return unnamed(found)


def _group_values(
    values: Array, schema: Mapping[str, Any], window: WindowRecipe, rows: Array
) -> list[Any]:
    """Return the groups of some rows, as answers to JSON rows name them."""
    (column,) = (one for one in schema["columns"] if one["name"] == window.window.group)
    found = values[rows].tolist()
    if column["type"] == "categorical":
        return [column["categories"][code] for code in found]
    names = group_names(found, "datetime" if column["type"] == "datetime" else "number")
    return [str(one) for one in names] if window.group == "category" else names


def _short(latest: Latest, names: Sequence[Any], length: int) -> Iterator[str]:
    """Say which groups have too few rows for a window."""
    if not latest.short:
        return
    groups, rows = len(latest.short), sum(size for _, size in latest.short)
    told = ", ".join(
        f"{shown(name)} ({counted(size, 'row')})"
        for name, (_, size) in zip(names, latest.short, strict=False)
    )
    more = ", …" if groups > len(names) else ""
    verb, gets = ("is", "gets") if groups == 1 else ("are", "get")
    yield (
        f"{counted(groups, 'group')} with {counted(rows, 'row')} {verb} too short for a window of "
        f"{counted(length, 'row')}, and {gets} no prediction: {told}{more}"
    )


def _translations(
    tables: Mapping[str, TableInputs], given: Mapping[str, Any], problems: list[str]
) -> dict[str, Callable[[Array], Array]]:
    """Return for each column what makes its values of this file's numbers."""
    found: dict[str, Callable[[Array], Array]] = {}
    for column in {c.name: c for one in tables.values() for c in one.columns}.values():
        if column.name not in given:
            there = listed([*given])
            problems.append(f"has no column {shown(column.name)}; it has {there}")
            continue
        try:
            found[column.name] = translation(column, given[column.name])
        except DataError as error:
            problems.append(error.problems[0].detail)
    return found


def _check_arrays(
    inputs: Mapping[str, ArrayInputs], shapes: Mapping[str, list[int]], problems: list[str]
) -> int:
    """Return the number of rows."""
    rows: dict[str, int] = {}
    for one in inputs.values():
        shape = shapes.get(one.name)
        if shape is None:
            problems.append(f"has no array {shown(one.name)}; it has {listed([*shapes])}")
        elif (tuple(shape[1:]) or (1,)) != one.shape:
            wanted = ", ".join(["rows", *map(str, one.shape)])
            problems.append(
                f"array {shown(one.name)} must have shape ({wanted}), has {tuple(shape)}"
            )
        else:
            rows[one.name] = shape[0]
    if len(set(rows.values())) > 1:
        problems.append(f"the arrays differ in their number of rows: {rows}")
    return next(iter(rows.values()), 0)


def _finite(block: Array) -> Array:
    finite = np.isfinite(block).all(axis=tuple(range(1, block.ndim)))
    if not finite.all():
        raise DataError.at(f"[{int(np.argmin(finite))}]", "must be finite numbers")
    return block
