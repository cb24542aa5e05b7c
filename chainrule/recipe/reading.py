"""Rows of another dataset as a recipe's features: columns by name, categories by their words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError, Problem
from chainrule.naming import unnamed
from chainrule.recipe.inputs import CategoryColumn, TableInputs
from chainrule.recipe.values import listed, read_text, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.kernels import Array
    from chainrule.naming import Values
    from chainrule.recipe.inputs import ArrayInputs
    from chainrule.recipe.recipe import Recipe

__all__ = ["Reader"]


class Reader:
    """Reads a prepared dataset block by block, whichever file it was parsed from.

    Its codes of categories are its own; columns that the recipe does not name are left alone.
    ``rows`` counts the rows; with a window they are the latest sequences, one for each group in
    order of first appearance, and ``tensors`` tell which there are.
    Raises: DataError, naming each column or array that cannot be read.
    """

    def __init__(
        self, recipe: Recipe, schema: Mapping[str, Any], tensors: Mapping[str, Array]
    ) -> None:
        self._inputs = recipe.inputs
        self._window = recipe.window
        self._places = np.empty((0, 0), np.intp)
        problems: list[str] = []
        if isinstance(self._inputs, TableInputs):
            given = {one["name"]: one for one in schema.get("columns", [])}
            self._translate = _translations(self._inputs, given, problems)
            self.rows = int(schema["rows"])
        else:
            several = self._inputs if isinstance(self._inputs, dict) else {"": self._inputs}
            self._arrays = several
            shapes = {one["name"]: one["shape"] for one in schema.get("arrays", [])}
            self.rows = _check_arrays(several, shapes, problems)
        if problems:
            raise DataError(*(Problem("", problem) for problem in problems[:20]))
        if self._window is not None:
            self._places = self._window.latest(self._window.groups_of(tensors, schema))
            self.rows = len(self._places)

    def read(self, tensors: Mapping[str, Array], start: int, stop: int, dtype: str) -> Values:
        """Return the features of the rows from ``start`` to before ``stop``.

        Shapes: (stop - start, ...), of several inputs by name.
        Raises: DataError at ``[row]`` of these, if an array holds what is not finite.
        """
        if isinstance(self._inputs, TableInputs):
            if self._window is not None:
                places = self._places[start:stop]
                used, where = np.unique(places, return_inverse=True)  # -1, padding, is row 0 here
                features = self._encode(self._inputs, tensors, np.maximum(used, 0), dtype)
                where = np.where(places < 0, -1, where.reshape(places.shape))
                return self._window.fill(where, features)
            return self._encode(self._inputs, tensors, slice(start, stop), dtype)
        rows = np.arange(stop - start)
        blocks = {one.name: _finite(tensors[one.name][start:stop]) for one in self._arrays.values()}
        encoded = {key: one.encode(blocks, rows, dtype) for key, one in self._arrays.items()}
        return unnamed({key: np.asarray(one) for key, one in encoded.items()})

    def _encode(
        self, inputs: TableInputs, tensors: Mapping[str, Array], rows: Array | slice, dtype: str
    ) -> Array:
        blocks = {
            name: translate(tensors[name][rows]) for name, translate in self._translate.items()
        }
        return inputs.encode(blocks, np.arange(len(next(iter(blocks.values())))), dtype)


def _translations(
    inputs: TableInputs, given: Mapping[str, Any], problems: list[str]
) -> dict[str, Callable[[Array], Array]]:
    """Return for each column what makes the training file's numbers of this one's."""
    found: dict[str, Callable[[Array], Array]] = {}
    for column in inputs.columns:
        name, type_ = column.name, given.get(column.name, {}).get("type")
        if type_ is None:
            problems.append(f"has no column {shown(name)}; it has {listed([*given])}")
        elif type_ == "text":
            problems.append(f"column {shown(name)} has too many different words to be read")
        elif isinstance(column, CategoryColumn):
            found[name] = _categories(column, given[name])
        elif type_ == "categorical":
            problems.append(f"column {shown(name)} is text, the model takes numbers")
        else:
            found[name] = np.asarray
    return found


def _categories(column: CategoryColumn, given: Mapping[str, Any]) -> Callable[[Array], Array]:
    known: dict[str | None, int] = dict(zip(column.categories, column.codes, strict=True))
    if given["type"] == "categorical":
        codes = [known.get(word, -1) for word in given["categories"]]
        return np.array([*codes, -1]).__getitem__  # the last, at -1: a missing word
    return partial(_numbers_as_words, known, int if given["type"] == "integer" else float)


def _numbers_as_words(
    known: Mapping[str | None, int], exact: Callable[[float], float], values: Array
) -> Array:
    """Return the codes of numbers whose text is a category, as it is where rows are JSON."""
    found, where = np.unique(values, return_inverse=True)
    words = [None if np.isnan(one) else read_text(exact(one)) for one in found.tolist()]
    codes: Array = np.array([known.get(word, -1) for word in words])[where]
    return codes


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
