"""One uploaded file in, a schema and a prepared file out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.errors import DataError
from service.parsing.json_arrays import read_json
from service.parsing.npz import read_npz
from service.parsing.result import FILE, Parsed, array_schema, write_tensors
from service.parsing.tables import read_table

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

    ``types``: what some columns of a table are, whatever they look like. ``progress`` is told the
    fraction of a table that has been read.
    Only the sandboxed child calls this on a stranger's file: it imports polars and takes memory.
    Raises: DataError, naming the place.
    """
    match format:
        case "csv":
            schema = read_table(path, format, prepared, types or {}, progress)
            return Parsed(schema, prepared, schema["rows"])
        case "npz":
            tensors = read_npz(path.read_bytes())
        case "json":
            tensors = read_json(path.read_bytes())
        case _:
            raise DataError.at(FILE, f"the format {format!r} is not one of csv, npz, json")
    schema = array_schema(tensors)
    write_tensors(tensors, prepared)
    return Parsed(schema, prepared, schema["rows"])
