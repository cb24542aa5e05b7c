"""From the parts of a prediction to a dataset: the file, its tensors, and what is told of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from service.parsing.columns import number_column, text_column, warn
from service.store import blobs, transitions
from service.store.blobs import StagedBlob
from service.store.tables import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from service.store.database import Database

    Array = np.ndarray[Any, Any]

__all__ = ["assemble"]


def assemble(  # noqa: PLR0913 one keyword for each fact of a dataset
    database: Database,
    job_id: str,
    columns: Sequence[dict[str, Any]],
    *,
    name: str,
    format: str,  # noqa: A002 as the API calls it
    rows: int,
    beat: Callable[[], object],
) -> transitions.NewDataset:
    """Stage the dataset that a job's parts make: the same as if the file had been uploaded.

    ``columns``: {name, words, fractional} each, in the order of the parts' tensors. Memory holds
    one column at a time. ``beat`` is called often, and may end it all by an error.
    """
    streams = _streams(database, job_id)
    if format == "parquet":
        content = _parquet(database, job_id, columns, beat)
    else:
        content = _joined(database, streams[0], beat)
    schema: dict[str, Any] = {"kind": "table", "rows": rows, "columns": [], "warnings": []}

    def prepared() -> Iterator[bytes]:
        yield _header(columns, rows)
        for position, column in enumerate(columns, start=1):
            pieces = _pieces(database, streams[position], beat)
            dtype = np.float64 if column["words"] is None else np.int32
            values = np.frombuffer(b"".join(pieces), dtype)
            values = _describe(values, column, schema)
            yield from _cut(values, beat)

    staged = blobs.stage(database, prepared())
    return transitions.NewDataset(content, staged, name, format, rows, schema)


def _joined(database: Database, names: Sequence[str], beat: Callable[[], object]) -> StagedBlob:
    """Make one file of its parts, whose chunks stay as they are."""
    whole, size = hashlib.sha256(), 0
    for piece in _pieces(database, names, beat):
        whole.update(piece)
        size += len(piece)
    with database.read() as session:
        chunks = [chunk for blob in names for chunk in blobs.chunks(session, blob)]
    return StagedBlob(whole.hexdigest(), size, tuple(chunks))


def _parquet(
    database: Database,
    job_id: str,
    columns: Sequence[dict[str, Any]],
    beat: Callable[[], object],
) -> StagedBlob:
    """Stage the columns as a Parquet file."""
    from service.actions.parquet import write_parquet  # noqa: PLC0415 polars, where it is asked for

    with TemporaryDirectory(prefix="chainrule-") as folder:
        path = Path(folder) / "result.parquet"
        write_parquet(database, job_id, columns, path, beat)
        with path.open("rb") as file:
            pieces = iter(lambda: file.read(blobs.CHUNK_BYTES), b"")
            return blobs.stage(database, _beaten(pieces, beat))


def _beaten(pieces: Iterator[bytes], beat: Callable[[], object]) -> Iterator[bytes]:
    for piece in pieces:
        beat()
        yield piece


def _streams(database: Database, job_id: str) -> list[list[str]]:
    """Return the blobs of the file and of each column, in the order of their rows."""
    wanted = select(Part.position, Part.blob).where(Part.job_id == job_id)
    found: dict[int, list[str]] = {}
    with database.read() as session:
        for position, blob in session.execute(wanted.order_by(Part.position, Part.step)):
            found.setdefault(position, []).append(blob)
    return [found[position] for position in sorted(found)]


def _pieces(
    database: Database, names: Sequence[str], beat: Callable[[], object]
) -> Iterator[bytes]:
    for name in names:
        for piece in blobs.stream(database, name):
            beat()
            yield piece


def _describe(values: Array, column: dict[str, Any], schema: dict[str, Any]) -> Array:
    """Add a column to the schema; return it with the numbers of those words alone that occur."""
    name, words = column["name"], column["words"]
    found, counts = np.unique(values, return_counts=True)
    if words is None:
        described = number_column(
            name,
            values,
            schema["warnings"],
            unique=len(found),
            fractional=column["fractional"],
        )
    else:
        values = np.searchsorted(found, values).astype(np.int32)
        described = text_column(
            name,
            unique=len(found),
            categories=[words[number] for number in found],
            counts=counts.tolist(),
        )
    schema["columns"].append(described)
    warn(described, schema["rows"], schema["warnings"])
    return values


def _cut(values: Array, beat: Callable[[], object]) -> Iterator[bytes]:
    data = memoryview(values.tobytes())
    for start in range(0, len(data), blobs.CHUNK_BYTES):
        beat()
        yield bytes(data[start : start + blobs.CHUNK_BYTES])


def _header(columns: Sequence[dict[str, Any]], rows: int) -> bytes:
    """Return the head of a safetensors file.

    Source: the safetensors format, https://github.com/huggingface/safetensors#format
    """
    entries, end = {}, 0
    for column in columns:
        dtype, size = ("F64", 8) if column["words"] is None else ("I32", 4)
        start, end = end, end + size * rows
        entries[column["name"]] = {"dtype": dtype, "shape": [rows], "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
