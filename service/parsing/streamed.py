"""Arrays larger than memory: read a block at a time, and written so into the prepared file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.recipe.values import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from chainrule.kernels import Array

__all__ = ["Streamed", "array_schema", "held", "in_order", "row_blocks", "write_streamed"]

BLOCK_BYTES = 4 << 20
# In the order in which safetensors lays them out, the widest first.
_NAMES = ("U64", "I64", "F64", "F32", "U32", "I32", "U16", "I16", "I8", "U8")


@dataclass(frozen=True)
class Streamed:
    """An array whose values ``blocks`` yields in C order, of its own type."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[Array]]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def held(arrays: dict[str, Array]) -> list[Streamed]:
    """Return arrays that are in memory as those that are read."""
    return [
        Streamed(name, array.shape, array.dtype, lambda array=array: row_blocks(array, array.dtype))  # type: ignore[misc]
        for name, array in arrays.items()
    ]


def row_blocks(values: Array, dtype: np.dtype[Any]) -> Iterator[Array]:
    """Yield an array some rows at a time, of a type and in C order."""
    row_bytes = max(1, math.prod(values.shape[1:]) * dtype.itemsize)
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, len(values), step):
        yield np.ascontiguousarray(values[start : start + step], dtype=dtype)


def in_order(shape: tuple[int, ...]) -> bool:
    """Say whether the order of its axes makes no difference to an array's bytes."""
    return sum(size > 1 for size in shape) <= 1


def array_schema(arrays: Sequence[Streamed], bad: dict[str, int]) -> dict[str, Any]:
    """Describe arrays, of which so many values are ``bad``; their first axis counts rows."""
    described = [
        {"name": array.name, "shape": list(array.shape), "dtype": str(array.dtype)}
        for array in arrays
    ]
    rows = {array.name: array.shape[0] for array in arrays}
    warnings = []
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name!r} {count:,}" for name, count in rows.items())
        warnings.append(f"the arrays differ in their number of rows: {counts}")
    for name, count in bad.items():
        if count:
            warnings.append(f"array {name!r} has {counted(count, 'value')} not finite")
    return {
        "kind": "arrays",
        "rows": max(rows.values()),
        "arrays": described,
        "warnings": warnings,
    }


def write_streamed(
    arrays: Sequence[Streamed], path: Path, progress: Callable[[float], object] | None = None
) -> dict[str, int]:
    """Write the prepared file, byte for byte as safetensors would.

    Returns: how many values of each array are not finite.  Raises: OSError; what reading raises.
    """
    head, ordered = _header(arrays)
    total, done = sum(array.nbytes for array in ordered), 0
    bad = {array.name: 0 for array in arrays}
    with path.open("wb") as file:
        file.write(head)
        for array in ordered:
            for block in array.blocks():
                if block.dtype.kind == "f":
                    bad[array.name] += block.size - int(np.count_nonzero(np.isfinite(block)))
                file.write(block.data)
                done += block.nbytes
                if progress is not None:
                    progress(done / total)
    return bad


def _header(arrays: Sequence[Streamed]) -> tuple[bytes, list[Streamed]]:
    """Return the head of a safetensors file, and the arrays in the order of their values.

    Source: the safetensors format, https://github.com/huggingface/safetensors#format
    """
    ordered = sorted(arrays, key=lambda array: (_NAMES.index(_type(array)), array.name))
    entries, end = {}, 0
    for array in ordered:
        start, end = end, end + array.nbytes
        entries[array.name] = {
            "dtype": _type(array),
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, ordered


def _type(array: Streamed) -> str:
    return f"{array.dtype.kind.upper()}{8 * array.dtype.itemsize}"
