"""Columns learnt from the training rows, as the request's options say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from chainrule.errors import DataError, Problem, SpecError, step
from chainrule.recipe.columns.category import NOWHERE, CategoryColumn, bucket
from chainrule.recipe.columns.datetime import DatetimeColumn, fit_datetime
from chainrule.recipe.columns.number import NumberColumn, fit_number
from chainrule.recipe.gathering import Present
from chainrule.recipe.values import listed, read_datetime, read_number
from chainrule.spec import PreprocessingSpec, parse
from chainrule.spec.preprocessing import (
    CategoryOptions,
    HashEncodingSpec,
    OrdinalEncodingSpec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.kernels import Array
    from chainrule.recipe.columns.cells import Source

__all__ = ["Column", "dropping", "fit_column", "refit_column", "resolved"]

Column = Annotated[NumberColumn | CategoryColumn | DatetimeColumn, Field(discriminator="kind")]

MAX_CATEGORIES = 100_000  # of numbers; a file's words are fewer
# A schema's type to how a column is held, which is also what it is learnt as by default.
SOURCES: dict[str, Source] = {
    "integer": "number",
    "number": "number",
    "categorical": "category",
    "datetime": "datetime",
}


def resolved(
    given: PreprocessingSpec | None, known: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> PreprocessingSpec:
    """Fill in what the options of single columns leave out.

    Raises: SpecError at ``preprocessing.columns.age``, if that is no input.
    """
    spec = given or PreprocessingSpec()
    columns, problems = {}, []
    for name, options in spec.columns.items():
        place = f"preprocessing.columns{step(name)}"
        if name not in names:
            what = "is no input" if name in known else "there is no such column"
            problems.append(Problem(place, f"{what}; the inputs are {listed([*names])}"))
            continue
        general = getattr(spec, options.kind)
        rest = {k: getattr(general, k) for k in type(general).model_fields}
        own = {k: getattr(options, k) for k in options.model_fields_set}
        columns[name] = options.model_copy(update={**rest, **own})
        if isinstance(options, CategoryOptions):
            whole = columns[name].render()
            del whole["kind"]
            try:
                parse(CategoryOptions, whole)
            except SpecError as error:
                problems += error.under(place).problems
    if problems:
        raise SpecError(*problems)
    return spec.model_copy(update={"columns": columns})


def dropping(
    spec: PreprocessingSpec, known: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> list[str]:
    """Return the columns whose rows are not learnt from where they have no value."""
    kinds = {name: SOURCES[known[name]["type"]] for name in names}
    options = {name: spec.columns.get(name) or getattr(spec, kinds[name]) for name in names}
    return [name for name, one in options.items() if one.missing.kind == "drop"]


def fit_column(
    tensor: Array, train: Array, column: Mapping[str, Any], spec: PreprocessingSpec
) -> NumberColumn | CategoryColumn | DatetimeColumn:
    """Learn a column from its training rows; ``column`` is the schema's.

    Raises: SpecError at ``inputs`` or in ``preprocessing``.
    """
    name, source = column["name"], SOURCES[column["type"]]
    options: Any = spec.columns.get(name)
    place = f"preprocessing.columns{step(name)}"
    kind = source if options is None else options.kind
    if options is None:
        options, place = getattr(spec, kind), f"preprocessing.{kind}"
    values = Present(tensor, train)
    if kind == "category":
        return _fit_category(values, column, options, source, place)
    by_code = _numbers(column, kind, place) if source == "category" else []
    if source == "category":
        values = values.then(np.array([*by_code, np.nan]).__getitem__)  # the last, at -1: missing
    if kind == "number":
        return fit_number(name, values, options, source, by_code)
    return fit_datetime(name, values, options, source, by_code, place)


def refit_column(
    column: NumberColumn | CategoryColumn | DatetimeColumn,
    tensor: Array,
    train: Array,
    spec: PreprocessingSpec,
) -> NumberColumn | CategoryColumn | DatetimeColumn:
    """Learn a column's statistics from other rows; which features it has stays as it is."""
    options: Any = spec.columns.get(column.name) or getattr(spec, column.kind)
    values = Present(tensor, train)
    if isinstance(column, CategoryColumn):
        if options.missing.kind != "mode" or not len(there := values.whole()):
            return column
        found, counts = np.unique(there, return_counts=True)
        frequent = column.of_tensor(found[[counts.argmax()]])
        return column.model_copy(update={"missing": int(frequent[0])})
    values = values.then(column.of_tensor)
    if isinstance(column, NumberColumn):
        number = fit_number(column.name, values, options, column.source, column.by_code)
        return number.model_copy(update={"indicator": column.indicator})
    date = fit_datetime(
        column.name, values, options, column.source, column.by_code, "preprocessing"
    )
    return date.model_copy(update={"parts": column.parts, "indicator": column.indicator})


def _numbers(column: Mapping[str, Any], kind: str, place: str) -> list[float]:
    """Return what the words of a column are as numbers or times."""
    read = read_datetime if kind == "datetime" else read_number
    try:
        return [read(word) for word in column["categories"]]
    except DataError as error:
        detail = f"column {column['name']!r} is text: each value {error.problems[0].detail}"
        raise SpecError.at(f"{place}.kind", detail) from None


def _fit_category(
    values: Present,
    column: Mapping[str, Any],
    options: CategoryOptions,
    source: Source,
    place: str,
) -> CategoryColumn:
    """Learn which categories the training rows have, and what shares a place."""
    found, counts = _counted(values, len(column["categories"]) if source == "category" else None)
    codes, encoding = found.tolist(), options.encoding
    if source != "category" and len(codes) > MAX_CATEGORIES and encoding.kind != "hash":
        detail = f"column {column['name']!r} has {len(codes):,} different values to learn as"
        raise SpecError.at(place, f"{detail} categories, at most {MAX_CATEGORIES:,} (but by hash)")
    frequent = codes[int(counts.argmax())] if codes else None
    places, unknown = list(range(len(codes))), NOWHERE
    categories = [_word(column, code, source) for code in codes]
    if isinstance(encoding, HashEncodingSpec):
        # The words of the whole file have their buckets: any that comes later has one too.
        codes = list(range(len(column["categories"]))) if source == "category" else []
        places = [bucket(word, encoding.buckets) for word in column.get("categories", [])]
        categories = []
    elif isinstance(encoding, OrdinalEncodingSpec) and encoding.order is not None:
        place += ".encoding.order"
        numbers = _numbered(column, encoding.order, source, place)
        absent = [w for w, code in zip(categories, codes, strict=True) if code not in numbers]
        if absent or len({*numbers}) < len(numbers):
            detail = f"leaves out {listed(absent)}" if absent else "names a category twice"
            raise SpecError.at(place, detail)
        places = sorted(range(len(numbers)), key=numbers.__getitem__)
        categories = [encoding.order[index] for index in places]
        codes = [numbers[index] for index in places]
    elif options.rare is not None:
        least = options.rare.min_count or float(options.rare.min_share or 0) * len(values.rows)
        places, shared = _gathered(counts < least)
        unknown = shared if options.unknown.kind == "bucket" else NOWHERE
    own = encoding.kind != "hash" and places == list(range(len(codes)))
    fitted = CategoryColumn(
        name=column["name"],
        source=source,
        drops=options.missing.kind == "drop",
        categories=categories,
        codes=codes,
        places=None if own else places,
        unknown=unknown,
        encoding=encoding,
    )
    missing, word = _missing(fitted, options, frequent)
    return fitted.model_copy(update={"missing": missing, "stand_in": word})


def _counted(values: Present, codes: int | None) -> tuple[Array, Array]:
    """Return the different values, ascending, and how many rows have each.

    ``codes``: how many there may be of codes from 0; None, if the values are numbers.
    """
    if codes is None:
        found, counts = np.unique(values.whole(), return_counts=True)
        return found, counts
    counts = np.zeros(codes, np.int64)
    for block in values.blocks():
        counts += np.bincount(block, minlength=codes)
    found = np.flatnonzero(counts)
    return found, counts[found]


def _word(column: Mapping[str, Any], code: float, source: Source) -> str:
    """Return what a category is called."""
    if source == "category":
        return str(column["categories"][int(code)])
    if source == "datetime":
        return datetime.fromtimestamp(code, UTC).isoformat() if 0 <= code < 1e11 else repr(code)
    return str(int(code)) if code.is_integer() and abs(code) < 2**53 else repr(code)


def _numbered(column: Mapping[str, Any], order: list[str], source: Source, place: str) -> list[Any]:
    """Return the code of each word of an order; one that is not in the file has that of no row."""
    if source == "category":
        numbers = {word: code for code, word in enumerate(column["categories"])}
        return [numbers.get(word, len(numbers) + index) for index, word in enumerate(order)]
    try:
        return [(read_number if source == "number" else read_datetime)(word) for word in order]
    except DataError as error:
        raise SpecError.at(place, error.problems[0].detail) from None


def _gathered(rare: Array) -> tuple[list[int], int]:
    """Give rare categories the last place together; return the places, and which that is."""
    if not rare.any():
        return list(range(len(rare))), NOWHERE
    shared = int(np.count_nonzero(~rare))
    places = np.where(rare, shared, np.cumsum(~rare) - 1)
    return places.tolist(), shared


def _missing(
    fitted: CategoryColumn, options: CategoryOptions, frequent: float | None
) -> tuple[int, str | None]:
    """Return the place of a missing value, and the word that says the same."""
    missing = options.missing
    match missing.kind:
        case "mode" if frequent is not None:
            dtype = np.int32 if fitted.source == "category" else np.float64
            return int(fitted.of_tensor(np.array([frequent], dtype))[0]), None
        case "category":
            return fitted.size, None
        case "constant":
            place = int(fitted.of_words([missing.value])[0])
            known = fitted.encoding.kind == "hash" or missing.value in fitted.categories
            return (place, None) if known else (fitted.size, missing.value)
        case _:
            return NOWHERE, None
