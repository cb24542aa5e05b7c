"""Where the records of a table's text begin and end, and whether each has the fields it should.

A parser that guesses would shift columns silently, so the structure (RFC 4180) is checked here
first, with line numbers; polars then reads blocks that are known to be rectangular.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError
from service.parsing.marks import PLAIN, Marks
from service.parsing.result import FILE, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.kernels import Array
    from service.parsing.text import TextFile

__all__ = [
    "MAX_COLUMNS",
    "MAX_RECORD_BYTES",
    "ONE_LINE",
    "Dialect",
    "Records",
    "check_width",
    "find_records",
    "read_header",
    "records_in",
]

BLOCK_BYTES = 4 << 20  # and a thousandth of it for each column, if there are more
MAX_COLUMNS = 10_000
ONE_LINE = " (curl -d takes line ends out, --data-binary keeps them)"  # a likely cause
MAX_RECORD_BYTES = 256 << 20
_LF, _CR = b"\n\r"


@dataclass(frozen=True)
class Dialect:
    """How a file writes its table.  ``announced``: a line before it tells the delimiter."""

    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    marks: Marks = PLAIN
    announced: bool = False


@dataclass(frozen=True)
class Records:
    """Some whole records: their bytes, and where each starts and ends in them.

    ``fields`` counts the fields of each, ``line`` is the line of the file where they begin.
    """

    data: bytes
    starts: Array
    ends: Array
    fields: Array
    line: int

    def line_of(self, record: int) -> int:
        """Return the line of the file, from 1, on which a record (from 0) begins."""
        return self.line_at(int(self.starts[record]))

    def line_at(self, place: int) -> int:
        """Return the line of the file, from 1, that holds a byte."""
        return self.line + self.data.count(b"\n", 0, place)

    @property
    def blank(self) -> Array:
        """Whether a record is an empty line."""
        raw = np.frombuffer(self.data, np.uint8)
        length = self.ends - self.starts
        alone: Array = raw[np.minimum(self.starts, len(raw) - 1)] == _CR
        blank: Array = (length == 0) | ((length == 1) & alone)
        return blank


def find_records(file: TextFile, dialect: Dialect, block_bytes: int) -> Iterator[Records]:
    """Yield all records of a file, as many at a time as a block holds.

    Raises: DataError at ``file``, naming the line, where a quote is out of place.
    """
    line, rest, size, width = 1, b"", block_bytes, 0
    while True:
        piece = file.read(size)
        data = rest + piece
        found = records_in(data, dialect, line, final=not piece)
        if found.starts.size:
            yield found
            width = int(found.fields[-1])
        if not piece:
            return
        quoted = dialect.quote.encode() in found.data
        line += found.data.count(b"\n") if quoted else len(found.ends)
        rest = data[len(found.data) :]
        # A record that is longer than a block: twice as much each time, so that all is seen twice.
        size = max(block_bytes, block_bytes // 1024 * width, len(rest))
        if len(rest) > MAX_RECORD_BYTES:
            detail = f"a record of more than {MAX_RECORD_BYTES >> 20} MiB: is a quote never closed?"
            raise DataError.at(FILE, f"line {line}: {detail}")


def records_in(data: bytes, dialect: Dialect, line: int, *, final: bool) -> Records:
    """Find the records that end in ``data``, which begins with one; if ``final``, so does it.

    Raises: DataError at ``file``, where a quote is out of place.
    """
    raw = np.frombuffer(data, np.uint8)
    if dialect.quote.encode() in data:
        return _quoted_records(data, raw, dialect, line, final=final)
    ends = np.flatnonzero(raw == _LF)
    last = int(ends[-1]) + 1 if ends.size else 0
    if final and last < len(data):
        ends, last = np.append(ends, len(data)), len(data)
    fields = np.diff(_marks_before(raw == ord(dialect.delimiter), ends), prepend=0) + 1
    return _records(data, ends, fields, last, line)


def _marks_before(mask: Array, places: Array) -> Array:
    """Count what is marked before each of some places: one by one only within 64 of a mask."""
    bits = np.zeros(len(mask) // 64 + 1, np.uint64)
    packed = np.packbits(mask, bitorder="little")
    bits.view(np.uint8)[: len(packed)] = packed
    counts = np.bitwise_count(bits)
    before = np.cumsum(counts, dtype=np.int64) - counts
    which, inside = places >> 6, (places & 63).astype(np.uint64)
    lower = bits[which] & ((np.uint64(1) << inside) - np.uint64(1))
    found: Array = before[which] + np.bitwise_count(lower)
    return found


def _quoted_records(
    data: bytes, raw: Array, dialect: Dialect, line: int, *, final: bool
) -> Records:
    """Find the records where some fields are quoted: what is inside quotes separates nothing."""
    quote = ord(dialect.quote)
    marks = np.flatnonzero((raw == _LF) | (raw == ord(dialect.delimiter)) | (raw == quote))
    kinds = raw[marks]
    quotes = kinds == quote
    # Every quote flips the state, a doubled one twice; eight bits keep the parity.
    inside = np.cumsum(quotes, dtype=np.uint8) & 1
    places, state = marks[quotes], inside[quotes]
    outside = ~quotes & (inside == 0)
    marks, kinds = marks[outside], kinds[outside]
    feeds = np.flatnonzero(kinds == _LF)
    ends, fields = marks[feeds], np.diff(feeds, prepend=-1)
    last = int(ends[-1]) + 1 if ends.size else 0
    if final and last < len(data):
        left = len(kinds) - (int(feeds[-1]) + 1 if feeds.size else 0)
        ends, fields = np.append(ends, len(data)), np.append(fields, left + 1)
        last = len(data)
    found = _records(data, ends, fields, last, line)
    whole = places < last
    _check_quotes(found, dialect, places[whole], state[whole])
    return found


def _records(data: bytes, ends: Array, fields: Array, last: int, line: int) -> Records:
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)].astype(np.int64)
    return Records(data[:last], starts, ends, fields, line)


def _check_quotes(found: Records, dialect: Dialect, places: Array, state: Array) -> None:
    """Check that quotes stand at both ends of a field, or doubled within one, and are closed.

    ``state`` is 1 where a quote opens.
    """
    raw = np.frombuffer(found.data, np.uint8)
    around = (ord(dialect.delimiter), _LF, ord(dialect.quote))
    opening, closing = places[state == 1], places[state == 0]
    stray = opening[(opening > 0) & ~np.isin(raw[np.maximum(opening - 1, 0)], around)]
    last = len(raw) - 1
    after = raw[np.minimum(closing + 1, last)]
    ends_line = (after == _CR) & (raw[np.minimum(closing + 2, last)] == _LF)
    # A CR that ends the file after the quote is part of its last line's end.
    ends_line |= (after == _CR) & (closing + 1 == last)
    early = closing[~(np.isin(after, around) | ends_line | (closing == last))]
    if stray.size and not (early.size and early[0] < stray[0]):
        detail = "a quote within a field; quote the whole field and double the quote"
        raise DataError.at(FILE, f"line {found.line_at(int(stray[0]))}: {detail}")
    if early.size:
        line = found.line_at(int(early[0]))
        raise DataError.at(FILE, f"line {line}: text after the closing quote of a field")
    if places.size and state[-1]:
        line = found.line_at(int(places[-1]))
        raise DataError.at(FILE, f"line {line}: a quoted field is never closed")


def read_header(text: bytes, line: int, dialect: Dialect) -> list[str]:
    """Read the column names: each there, each once.  Raises: DataError at ``file``."""
    csv.field_size_limit(max(len(text) + 1, csv.field_size_limit()))
    reader = csv.reader(
        io.StringIO(text.decode(), newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
    )
    names = [name.strip() for name in next(reader)]
    if len(names) > MAX_COLUMNS:
        raise DataError.at(FILE, f"has {len(names):,} columns, at most {MAX_COLUMNS:,}{ONE_LINE}")
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


def check_width(found: Records, rows: Array, width: int, header: bool) -> None:
    """Check that these of the records have ``width`` fields.  Raises: DataError at ``file``."""
    fields = found.fields[rows]
    bad = np.flatnonzero(fields != width)
    if bad.size:
        count, line = int(fields[bad[0]]), found.line_of(int(rows[bad[0]]))
        noun = "field" if count == 1 else "fields"
        whose = "the header has" if header else "the first line has"
        raise DataError.at(FILE, f"line {line}: has {count:,} {noun}, {whose} {width:,}")
