"""What goes into the network: columns scaled or one-hot encoded, or an array as it is."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from chainrule.errors import DataError, Problem, SpecError, step
from chainrule.recipe.scaled import ArrayScale, Scaled, fit_scale, is_small
from chainrule.recipe.values import counted, listed, read_number, read_text, shown, to_array
from chainrule.spec.base import Document

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.recipe.choice import Choice, Named
    from chainrule.spec.arrays import ArrayOptions

__all__ = [
    "ArrayInputs",
    "CategoryColumn",
    "NumberColumn",
    "TableInputs",
    "fit_inputs",
    "read_arrays",
    "scale",
    "scale_arrays",
]

MAX_WIDTH = 100_000
MAX_VALUES = 4_000_000_000  # of the encoded table: 16 GB in single precision, in files
MAX_PROBLEMS = 20
BLOCK_ROWS = 4096
MOMENTS_ROWS = 1 << 20


class NumberColumn(Document):
    """A standardised column: (x - mean) / std in float64, a missing value counting as the mean."""

    kind: Literal["number"] = "number"
    name: str
    mean: float
    std: float = Field(gt=0.0)

    @property
    def width(self) -> int:
        return 1

    def read(self, cells: Sequence[object], problems: _Problems) -> Array:
        """Return prediction cells as the training file's tensor would hold them."""
        return np.array([problems.guard(read_number, cell, i) for i, cell in enumerate(cells)])


class CategoryColumn(Document):
    """A one-hot encoded column; a category that training did not see, or none, is all zeros.

    ``codes`` are the categories' numbers in the training dataset, ascending.
    """

    kind: Literal["category"] = "category"
    name: str
    categories: list[str]
    codes: list[int]

    @property
    def width(self) -> int:
        return len(self.categories)

    def read(self, cells: Sequence[object], problems: _Problems) -> Array:
        """Return prediction cells as the training file's tensor would hold them."""
        known = dict(zip(self.categories, self.codes, strict=True))
        texts = (problems.guard(read_text, cell, i) for i, cell in enumerate(cells))
        return np.array([known.get(text, -1) for text in texts], dtype=np.int64)

    def encode(self, values: Array, out: Array) -> None:
        """Write the features.  Shapes: values (rows,), out (rows, categories), zeros so far."""
        if not self.codes:
            return
        codes = np.asarray(self.codes)
        position = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
        seen = np.flatnonzero(codes[position] == values)
        out[seen, position[seen]] = 1.0


class TableInputs(Document):
    """Columns side by side, in the request's order; ``others`` are the file's other columns."""

    kind: Literal["table"] = "table"
    columns: list[Annotated[NumberColumn | CategoryColumn, Field(discriminator="kind")]]
    others: list[str]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.columns),)

    def encode(self, tensors: Mapping[str, Array], indices: Array, dtype: str) -> Array:
        """Return the features of some rows.  Shapes: indices (rows,) -> (rows, width)."""
        blocks = [tensors[column.name][indices] for column in self.columns]
        return self._encode(blocks, len(indices), dtype)

    def read_rows(self, rows: Sequence[Mapping[str, Any]], dtype: str) -> Array:
        """Return the features of raw rows.

        Raises: DataError, naming row and column of each of the first bad cells.
        """
        problems = _Problems()
        known = {column.name for column in self.columns} | set(self.others)
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                problems.add(f"[{index}]", "must be an object of column names and values")
                continue
            for column in self.columns:
                if column.name not in row:
                    problems.add(f"[{index}]{step(column.name)}", "is missing (null is allowed)")
            for name in row:
                if name not in known:
                    wanted = listed([column.name for column in self.columns])
                    detail = f"is not a column; the inputs are {wanted}"
                    problems.add(f"[{index}]{step(name)}", detail)
        problems.check()
        blocks = []
        for column in self.columns:
            problems.name = column.name
            blocks.append(column.read([row[column.name] for row in rows], problems))
        problems.check()
        return self._encode(blocks, len(rows), dtype)

    def _encode(self, blocks: list[Array], rows: int, dtype: str) -> Array:
        x = np.zeros((rows, *self.shape), dtype=dtype)
        start, numbers = 0, []
        for column, values in zip(self.columns, blocks, strict=True):
            if isinstance(column, NumberColumn):
                numbers.append((start, column.mean, column.std, values))
            else:
                column.encode(values, x[:, start : start + column.width])
            start += column.width
        if numbers:
            _standardise(x, *zip(*numbers, strict=True))
        return x


class ArrayInputs(Document):
    """One array, used as it is, or scaled."""

    kind: Literal["arrays"] = "arrays"
    name: str
    sample_shape: list[int]
    scale: ArrayScale | None = Field(None, exclude_if=operator.not_)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sample_shape)

    def encode(self, tensors: Mapping[str, Array], indices: Array, dtype: str) -> Any:
        """Return some rows; of scaled bytes, what scales them by batch.

        Shapes: indices (rows,) -> (rows, ...).
        """
        values = tensors[self.name]
        if self.scale is not None and self.is_by_batch(tensors):
            whole = values.reshape(len(values), *self.shape)
            return Scaled(whole, indices, self.scale, np.dtype(dtype))
        return self._features(values[indices].reshape(len(indices), *self.shape), dtype)

    def is_by_batch(self, tensors: Mapping[str, Array]) -> bool:
        """Tell whether rows stay as they are, and are scaled when they are learnt from."""
        return self.scale is not None and is_small(tensors[self.name])

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


def fit_inputs(
    tensors: Mapping[str, Array], schema: Mapping[str, Any], choice: Choice, train: Array
) -> TableInputs | ArrayInputs | dict[str, ArrayInputs]:
    """Learn the encoding from the training part; several arrays are {input: ...}.

    Raises: SpecError, where the request names the input, if it cannot be encoded.
    """
    if isinstance(choice.inputs, dict):
        return {key: _fit_array(tensors[one.name], one) for key, one in choice.inputs.items()}
    if schema["kind"] == "arrays":
        return _fit_array(tensors[choice.inputs[0].name], choice.inputs[0])
    names = choice.names
    columns = [_fit_column(tensors[name][train], choice.known[name]) for name in names]
    others = [name for name in choice.known if name not in names]
    inputs = TableInputs(columns=columns, others=others)
    _check_size(inputs, int(schema["rows"]))
    return inputs


def scale_arrays(
    inputs: Any, tensors: Mapping[str, Array], train: Array, options: ArrayOptions
) -> Any:
    """Return inputs with the scales of their arrays, learnt from the training part.

    Raises: SpecError at ``preprocessing.array.scaling``.
    """
    if isinstance(inputs, dict):
        return {k: scale_arrays(one, tensors, train, options) for k, one in inputs.items()}
    if not isinstance(inputs, ArrayInputs):
        if options.scaling.kind != "none":
            raise SpecError.at("preprocessing.array", "is of arrays, this is a table")
        return inputs
    values = tensors[inputs.name].reshape(-1, *inputs.shape)
    return inputs.model_copy(update={"scale": fit_scale(values, train, options)})


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


def _fit_column(values: Array, column: Mapping[str, Any]) -> NumberColumn | CategoryColumn:
    name = column["name"]
    if column["type"] == "categorical":
        codes = np.unique(values[values >= 0]).tolist()
        return CategoryColumn(
            name=name, categories=[column["categories"][code] for code in codes], codes=codes
        )
    missing = np.isnan(values)
    mean, std = scale(values[~missing] if missing.any() else values)
    if not math.isfinite(mean) or not math.isfinite(std):
        raise SpecError.at("inputs", f"column {name!r} has numbers too large to standardise")
    return NumberColumn(name=name, mean=mean, std=std)


def scale(values: Array) -> tuple[float, float]:
    """Return mean and standard deviation, which is 1 where the values do not differ."""
    if not values.size:
        return 0.0, 1.0
    if values.min() == values.max():  # the mean of equal numbers may be off by a rounding error
        return float(values[0]) + 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = _moments(values)
    return mean + 0.0, std or 1.0


def _moments(values: Array) -> tuple[float, float]:
    """Return mean and deviation; of many values numpy's would take twice their memory.

    Of those in one block they are numpy's, bit for bit.
    """
    blocks = [values[n : n + MOMENTS_ROWS] for n in range(0, len(values), MOMENTS_ROWS)]
    mean = sum(block.sum() for block in blocks) / len(values)
    squares = sum(np.square(block - mean).sum() for block in blocks)
    return float(mean), math.sqrt(squares / len(values))


def _standardise(
    x: Array, places: Sequence[int], means: Sequence[float], stds: Sequence[float], columns: Any
) -> None:
    """Write all number columns' features, some rows at a time: few calls for few rows.

    Shapes: x (rows, width), columns one (rows,) for each place.
    """
    mean, std = np.array(means), np.array(stds)
    for start in range(0, len(x), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        values = np.stack([column[rows] for column in columns], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves the range ends as inf
            scaled = (values - mean) / std
            # Adding zero turns -0.0 into 0.0: JSON has no -0, files do.
            x[rows, list(places)] = np.where(np.isnan(values), 0.0, scaled + 0.0)


def _check_size(inputs: TableInputs, rows: int) -> None:
    (width,) = inputs.shape
    widest = max(inputs.columns, key=lambda column: column.width)
    hint = f"the widest column is {widest.name!r} with {widest.width:,}"
    if not width:
        raise SpecError.at("inputs", "the columns hold no value in any training row")
    if width > MAX_WIDTH:
        detail = f"take {width:,} features once encoded, at most {MAX_WIDTH:,}; {hint}"
        raise SpecError.at("inputs", detail)
    if width * rows > MAX_VALUES:
        detail = f"take {rows:,} rows of {width:,} features, at most {MAX_VALUES:,} numbers; {hint}"
        raise SpecError.at("inputs", detail)


def _fit_array(array: Array, named: Named) -> ArrayInputs:
    name, place = named
    finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if not finite.all():
        row = int(np.argmin(finite))
        raise SpecError.at(place, f"array {name!r} has values that are not finite (row {row})")
    return ArrayInputs(name=name, sample_shape=list(array.shape[1:]) or [1])


class _Problems:
    """Complaints about cells, gathered up to a limit so that one answer names more than one."""

    def __init__(self) -> None:
        self.name = ""
        self.found: list[Problem] = []

    def add(self, path: str, detail: str) -> None:
        self.found.append(Problem(f"rows{path}", detail))
        if len(self.found) >= MAX_PROBLEMS:
            self.check()

    def guard(self, read: Callable[[object], Any], cell: object, row: int) -> Any:
        """Read a cell, or note why it cannot be read."""
        try:
            return read(cell)
        except DataError as error:
            self.add(f"[{row}]{step(self.name)}", error.problems[0].detail)
            return None

    def check(self) -> None:
        if self.found:
            raise DataError(*self.found)
