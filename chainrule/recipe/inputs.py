"""What goes into the network: columns of a table side by side, or an array as it is."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from chainrule.errors import DataError, Problem, SpecError, step
from chainrule.recipe.columns import (
    CategoryColumn,
    Column,
    NumberColumn,
    NumberTable,
    Problems,
    fit_column,
    resolved,
)
from chainrule.recipe.columns.cells import MAX_PROBLEMS
from chainrule.recipe.scaled import ArrayScale, Scaled, fit_scale, is_small
from chainrule.recipe.values import counted, listed, shown, to_array
from chainrule.spec import PreprocessingSpec
from chainrule.spec.base import Document

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.recipe.choice import Choice, Named
    from chainrule.spec import DataSpec
    from chainrule.spec.arrays import ArrayOptions

__all__ = [
    "ArrayInputs",
    "Inputs",
    "TableInputs",
    "check_rows",
    "fit_inputs",
    "options_of",
    "read_arrays",
]

MAX_WIDTH = 100_000
MAX_VALUES = 4_000_000_000  # of the encoded table: 16 GB in single precision, in files


class TableInputs(Document):
    """Columns side by side, in the request's order; ``others`` are the file's other columns."""

    kind: Literal["table"] = "table"
    columns: list[Column] = Field(min_length=1)
    others: list[str]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.columns),)

    @property
    def vocabulary(self) -> int | None:
        """How many whole numbers an embedding is fed; None, if these are features."""
        (first, *_) = self.columns
        return first.vocabulary if isinstance(first, CategoryColumn) else None

    @property
    def dropping(self) -> list[str]:
        """The columns whose rows are not learnt from where they have no value."""
        return [column.name for column in self.columns if column.drops]

    def is_by_batch(self, tensors: Mapping[str, Array]) -> bool:
        """Tell whether features are made when they are learnt from: as an array's may be."""
        return False

    def encode(self, tensors: Mapping[str, Array], indices: Array, dtype: str) -> Array:
        """Return the features of some rows.  Shapes: indices (rows,) -> (rows, width)."""
        blocks = [column.of_tensor(tensors[column.name][indices]) for column in self.columns]
        return self.encode_values(blocks, len(indices), dtype)

    def read_rows(self, rows: Sequence[Mapping[str, Any]], dtype: str) -> Array:
        """Return the features of raw rows that have all columns.

        Raises: DataError, naming row and column of each of the first bad cells.
        """
        problems = Problems()
        blocks = []
        for column in self.columns:
            problems.name = column.name
            blocks.append(column.read([row[column.name] for row in rows], problems))
        problems.check()
        return self.encode_values(blocks, len(rows), dtype)

    def encode_values(self, blocks: Sequence[Array], rows: int, dtype: str) -> Array:
        """Return the features of the columns' values, in their order."""
        x = np.zeros((rows, *self.shape), dtype=dtype)
        numbers, places = self._numbers
        if numbers is not None:
            kept = [b for b, c in zip(blocks, self.columns, strict=True) if _is_number(c)]
            numbers.write(kept, x)
        for start, column, values in zip(places, self.columns, blocks, strict=True):
            if not isinstance(column, NumberColumn):
                column.write(values, x[:, start : start + column.width])
        return x

    @property
    def _numbers(self) -> tuple[NumberTable | None, list[int]]:
        """Return the columns of numbers together, and where each column's features begin."""
        widths = [column.width for column in self.columns]
        places = [0, *accumulate(widths)][:-1]
        pairs = [(c, p) for c, p in zip(self.columns, places, strict=True) if _is_number(c)]
        columns = [c for c, _ in pairs if isinstance(c, NumberColumn)]
        return NumberTable(columns, [p for _, p in pairs]) if pairs else None, places


class ArrayInputs(Document):
    """One array, used as it is, or scaled."""

    kind: Literal["arrays"] = "arrays"
    name: str
    sample_shape: list[int]
    scale: ArrayScale | None = Field(None, exclude_if=operator.not_)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sample_shape)

    def is_by_batch(self, tensors: Mapping[str, Array]) -> bool:
        """Tell whether rows stay as they are, and are scaled when they are learnt from."""
        return self.scale is not None and is_small(tensors[self.name])

    def encode(self, tensors: Mapping[str, Array], indices: Array, dtype: str) -> Any:
        """Return some rows; of scaled bytes, what scales them by batch.

        Shapes: indices (rows,) -> (rows, ...).
        """
        values = tensors[self.name]
        if self.scale is not None and self.is_by_batch(tensors):
            whole = values.reshape(len(values), *self.shape)
            return Scaled(whole, indices, self.scale, np.dtype(dtype))
        return self._features(values[indices].reshape(len(indices), *self.shape), dtype)

    def read(self, values: object, dtype: str, path: str = "inputs") -> Array:
        """Return raw inputs as an array.  Raises: DataError at ``path``, stating both shapes."""
        array = to_array(values, path)
        if array.ndim == 1 and self.shape == (1,):
            array = array[:, None]
        if array.shape[1:] != self.shape:
            wanted = ", ".join(["rows", *map(str, self.shape)])
            raise DataError.at(path, f"must have shape ({wanted}), got {array.shape}")
        return self._features(array, dtype)

    def _features(self, values: Array, dtype: str) -> Array:
        return values.astype(dtype) if self.scale is None else self.scale.apply(values, dtype)


Inputs = Annotated[TableInputs | ArrayInputs, Field(discriminator="kind")]


def fit_inputs(
    tensors: Mapping[str, Array],
    schema: Mapping[str, Any],
    choice: Choice,
    train: Array,
    spec: PreprocessingSpec | None,
) -> Any:
    """Learn the encoding from the training part; several inputs are {input: ...}.

    Raises: SpecError, where the request names the input or its encoding, if it cannot be encoded.
    """
    options = spec or PreprocessingSpec()
    if schema["kind"] == "arrays":
        named = choice.inputs if isinstance(choice.inputs, dict) else {"": choice.inputs[0]}
        arrays = {
            key: _fit_array(tensors[one.name], one, train, options.array)
            for key, one in named.items()
        }
        return arrays if isinstance(choice.inputs, dict) else arrays[""]
    whole = [*choice.inputs, *choice.past] if isinstance(choice.inputs, list) else []
    groups = choice.inputs if isinstance(choice.inputs, dict) else {"": whole}
    names = choice.names
    columns = {
        name: fit_column(tensors[name], train, choice.known[name], options) for name in names
    }
    others = [name for name in choice.known if name not in names]
    found = {
        key: TableInputs(columns=[columns[one.name] for one in group], others=others)
        for key, group in groups.items()
    }
    for key, inputs in found.items():
        _check_size(inputs, int(schema["rows"]), f"inputs{step(key)}" if key else "inputs")
    return found if isinstance(choice.inputs, dict) else found[""]


def options_of(data: DataSpec, schema_kind: str, choice: Choice) -> PreprocessingSpec | None:
    """Return the options of all columns, or of arrays, if there are any.  Raises: SpecError."""
    if schema_kind == "table":
        if data.preprocessing is not None and data.preprocessing.array is not None:
            raise SpecError.at("preprocessing.array", "is of arrays, this is a table")
        return resolved(data.preprocessing, choice.known, choice.names)
    given = data.preprocessing
    if given is not None and given != PreprocessingSpec(array=given.array):
        raise SpecError.at("preprocessing", "is of tables, but for array")
    return given


def check_rows(inputs: Sequence[TableInputs], rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise DataError, naming each column that a raw row lacks, and each that no file had."""
    problems = Problems()
    names = list(dict.fromkeys(column.name for one in inputs for column in one.columns))
    known = {*names, *inputs[0].others}
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            problems.add(f"[{index}]", "must be an object of column names and values")
            continue
        for name in names:
            if name not in row:
                problems.add(f"[{index}]{step(name)}", "is missing (null is allowed)")
        for name in row:
            if name not in known:
                detail = f"is not a column; the inputs are {listed(names)}"
                problems.add(f"[{index}]{step(name)}", detail)
    problems.check()


def read_arrays(inputs: Mapping[str, ArrayInputs], values: object, dtype: str) -> dict[str, Array]:
    """Return raw values, {array: ...}, as the arrays of several inputs.

    Raises: DataError at ``inputs.left``, if an array is missing, unknown, or of another shape.
    """
    wanted = list(dict.fromkeys(one.name for one in inputs.values()))
    if not isinstance(values, Mapping):
        detail = f"must be an object with the arrays {listed(wanted)}, got {shown(values)}"
        raise DataError.at("inputs", detail)
    unknown = [name for name in values if name not in wanted]
    problems = [
        Problem(f"inputs{step(name)}", "is missing") for name in wanted if name not in values
    ]
    detail = f"is not an input; the inputs are {listed(wanted)}"
    problems += [Problem(f"inputs{step(str(name))}", detail) for name in unknown]
    if problems:
        raise DataError(*problems[:MAX_PROBLEMS])
    found = {
        key: one.read(values[one.name], dtype, f"inputs{step(one.name)}")
        for key, one in inputs.items()
    }
    first = len(next(iter(found.values())))
    for key, array in found.items():
        if len(array) != first:
            detail = f"has {counted(len(array), 'row')}, {wanted[0]!r} has {first:,}"
            raise DataError.at(f"inputs{step(inputs[key].name)}", detail)
    return found


def _is_number(column: Column) -> bool:
    return isinstance(column, NumberColumn)


def _check_size(inputs: TableInputs, rows: int, place: str) -> None:
    (width,) = inputs.shape
    widest = max(inputs.columns, key=lambda column: column.width)
    embedded = [one.name for one in inputs.columns if getattr(one, "vocabulary", None)]
    if embedded and len(inputs.columns) > 1:
        detail = f"column {embedded[0]!r} feeds an embedding: it needs an input of its own"
        raise SpecError.at(place, f'{detail}, such as {{"{embedded[0]}": ["{embedded[0]}"]}}')
    hint = f"the widest column is {widest.name!r} with {widest.width:,}"
    if not width:
        raise SpecError.at(place, "the columns hold no value in any training row")
    if width > MAX_WIDTH:
        detail = f"take {width:,} features once encoded, at most {MAX_WIDTH:,}; {hint}"
        raise SpecError.at(place, detail)
    if width * rows > MAX_VALUES:
        detail = f"take {rows:,} rows of {width:,} features, at most {MAX_VALUES:,} numbers; {hint}"
        raise SpecError.at(place, detail)


def _fit_array(
    array: Array, named: Named, train: Array, options: ArrayOptions | None
) -> ArrayInputs:
    name, place = named
    finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if not finite.all():
        row = int(np.argmin(finite))
        raise SpecError.at(place, f"array {name!r} has values that are not finite (row {row})")
    inputs = ArrayInputs(name=name, sample_shape=list(array.shape[1:]) or [1])
    if options is None:
        return inputs
    return inputs.model_copy(update={"scale": fit_scale(array, train, options)})
