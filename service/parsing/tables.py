"""A table of any format: how it is read, and read again where it is not what it seemed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import DataError
from service.parsing.building import build
from service.parsing.dialect import SAMPLE_BYTES, detect
from service.parsing.ndjson import NdjsonFile
from service.parsing.parquet import ParquetFile
from service.parsing.result import FILE
from service.parsing.table import CsvFile
from service.parsing.text import LEGACY, UTF8, LegacyEncodingError, TextFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from service.parsing.building import Source

__all__ = ["read_table"]

_DELIMITERS = {"csv": ",;\t|", "tsv": "\t"}


def read_table(
    path: Path,
    format: str,  # noqa: A002  # the API's word
    prepared: Path,
    types: Mapping[str, str],
    progress: Callable[[float], object] | None = None,
) -> dict[str, Any]:
    """Write the prepared file of a table, and return its schema.  Raises: DataError; OSError."""
    source: Source
    if format == "parquet":
        return build(ParquetFile(path, progress), prepared, types)
    try:
        if format == "ndjson":
            source = NdjsonFile(path, types, progress)
        else:
            source = _text_table(path, _DELIMITERS[format], None, progress)
        return build(source, prepared, types)
    except LegacyEncodingError as error:
        if format == "ndjson":
            raise DataError.at(FILE, f"line {error.line}: is not UTF-8, as JSON is") from None
        line = error.line
    schema = build(_text_table(path, _DELIMITERS[format], LEGACY, progress), prepared, types)
    repair = f"line {line} is not UTF-8: the file was read as {LEGACY}"
    return {**schema, "warnings": [repair, *schema["warnings"]]}


def _text_table(
    path: Path,
    delimiters: str,
    encoding: str | None,
    progress: Callable[[float], object] | None,
) -> CsvFile:
    """Find out how the beginning of a file is written."""
    text, whole = b"", False
    with TextFile(path, encoding) as file:
        while len(text) < SAMPLE_BYTES and not whole:
            piece = file.read(SAMPLE_BYTES - len(text))
            text, whole = text + piece, not piece
        found = file.encoding
    dialect, warnings = detect(text, delimiters, whole=whole)
    if found not in (UTF8, LEGACY):
        warnings.insert(0, f"the file was read as {found}")
    return CsvFile(path, dialect, encoding, progress, warnings)
