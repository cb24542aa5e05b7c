"""What a recipe makes of rows: in memory where they are few, else block by block into files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.mapping import RowFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from chainrule.kernels import Array
    from chainrule.naming import Values
    from chainrule.recipe.recipe import Recipe

__all__ = ["IN_MEMORY_BYTES", "encode"]

IN_MEMORY_BYTES = 32 << 20
BLOCK_BYTES = 4 << 20


def encode(  # noqa: PLR0913
    recipe: Recipe,
    tensors: Mapping[str, Array],
    indices: Array,
    dtype: str,
    *,
    folder: Path,
    tell: Callable[[], None] = lambda: None,
) -> tuple[Values, ...]:
    """Return what ``recipe.apply`` does, in files of a folder if it is large; the same bits.

    Windows are in memory: of these each row is there once. ``tell`` is called after each block.
    Raises: OSError, if the disk has no room.
    """
    if len(indices) < 2 or recipe.window is not None:
        return recipe.apply(tensors, indices, dtype)
    one = _flat(recipe.apply(tensors, indices[:1], dtype))
    if not all(isinstance(array, np.ndarray) for array in one.values()):
        return recipe.apply(tensors, indices, dtype)  # bytes of the dataset's own file
    row_bytes = sum(array.nbytes for array in one.values())
    if row_bytes * len(indices) <= IN_MEMORY_BYTES:
        return recipe.apply(tensors, indices, dtype)
    files = {
        place: RowFile(folder, (len(indices), *array.shape[1:]), array.dtype)
        for place, array in one.items()
    }
    at_once = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, len(indices), at_once):
        parts = recipe.apply(tensors, indices[start : start + at_once], dtype)
        for place, array in _flat(parts).items():
            files[place].append(array)
        tell()
    by_id = {id(array): files[place].mapped() for place, array in _flat(parts).items()}
    return tuple(
        {name: by_id[id(array)] for name, array in part.items()}
        if isinstance(part, dict)
        else by_id[id(part)]
        for part in parts
    )


def _flat(parts: tuple[Values, ...]) -> dict[tuple[int, str], Array]:
    """Return all arrays by part and name; targets that are the inputs are not there twice."""
    found: dict[tuple[int, str], Array] = {}
    for number, part in enumerate(parts):
        for name, array in part.items() if isinstance(part, dict) else [("", part)]:
            if not any(array is other for other in found.values()):
                found[number, name] = array
    return found
