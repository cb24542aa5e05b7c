"""The result of a prediction as a Parquet file, written a block of rows at a time."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source
from sqlalchemy import select

from service.store import blobs
from service.store.tables import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from service.store.database import Database

__all__ = ["write_parquet"]

GROUP_ROWS = 2**17


def write_parquet(
    database: Database,
    job_id: str,
    columns: Sequence[dict[str, Any]],
    path: Path,
    beat: Callable[[], object],
) -> None:
    """Write the columns of a job's parts, words as categories.

    ``columns`` and ``beat`` are as in ``results.assemble``.  Raises: CorruptError; what ``beat``
    raises; OSError.
    """
    schema = pl.Schema({column["name"]: _type(column) for column in columns})
    failed: list[Exception] = []

    def read(*_: object) -> Iterator[pl.DataFrame]:
        try:
            for block in _blocks(database, job_id):
                beat()
                series = map(_series, columns, block)
                yield pl.DataFrame(list(series), schema=schema)
        except Exception as error:
            failed.append(error)  # polars would tell of it in words alone
            raise

    rows = register_io_source(read, schema=schema)
    try:
        rows.sink_parquet(path, row_group_size=GROUP_ROWS)
    except Exception:
        if failed:
            raise failed[0] from None
        raise


def _blocks(database: Database, job_id: str) -> Iterator[list[bytes]]:
    """Yield the tensors of each committed block, in the order of the rows."""
    wanted = select(Part.step, Part.blob).where(Part.job_id == job_id, Part.position > 0)
    with database.read() as session:
        rows = session.execute(wanted.order_by(Part.step, Part.position)).all()
    for _, block in groupby(rows, key=lambda row: row.step):
        yield [b"".join(blobs.stream(database, row.blob)) for row in block]


def _type(column: dict[str, Any]) -> pl.DataType:
    if column["words"] is not None:
        return pl.Enum(column["words"])
    return pl.Float64() if column["fractional"] else pl.Int64()


def _series(column: dict[str, Any], data: bytes) -> pl.Series:
    if column["words"] is None:
        return pl.Series(column["name"], np.frombuffer(data, np.float64)).cast(_type(column))
    words = pl.Series(column["name"], column["words"], dtype=pl.String)
    return words.gather(np.frombuffer(data, np.int32)).cast(_type(column))
