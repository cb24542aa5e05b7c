"""The first rows of a dataset, out of the few chunks of its prepared file that hold them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.recipe.values import moment
from service.store import blobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from service.store.tables import Dataset

    Array = np.ndarray[Any, Any]

__all__ = ["arrays", "table"]

MAX_VALUES = 200_000  # of an answer
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}


def table(session: Session, dataset: Dataset, rows: int) -> list[dict[str, Any]]:
    """Return the first rows of a table by the names of its columns, without those of free text.

    Raises: CorruptError; SpecError at ``rows``, if these are too many values.
    """
    columns = [column for column in dataset.schema["columns"] if column["type"] != "text"]
    rows = min(rows, dataset.schema["rows"])
    if rows * len(columns) > MAX_VALUES:
        most = MAX_VALUES // len(columns)
        detail = f"{rows:,} rows are more than {MAX_VALUES:,} values: ask for {most:,} at most"
        raise SpecError.at("rows", detail)
    first = _first(session, dataset, lambda _: rows)
    shown = {column["name"]: _shown(first[column["name"]], column) for column in columns}
    return [{name: values[row] for name, values in shown.items()} for row in range(rows)]


def arrays(session: Session, dataset: Dataset, rows: int) -> list[dict[str, Any]]:
    """Return {name, shape, dtype, rows} of each array: as many rows as an answer has room for.

    Raises: CorruptError.
    """
    described = dataset.schema["arrays"]
    room = MAX_VALUES // len(described)
    first = _first(session, dataset, lambda shape: min(rows, room // max(1, math.prod(shape[1:]))))
    return [{**one, "rows": first[one["name"]].tolist()} for one in described]


def _first(
    session: Session, dataset: Dataset, rows: Callable[[list[int]], int]
) -> dict[str, Array]:
    """Read so many rows, by the shape, of each tensor, in the order in which they lie."""
    window = blobs.Window(session, dataset.prepared)
    start = 8 + int.from_bytes(window.read(0, 8), "little")
    head = json.loads(window.read(8, start))
    head.pop("__metadata__", None)
    found = {}
    for name, entry in sorted(head.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = np.dtype(_TYPES[entry["dtype"]]), entry["shape"]
        count = min(rows(shape), shape[0])
        at = start + entry["data_offsets"][0]
        size = count * math.prod(shape[1:]) * dtype.itemsize
        found[name] = np.frombuffer(window.read(at, at + size), dtype).reshape(count, *shape[1:])
    return found


def _shown(values: Array, column: dict[str, Any]) -> list[Any]:
    """Return a column's values as the file has them, None where there is none."""
    match column["type"]:
        case "categorical":
            words = column["categories"]
            return [words[code] if code >= 0 else None for code in values.tolist()]
        case "integer":
            return [None if math.isnan(one) else int(one) for one in values.tolist()]
        case "datetime":
            return [None if math.isnan(one) else moment(one) for one in values.tolist()]
        case _:
            return [None if math.isnan(one) else one for one in values.tolist()]
