"""One uploaded file in, a schema and a prepared file out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.errors import DataError
from service.parsing.json_arrays import read_json
from service.parsing.npz import read_npz
from service.parsing.result import FILE, Parsed, array_schema, write_tensors
from service.parsing.table import read_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["parse_file"]


def parse_file(
    path: Path,
    format: str,  # noqa: A002  # the API's word
    prepared: Path,
    types: Mapping[str, str] | None = None,
    progress: Callable[[float], object] | None = None,
) -> Parsed:
    """Read a file of a format (csv, npz, json) and write its tensors.

    ``types``: of columns, in the place of those that their values suggest. ``progress`` is told
    the share that is done, now and then.
    Only the sandboxed child calls this on a stranger's file: it imports polars and takes memory.
    Raises: DataError, naming the place.
    """
    data = path.read_bytes()
    match format:
        case "csv":
            schema, tensors = read_csv(data)
        case "npz":
            tensors = read_npz(data)
            schema = array_schema(tensors)
        case "json":
            tensors = read_json(data)
            schema = array_schema(tensors)
        case _:
            raise DataError.at(FILE, f"the format {format!r} is not one of csv, npz, json")
    write_tensors(tensors, prepared)
    return Parsed(schema, prepared, schema["rows"])
