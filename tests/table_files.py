"""Tables as files: read by the service's own reader, in one block or in small ones."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from service.parsing import layout
from service.parsing.files import parse_file
from service.parsing.layout import Dialect
from service.parsing.table import CsvFile

__all__ = ["cells", "in_blocks", "read", "read_csv"]


def read(data, format_="csv", types=None):
    """Return a file's schema and tensors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(data)
        prepared = path.with_name("prepared")
        parsed = parse_file(path, format_, prepared, types)
        assert {file.name for file in Path(folder).iterdir()} == {"upload", "prepared"}
        return parsed.schema, load_file(prepared)


def read_csv(data, types=None):
    return read(data, "csv", types)


def cells(data):
    """Return a CSV's cells as text, and the place of each row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(data)
        rows, places = [], []
        try:
            for block in CsvFile(path, Dialect()).blocks({}, again=False):
                rows += zip(*block.columns.values(), strict=True)
                places += map(block.place, range(block.rows))
        except Exception as error:
            if "has a header but no rows" not in str(error):
                raise
        return [list(row) for row in rows], places


@contextmanager
def in_blocks(size):
    """Read files so many bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK_BYTES", size)
        yield
