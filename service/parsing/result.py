"""What parsing gives: a description of the dataset, and its tensors in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from chainrule.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from chainrule.kernels import Array

__all__ = ["FILE", "Parsed", "check_name", "write_tensors"]

FILE = "file"  # the place of a complaint about the file as a whole

MAX_NAME_CHARACTERS = 1000  # as in chainrule.spec.DataSpec


@dataclass(frozen=True)
class Parsed:
    """A parsed dataset: its schema (plain JSON), the prepared file and the number of rows."""

    schema: dict[str, Any]
    prepared: Path
    rows: int


def check_name(name: str, place: str) -> None:
    """Refuse a name that the prepared file or a request could not carry.  Raises: DataError."""
    if name == "__metadata__":
        raise DataError.at(FILE, f"{place}: the name '__metadata__' is reserved")
    if len(name) > MAX_NAME_CHARACTERS:
        raise DataError.at(FILE, f"{place}: a name has at most {MAX_NAME_CHARACTERS:,} characters")


def write_tensors(tensors: dict[str, Array], path: Path) -> None:
    """Write the prepared file: the same tensors give the same bytes.  Raises: OSError."""
    try:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # it tells what the system said in words alone
        said = re.search(r"\(os error (\d+)\)", str(error))
        if said is None:
            raise
        raise OSError(int(said[1]), str(error)) from error
