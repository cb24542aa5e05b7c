"""What parsing gives: a description of the dataset, and its tensors in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["FILE", "Parsed", "check_name"]

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
