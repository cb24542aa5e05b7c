"""The prepared dataset as arrays that stay in their file: memory does not grow with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_tensors"]

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
}


def open_tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Map a safetensors file into memory; the arrays are read-only.

    Its own reader copies everything, and panics where memory is short.
    Source: the safetensors format, https://github.com/huggingface/safetensors#format
    """
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:begin].tobytes())
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            flat = data[begin + first : begin + last].view(DTYPES[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"])
    return tensors
