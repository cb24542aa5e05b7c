"""Predictions as a table: the columns that a model answers with, and their text in each format."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.naming import unnamed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chainrule.bundle import Model

    Array = np.ndarray[Any, Any]

__all__ = ["Table"]

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run; a word, never a number


@dataclass(frozen=True)
class _Field:
    """One part of the answer.  ``words``: the file's, by class, where classes are text."""

    name: str
    entry: str
    output: str
    tail: tuple[int, ...]
    labels: list[Any] | None
    words: Mapping[str, str] | None
    dtype: str

    @property
    def columns(self) -> Iterator[str]:
        """The names of the columns, such as ``probability_setosa``; the last axis has labels."""
        axes = [range(size) for size in self.tail]
        for place in product(*(axes if self.labels is None else [*axes[:-1], self.labels])):
            yield "_".join([self.name, *map(str, place)])


class Table:
    """What a model's answers look like as rows of a file of a format: csv, ndjson or npy.

    A file of another format, parquet, is made of the tensors alone.

    ``prediction`` is a class, or numbers in the target's units; ``probability`` follows where there
    is one. Several outputs are ``left.prediction`` and so on. Before them stands ``group``, where
    each row has one of ``groups``.
    """

    def __init__(
        self,
        model: Model,
        format: str,  # noqa: A002 the API's word
        groups: list[Any] | None = None,
    ) -> None:
        if model.recipe is None:
            raise ValueError("a model without a recipe has no answers")
        self._recipe, self._format = model.recipe, format
        shapes = model.network.output_shapes
        nothing = {name: np.zeros((1, *shape)) for name, shape in shapes.items()}
        self._groups = groups
        self._fields = _fields(self._recipe.invert(unnamed(nothing)), [*shapes], format)
        if groups is not None:
            self._fields.insert(0, _group(groups, format))

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Each column's name, its words ascending (None: numbers), and how these are written."""
        return [
            {
                "name": column,
                "words": sorted(field.words.values()) if field.words else None,
                "fractional": field.dtype == "<f8",
            }
            for field in self._fields
            for column in field.columns
        ]

    def header(self, rows: int) -> bytes:
        """Return what stands before the first row of so many."""
        if self._format == "csv":
            return (",".join(_quoted(column["name"]) for column in self.columns) + "\n").encode()
        if self._format == "npy":
            file = io.BytesIO()
            about = {
                "descr": np.lib.format.dtype_to_descr(self._record),
                "fortran_order": False,
                "shape": (rows,),
            }
            np.lib.format.write_array_header_1_0(file, about)
            return file.getvalue()
        return b""

    def block(self, raw: Any, start: int = 0) -> tuple[bytes, list[bytes]]:
        """Return rows of raw outputs as the file has them, and each column as a tensor.

        ``start`` is the number of the first, by which its group is found.

        A tensor holds float64, or int32 numbers of its words. Shapes: raw (rows, ...).
        Raises: DataError at ``[row]``, if an output is not finite.
        """
        answer = self._recipe.invert(raw)
        if self._groups is not None:
            answer["group"] = self._groups[start : start + len(_first(raw))]
        values = [_values(field, answer) for field in self._fields]
        tensors = [
            np.ascontiguousarray(column).tobytes()
            for field, array in zip(self._fields, values, strict=True)
            for column in _flat(_tensor(field, array)).T
        ]
        return self._text(values), tensors

    def _text(self, values: list[Array]) -> bytes:
        if self._format == "npy":
            records = np.empty(len(values[0]), self._record)
            for field, array in zip(self._fields, values, strict=True):
                records[field.name] = array
            return records.tobytes()
        if self._format == "parquet":
            return b""
        cells = [
            _cells(field, column, self._format)
            for field, array in zip(self._fields, values, strict=True)
            for column in _flat(array).T
        ]
        if self._format == "csv":
            return "".join(f"{','.join(row)}\n" for row in zip(*cells, strict=True)).encode()
        names = (json.dumps(column["name"]).replace("%", "%%") for column in self.columns)
        line = "{" + ",".join(f"{name}:%s" for name in names) + "}\n"
        return "".join(line % row for row in zip(*cells, strict=True)).encode()

    @property
    def _record(self) -> np.dtype[Any]:
        return np.dtype([(field.name, field.dtype, field.tail) for field in self._fields])


def _fields(answer: dict[str, Any], outputs: list[str], format_: str) -> list[_Field]:
    """Return the parts of an answer, those of several outputs in the network's order."""
    several = isinstance(answer["predictions"], dict)
    found = []
    for output in outputs:
        one = {entry: v.get(output) if several else v for entry, v in answer.items()}
        prefix, classes = f"{output}." if several else "", one.get("classes")
        found.append(_prediction(prefix, output, one["predictions"], classes, format_))
        if (shares := one.get("probabilities")) is not None:
            tail = np.shape(shares)[1:]
            name = f"{prefix}probability"
            found.append(_Field(name, "probabilities", output, tail, classes, None, "<f8"))
    return found


def _group(groups: list[Any], format_: str) -> _Field:
    words = None
    if isinstance(groups[0], str):
        words = {word: _safe(word) if format_ == "csv" else word for word in dict.fromkeys(groups)}
    return _Field("group", "group", "", (), None, words, np.array(groups).dtype.str)


def _first(raw: Any) -> Array:
    """Return the outputs of a network, of several those of the first."""
    found: Array = next(iter(raw.values())) if isinstance(raw, dict) else raw
    return found


def _prediction(
    prefix: str, output: str, values: Any, classes: list[Any] | None, format_: str
) -> _Field:
    dtype, words = np.array(classes or values).dtype.str, None
    if classes and isinstance(classes[0], str):
        words = {word: _safe(word) if format_ == "csv" else word for word in classes}
    tail = np.shape(values)[1:]
    return _Field(f"{prefix}prediction", "predictions", output, tail, None, words, dtype)


def _values(field: _Field, answer: dict[str, Any]) -> Array:
    """Return a field's values.  Shapes: (rows, *tail)."""
    values = answer[field.entry]
    if isinstance(values, dict):
        values = values[field.output]
    array: Array = np.array(values, dtype=field.dtype)
    return array + 0.0 if array.dtype.kind == "f" else array  # no -0.0: a file is read without


def _tensor(field: _Field, array: Array) -> Array:
    if field.words is None:
        return array.astype(np.float64)
    numbers = {word: number for number, word in enumerate(sorted(field.words.values()))}
    codes = [numbers[field.words[word]] for word in array.ravel().tolist()]
    return np.array(codes, np.int32).reshape(array.shape)


def _flat(array: Array) -> Array:
    return array.reshape(len(array), -1)


def _cells(field: _Field, column: Array, format_: str) -> list[str]:
    if field.words is None:
        return [repr(value) for value in column.tolist()]
    write = _quoted if format_ == "csv" else json.dumps
    texts = {word: write(shown) for word, shown in field.words.items()}
    return [texts[word] for word in column.tolist()]


def _safe(word: str) -> str:
    """Return a word that no spreadsheet takes for a formula."""
    return f"'{word}" if word.startswith(FORMULA) else word


def _quoted(text: str) -> str:
    """Write a field as RFC 4180 has it."""
    if any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text
