"""Rows to predict, read from a file here, where that is plain enough."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from typing import TYPE_CHECKING, Any

from chainrule.client.payload import IDX_NAME
from chainrule.errors import DataError, step
from chainrule.recipe.values import listed, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Recipe = Mapping[str, Any]

__all__ = ["UnreadHereError", "read_rows"]

_ARRAYS = (".npz", ".npy")


class UnreadHereError(DataError):
    """A file that the service may well read, as it finds out how files are written."""


def read_rows(path: Path, recipe: Recipe | None = None) -> tuple[str, Any]:
    """Return ``("rows", [{...}])`` or ``("inputs", array-like)``, by the file's kind.

    A path of - is CSV on stdin. ``recipe`` is the model's, as JSON: it tells which columns there
    must be, and which arrays of an NPZ go in.
    Raises: DataError, if the file does not hold either; UnreadHereError, if it is no plain one.
    """
    if str(path) == "-":
        return "rows", _csv(sys.stdin.read(), ",", recipe)
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_ARRAYS) or IDX_NAME.search(name):
        return "inputs", _arrays(path, _arrays_of(recipe))
    if name.endswith(".parquet"):
        raise UnreadHereError.at("", "Parquet is read by the service alone")
    text = _text(path)
    if name.endswith(".json"):
        return _json(text)
    if name.endswith(".ndjson"):
        return "rows", _ndjson(text)
    return "rows", _csv(text, "\t" if name.endswith(".tsv") else ",", recipe)


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        if path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError.at("", f"the file cannot be unpacked: {error}") from None
    except UnicodeDecodeError:
        raise UnreadHereError.at("", "the file is not UTF-8") from None


def _csv(text: str, delimiter: str, recipe: Recipe | None) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", delimiter=delimiter)
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    lacking = [name for name in _columns_of(recipe) if name not in names]
    if lacking:
        detail = f"has no column {shown(lacking[0])}; its first line names {listed(names)}"
        raise UnreadHereError.at("", detail)
    numbers = _numbers_of(recipe)
    rows: list[dict[str, Any]] = []
    for index, row in enumerate(reader):
        if "" in row or None in row.values():
            fields = f"must have {len(names)} fields"
            raise UnreadHereError.at(f"rows[{index}]", fields)
        for name in numbers:
            if "," in row[name]:  # what it means, the whole file says, as in training
                detail = f"{shown(row[name])} has a comma: thousands or decimals?"
                raise UnreadHereError.at(f"rows[{index}]{step(name)}", detail)
        rows.append(row)  # text as it stands: the model's own recipe reads it, as in training
    if not rows:
        raise DataError.at("", "the file holds no rows")
    return rows


def _json(text: str) -> tuple[str, Any]:
    document = _loaded(text, "")
    match document:
        case {"rows": list(rows)} | [*rows] if rows and isinstance(rows[0], dict):
            return "rows", rows
        case {"inputs": list(inputs) | dict(inputs)} | [*inputs] if inputs:
            return "inputs", inputs
        case _:
            raise DataError.at("", 'must be {"rows": [...]}, {"inputs": [...]} or a list')


def _ndjson(text: str) -> list[dict[str, Any]]:
    """Return a row for each line; a key that is not there, as in the training file, is missing."""
    lines = [line for line in text.split("\n") if line.strip()]
    rows = [_loaded(line, f"rows[{index}]") for index, line in enumerate(lines)]
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError.at(f"rows[{index}]", f"must be an object, got {shown(row)}")
    if not rows:
        raise DataError.at("", "the file holds no rows")
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _loaded(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError.at(place, f"not JSON: {error}") from None


def _arrays(path: Path, wanted: str | list[str] | None) -> Any:
    from chainrule.cli.packing import read_arrays  # noqa: PLC0415 most commands do without it

    found = read_arrays(path)
    if isinstance(wanted, list):
        missing = [name for name in wanted if name not in found]
        if missing:
            raise DataError.at("", f"must hold the arrays {wanted}, got {[*found]}")
        return {name: found[name] for name in wanted}
    wanted = wanted or "inputs"
    name = wanted if wanted in found else next(iter(found)) if len(found) == 1 else None
    if name is None:
        raise DataError.at("", f"must hold one array or one named {wanted}, got {[*found]}")
    return found[name]


def _inputs_of(recipe: Recipe | None) -> list[Mapping[str, Any]]:
    inputs: dict[str, Any] = recipe["inputs"] if recipe else {}
    return [inputs] if isinstance(inputs.get("kind"), str) else [*inputs.values()]


def _columns_of(recipe: Recipe | None) -> list[str]:
    """Return the columns that a recipe reads."""
    columns = [c["name"] for one in _inputs_of(recipe) for c in one.get("columns", ())]
    window = ((recipe or {}).get("window") or {}).get("window") or {}
    return [*columns, *filter(None, (window.get("group"), window.get("order_by")))]


def _numbers_of(recipe: Recipe | None) -> list[str]:
    """Return the columns that a recipe reads as numbers."""
    columns = [c for one in _inputs_of(recipe) for c in one.get("columns", ())]
    return [c["name"] for c in columns if c.get("kind") == "number"]


def _arrays_of(recipe: Recipe | None) -> str | list[str] | None:
    """Return the name of the array that a recipe reads, or of several; None for a table."""
    names = list(dict.fromkeys(one["name"] for one in _inputs_of(recipe) if "name" in one))
    several = recipe is not None and not isinstance(recipe["inputs"].get("kind"), str)
    return (names if several else names[0]) if names else None
