"""Columns of another dataset, whatever its types and codes, as the values of a recipe's columns."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError
from chainrule.recipe.columns.category import CategoryColumn
from chainrule.recipe.values import read_datetime, read_number, read_text, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.kernels import Array
    from chainrule.recipe.columns.cells import Source
    from chainrule.recipe.columns.datetime import DatetimeColumn
    from chainrule.recipe.columns.number import NumberColumn

    Translation = Callable[[Array], Array]

__all__ = ["key_translation", "translation"]


def translation(
    column: NumberColumn | CategoryColumn | DatetimeColumn, given: Mapping[str, Any]
) -> Translation:
    """Return what makes a column's values of a tensor that a schema describes.

    Raises: DataError, without a place, if the model cannot take such a column.
    """
    type_ = _readable(given)
    if isinstance(column, CategoryColumn):
        if column.source == "category":
            return _of_words(column, given)
        dates = column.source == "datetime"
        if type_ == "categorical":
            return _looked_up(column, given["categories"], dates=dates)
        return _numbers(given, dates=dates, then=column.of_tensor)
    dates = column.source == "datetime" or (column.source, column.kind) == ("category", "datetime")
    if type_ == "categorical" and column.source != "number":
        return _read_words(given, dates=dates)
    return _numbers(given, dates=dates)


def key_translation(source: Source, given: Mapping[str, Any]) -> Translation:
    """Return what makes keys that compare as those of JSON rows do; a missing one stays missing.

    Raises: as ``translation``.
    """
    type_ = _readable(given)
    if source != "category":
        return _numbers(given, dates=source == "datetime")
    if type_ == "categorical":  # its codes are in the order of its words
        return np.asarray
    _check_no_dates(given)
    return _numbers_as_ranks


def _readable(given: Mapping[str, Any]) -> str:
    """Return a column's type.  Raises: DataError, if it is free text."""
    if given["type"] == "text":
        detail = f"column {shown(given['name'])} has too many different words to be read"
        raise DataError.at("", detail)
    return str(given["type"])


def _of_words(column: CategoryColumn, given: Mapping[str, Any]) -> Translation:
    """Find categories by their words, or by the text of numbers."""
    if given["type"] == "categorical":
        # The last, at -1, is a missing word.
        return column.of_words([*given["categories"], None]).__getitem__
    _check_no_dates(given)
    return partial(_numbers_as_words, column)


def _check_no_dates(given: Mapping[str, Any]) -> None:
    if given["type"] == "datetime" and given.get("unique"):
        raise DataError.at("", f"column {shown(given['name'])} holds dates, the model takes text")


def _numbers_as_words(column: CategoryColumn, values: Array) -> Array:
    """Return the places of numbers whose text is a category, as it is where rows are JSON."""
    found, where = np.unique(values, return_inverse=True)
    known = column.known
    words = [None if np.isnan(one) else read_text(one, known) for one in found.tolist()]
    return column.of_words(words)[where]


def _numbers_as_ranks(values: Array) -> Array:
    """Return the places of numbers in the order of their texts, -1 for a missing one."""
    found, where = np.unique(values, return_inverse=True)
    words = [None if np.isnan(one) else read_text(one) for one in found.tolist()]
    ranks = {word: rank for rank, word in enumerate(sorted(word for word in words if word))}
    return np.array([-1 if word is None else ranks[word] for word in words])[where]


def _numbers(
    given: Mapping[str, Any], *, dates: bool, then: Translation | None = None
) -> Translation:
    """Take numbers, or dates as they are in seconds, as the model takes them."""
    type_ = given["type"]
    if type_ == "categorical":
        detail = f"column {shown(given['name'])} is text, the model takes "
        raise DataError.at("", detail + ("dates" if dates else "numbers"))
    if given.get("unique", 1) and (type_ == "datetime") != dates:
        held, wanted = ("numbers", "dates") if dates else ("dates", "numbers")
        detail = f"column {shown(given['name'])} holds {held}, the model takes {wanted}"
        raise DataError.at("", detail)
    return then or np.asarray


def _read_words(given: Mapping[str, Any], *, dates: bool) -> Translation:
    """Read words as the numbers or dates that they were in training.

    Raises: DataError, naming the first that is none.
    """
    read = read_datetime if dates else read_number
    try:
        values = [read(word) for word in given["categories"]]
    except DataError as error:
        detail = f"column {shown(given['name'])}: each value {error.problems[0].detail}"
        raise DataError.at("", detail) from None
    return np.array([*values, math.nan]).__getitem__


def _looked_up(column: CategoryColumn, words: list[str], *, dates: bool) -> Translation:
    """Find categories that are numbers or dates by words; one that is none is not known."""
    values, read = [], read_datetime if dates else read_number
    for word in words:
        try:
            values.append(read(word))
        except DataError:
            values.append(math.inf)  # which no file holds
    return column.of_tensor(np.array([*values, math.nan])).__getitem__
