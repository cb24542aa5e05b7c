"""Rows to predict, read from a file."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import TYPE_CHECKING, Any

from chainrule.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_rows"]

_AS_A_DATASET = "other files are read as datasets: --dataset FILE --output OUT"


def read_rows(path: Path, arrays: str | list[str] | None = None) -> tuple[str, Any]:
    """Return ``("rows", [{...}])`` or ``("inputs", array-like)``, by the file's kind.

    A path of - is CSV on stdin; ``arrays`` are those of an NPZ that the model has learnt from, of
    several inputs a list.
    Raises: DataError, if the file does not hold either.
    """
    if str(path) == "-":
        return "rows", _csv(sys.stdin.read())
    match path.suffix.lower():
        case ".npz":
            return "inputs", _npz(path, arrays or "inputs")
        case ".json":
            return _json(path.read_text("utf-8"))
        case ".tsv" | ".ndjson" | ".parquet" | ".npy" | ".gz" as suffix:
            raise DataError.at("", f"a FILE is CSV, JSON or NPZ, not {suffix}; {_AS_A_DATASET}")
        case _:
            try:
                return "rows", _csv(path.read_text("utf-8-sig"))
            except UnicodeDecodeError:
                raise DataError.at("", f"the CSV is not UTF-8; {_AS_A_DATASET}") from None


def _csv(text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text), restkey="")
    rows: list[dict[str, Any]] = []
    for index, row in enumerate(reader):
        if "" in row or None in row.values():
            fields = f"must have {len(reader.fieldnames or ())} fields between commas"
            raise DataError.at(f"rows[{index}]", f"{fields}; {_AS_A_DATASET}")
        rows.append(row)  # text as it stands: the model's own recipe reads it, as in training
    if not rows:
        raise DataError.at("", "the file holds no rows")
    return rows


def _json(text: str) -> tuple[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataError.at("", f"not JSON: {error}") from error
    match document:
        case {"rows": list(rows)} | [*rows] if rows and isinstance(rows[0], dict):
            return "rows", rows
        case {"inputs": list(inputs) | dict(inputs)} | [*inputs] if inputs:
            return "inputs", inputs
        case _:
            raise DataError.at("", 'must be {"rows": [...]}, {"inputs": [...]} or a list')


def _npz(path: Path, wanted: str | list[str]) -> Any:
    import numpy as np  # noqa: PLC0415 most commands do without it

    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            if isinstance(wanted, list):
                missing = [name for name in wanted if name not in names]
                if missing:
                    raise DataError.at("", f"must hold the arrays {wanted}, got {names}")
                return {name: file[name] for name in wanted}
            name = wanted if wanted in names else names[0] if len(names) == 1 else None
            if name is None:
                raise DataError.at("", f"must hold one array or one named {wanted}, got {names}")
            return file[name]
    except (ValueError, OSError) as error:
        raise DataError.at("", f"not an NPZ file: {error}") from error
