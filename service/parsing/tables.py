"""Which reader a table's format has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.parsing.building import build
from service.parsing.layout import Dialect
from service.parsing.table import CsvFile
from service.parsing.text import LEGACY, LegacyEncodingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["read_table"]


def read_table(
    path: Path,
    format: str,  # noqa: A002  # the API's word
    prepared: Path,
    types: Mapping[str, str],
    progress: Callable[[float], object] | None = None,
) -> dict[str, Any]:
    """Write the prepared file of a table, and return its schema.  Raises: DataError; OSError."""
    try:
        return build(CsvFile(path, Dialect(), None, progress), prepared, types)
    except LegacyEncodingError as error:
        schema = build(CsvFile(path, Dialect(), LEGACY, progress), prepared, types)
        repair = f"line {error.line} is not UTF-8: the file was read as {LEGACY}"
        return {**schema, "warnings": [repair, *schema["warnings"]]}
