"""Where the records of a CSV file begin and end, and whether each has the fields it should have.

A parser that guesses would shift columns silently, so the structure (RFC 4180) is checked here
first, with line numbers; polars then reads a body that is known to be rectangular.
"""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError
from service.parsing.result import FILE, check_name

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["Layout", "lay_out"]

MAX_COLUMNS = 10_000
MAX_ROWS = 10_000_000
MAX_CELLS = 50_000_000
_BLOCK_BYTES = 1 << 22
_COMMA, _QUOTE, _LF, _CR = b',"\n\r'

_OTHER_FILES = {
    b"\x1f\x8b": "gzip: send it unpacked",
    b"PK": "a zip archive or a spreadsheet: save it as CSV",
    b"PAR1": "Parquet, which is not read as CSV",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}


@dataclass(frozen=True)
class Layout:
    """A rectangular table: its column names and, without header and blank lines, its text.

    ``starts`` are the places of the records in ``data``, the file without its byte order mark.
    """

    data: bytes
    names: list[str]
    body: bytes
    starts: Array
    blank_lines: int

    @property
    def rows(self) -> int:
        return len(self.starts)

    def line(self, row: int) -> int:
        """Return the line of the file, from 1, on which a record (from 0) begins."""
        return _line(self.data, int(self.starts[row]))


def lay_out(data: bytes) -> Layout:
    """Check that a file is text and a rectangular table.

    Raises: DataError at ``file``, naming the line.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    _check_text(data)
    starts, ends, fields = _records(data)
    raw = np.frombuffer(data, np.uint8)
    length = ends - starts
    blank = (length == 0) | ((length == 1) & (raw[np.minimum(starts, len(raw) - 1)] == _CR))
    filled = np.flatnonzero(~blank)
    if not filled.size:
        raise DataError.at(FILE, "the file is empty")
    first, rest = filled[0], filled[1:]
    if fields[first] > MAX_COLUMNS:
        raise DataError.at(FILE, f"has {fields[first]:,} columns, at most {MAX_COLUMNS:,}")
    names = _header(data[starts[first] : ends[first]], _line(data, int(starts[first])))
    _check_width(data, names, starts[rest], fields[rest])
    body = data[int(ends[first]) + 1 :]
    blanks = np.flatnonzero(blank[first:]) + first
    if blanks.size:
        keep = np.ones(len(data) + 1, bool)
        keep[starts[blanks]] = keep[ends[blanks]] = False
        keep[: int(ends[first]) + 1] = False
        body = raw[keep[:-1]].tobytes()
    return Layout(data, names, body, starts[rest], int(blank.sum()))


def _check_text(data: bytes) -> None:
    looks = next(
        (f"; it looks like {n}" for s, n in _OTHER_FILES.items() if data.startswith(s)), ""
    )
    if (nul := data.find(b"\0")) >= 0:
        raise DataError.at(FILE, f"line {_line(data, nul)}: has a NUL byte{looks}")
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    try:
        for done in range(0, len(data), _BLOCK_BYTES):
            decoder.decode(data[done : done + _BLOCK_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = _line(data, done + error.start)
        raise DataError.at(FILE, f"line {line}: is not UTF-8{looks}") from None
    if data.count(b"\n") > MAX_ROWS:
        raise DataError.at(FILE, f"has more than {MAX_ROWS:,} lines")


def _records(data: bytes) -> tuple[Array, Array, Array]:
    """Return where each record starts, where it ends (its line feed), and its number of fields."""
    raw = np.frombuffer(data, np.uint8)
    quoted = b'"' in data
    inside, pending = 0, 0  # within quotes; commas since the last record
    ends: list[Array] = []
    commas: list[Array] = []
    for start in range(0, len(raw), _BLOCK_BYTES):
        block = raw[start : start + _BLOCK_BYTES]
        feeds, separators = block == _LF, block == _COMMA
        if quoted:
            quotes = block == _QUOTE
            # Every quote flips the state, a doubled one twice; eight bits keep the parity.
            state = (np.cumsum(quotes, dtype=np.uint8) + np.uint8(inside)) & 1
            _check_quotes(data, raw, np.flatnonzero(quotes) + start, state[quotes])
            feeds &= state == 0
            separators &= state == 0
            inside = int(state[-1])
        at = np.flatnonzero(feeds)
        totals = np.cumsum(separators, dtype=np.int64)
        ends.append(at + start)
        commas.append(np.diff(totals[at], prepend=-pending))
        pending = int(totals[-1]) - (int(totals[at[-1]]) if at.size else -pending)
    if inside:
        line = _line(data, data.rfind(b'"'))
        raise DataError.at(FILE, f"line {line}: a quoted field is never closed")
    all_ends, all_commas = np.concatenate([*ends, []]), np.concatenate([*commas, []])
    if data and not (all_ends.size and all_ends[-1] == len(data) - 1):
        all_ends, all_commas = np.append(all_ends, len(data)), np.append(all_commas, pending)
    ends_at = all_ends.astype(np.int64)
    starts = np.concatenate([[0], ends_at[:-1] + 1])[: len(ends_at)].astype(np.int64)
    return starts, ends_at, all_commas.astype(np.int64) + 1


def _check_quotes(data: bytes, raw: Array, places: Array, state: Array) -> None:
    """Check that quotes stand at both ends of a field, or doubled within one.

    ``state`` is 1 where a quote opens.
    """
    opening, closing = places[state == 1], places[state == 0]
    before = raw[np.maximum(opening - 1, 0)]
    stray = opening[(opening > 0) & ~np.isin(before, (_COMMA, _LF, _QUOTE))]
    last = len(raw) - 1
    after = raw[np.minimum(closing + 1, last)]
    ends_line = (after == _CR) & (raw[np.minimum(closing + 2, last)] == _LF)
    good = np.isin(after, (_COMMA, _LF, _QUOTE)) | ends_line | (closing == last)
    early = closing[~good]
    if stray.size and not (early.size and early[0] < stray[0]):
        line = _line(data, int(stray[0]))
        detail = f"line {line}: a quote within a field; quote the whole field and double the quote"
        raise DataError.at(FILE, detail)
    if early.size:
        line = _line(data, int(early[0]))
        raise DataError.at(FILE, f"line {line}: text after the closing quote of a field")


def _header(text: bytes, line: int) -> list[str]:
    """Read the column names: each there, each once."""
    csv.field_size_limit(len(text) + 1)
    names = [name.strip() for name in next(csv.reader(io.StringIO(text.decode(), newline="")))]
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            hint = " (pandas writes its index so: to_csv(index=False))" if number == 1 else ""
            raise DataError.at(FILE, f"line {line}: column {number} has no name{hint}")
        check_name(name, f"line {line}, column {number}")
        if name in seen:
            detail = f"the column name {name!r} appears twice (columns {seen[name]} and {number})"
            raise DataError.at(FILE, f"line {line}: {detail}")
        seen[name] = number
    return names


def _check_width(data: bytes, names: list[str], starts: Array, fields: Array) -> None:
    width = len(names)
    bad = np.flatnonzero(fields != width)
    if bad.size:
        count, line = int(fields[bad[0]]), _line(data, int(starts[bad[0]]))
        noun = "field" if count == 1 else "fields"
        raise DataError.at(FILE, f"line {line}: has {count:,} {noun}, the header has {width:,}")
    if not starts.size:
        raise DataError.at(FILE, "has a header but no rows")
    if starts.size * width > MAX_CELLS:
        cells = f"{starts.size:,} rows of {width:,} columns"
        raise DataError.at(FILE, f"has {cells}, at most {MAX_CELLS:,} values in all")


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1
