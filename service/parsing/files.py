"""One uploaded file in, a schema and a prepared file out."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from chainrule.errors import DataError, Problem
from chainrule.errors import step as place_of
from service.parsing.idx import read_idx
from service.parsing.json_arrays import read_json
from service.parsing.npy import read_npy
from service.parsing.npz import read_npz
from service.parsing.result import FILE, Parsed
from service.parsing.streamed import array_schema, held, write_streamed
from service.parsing.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["parse_file"]

TABLES = ("csv", "tsv", "ndjson", "parquet")
ARRAYS = ("npz", "npy", "idx", "json")


def parse_file(
    path: Path,
    format: str,  # noqa: A002  # the API's word
    prepared: Path,
    types: Mapping[str, str] | None = None,
    progress: Callable[[float], object] | None = None,
) -> Parsed:
    """Read a file, a table or arrays, and write its tensors.

    ``types``: what some columns of a table are, whatever they look like. ``progress`` is told the
    fraction that is done, now and then.
    Only the sandboxed child calls this on a stranger's file: it imports polars and takes memory.
    Raises: DataError, naming the place.
    """
    if format in ARRAYS:
        schema = _read_arrays(path, format, prepared, types or {}, progress)
    elif format in TABLES:
        schema = read_table(path, format, prepared, types or {}, progress)
    else:
        known = ", ".join(TABLES + ARRAYS)
        raise DataError.at(FILE, f"the format {format!r} is not one of {known}")
    return Parsed(schema, prepared, schema["rows"])


def _read_arrays(
    path: Path,
    format_: str,
    prepared: Path,
    types: Mapping[str, str],
    progress: Callable[[float], object] | None,
) -> dict[str, Any]:
    """Copy arrays into the prepared file, never one of them in memory as a whole (but JSON)."""
    if types:
        detail = "there are no columns in arrays"
        raise DataError(*(Problem(f"types{place_of(name)}", detail) for name in types))
    data = _mapped(path)
    match format_:
        case "npz":
            arrays = read_npz(data, prepared.parent)
        case "npy":
            arrays = [read_npy(data)]
        case "idx":
            arrays = [read_idx(data)]
        case _:
            arrays = held(read_json(data[:]))
    return array_schema(arrays, write_streamed(arrays, prepared, progress))


def _mapped(path: Path) -> Any:
    """Return a file's bytes, in memory only as far as they are looked at."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
