"""Broken files of each format: a located error or a stated repair, and no row is lost silently."""

from __future__ import annotations

import codecs
import io
import re

import polars as pl
import pytest

from chainrule.errors import DataError
from tests.table_files import in_blocks, read

GOOD = b"n,w\n1,a\n2,b\n"


def parquet(**columns):
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


PARQUET = parquet(n=[1, 2, 3], w=["a", "b", "c"])
WIDE = ",".join(f"c{i}" for i in range(100_000))
LOCATED = re.compile(
    r"^(file: (line [\d,]+|column \d+|has |the file|is no|a record)|rows\[\d+\]|columns\.)"
)

REFUSED = {
    # Text tables.
    "an empty file": ("csv", b""),
    "blank lines only": ("csv", b"\n\n\r\n"),
    "a mark and nothing else": ("csv", codecs.BOM_UTF8),
    "a header and no rows": ("csv", b"a,b\n"),
    "cut within a record": ("csv", GOOD + b"3"),
    "cut within quotes": ("csv", GOOD + b'3,"c'),
    "a record too long": ("csv", GOOD + b"3,c,d\n"),
    "a record too short": ("csv", GOOD + b"3\n"),
    "a column twice": ("csv", b"a,a\n1,2\n"),
    "a column without a name": ("csv", b"a,,c\n1,2,3\n"),
    "100,000 columns": ("csv", f"{WIDE}\n{WIDE}\n".encode()),
    "100,000 columns without a header": ("csv", b",".join([b"1.5"] * 100_000) + b"\n"),
    "a quote within a field": ("csv", GOOD + b'3" pipe,c\n'),
    "text after a quote": ("csv", GOOD + b'"3"4,c\n'),
    "a NUL byte": ("csv", GOOD + b"3,\0\n"),
    "mixed encodings": ("csv", "n,w\n1,é\n".encode() + b"2,\xe9\n"),
    "neither UTF-8 nor Windows-1252": ("csv", b"n,w\n1,\x81\n"),
    "UTF-16 without a mark": ("csv", "a,b\n1,2\n".encode("utf-16-le")),
    "UTF-16 cut within a letter": (
        "csv",
        codecs.BOM_UTF16_LE + GOOD.decode().encode("utf-16-le")[:-1],
    ),
    "an infinite number": ("csv", b"n\n1\ninf\n"),
    "a number beyond all floats": ("csv", b"n\n1\n-1e999\n"),
    "a word among numbers": ("csv", b"n\n" + b"1\n" * 20 + b"abc\n"),
    "a word among dates": ("csv", b"t\n" + b"2020-01-01\n" * 20 + b"abc\n"),
    "a day that is none": ("csv", b"t\n" + b"2020-02-28\n" * 20 + b"2021-02-29\n"),
    "a point among decimal commas": ("csv", b"x;w\n" + b"1,5;a\n" * 20_000 + b"1.5;a\n"),
    "gzip": ("csv", b"\x1f\x8b\x08\x09"),
    "a spreadsheet": ("csv", b"PK\3\4\x14\0\6\0"),
    "Parquet as CSV": ("csv", PARQUET),
    "a picture": ("csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    "a TSV that is ragged": ("tsv", b"a\tb\n1\t2\n3\n"),
    # NDJSON.
    "no objects": ("ndjson", b"\n\n"),
    "objects without keys": ("ndjson", b"{}\n{}\n"),
    "JSON cut short": ("ndjson", b'{"a": 1}\n{"a": 2'),
    "a list of rows": ("ndjson", b'[{"a": 1}]\n'),
    "two objects on a line": ("ndjson", b'{"a": 1} {"a": 2}\n'),
    "a nested value": ("ndjson", b'{"a": 1}\n{"a": {"b": 1}}\n'),
    "a key twice": ("ndjson", b'{"a": 1, "a": 2}\n'),
    "NaN in JSON": ("ndjson", b'{"a": NaN}\n'),
    "an infinite number in JSON": ("ndjson", b'{"a": 1e999}\n'),
    "a number of 5,000 digits": ("ndjson", b'{"a": ' + b"9" * 5000 + b"}\n"),
    "half a character": ("ndjson", b'{"a": "\\ud800"}\n'),
    "100,000 brackets": ("ndjson", b'{"a": ' + b"[" * 100_000),
    "100,000 keys": (
        "ndjson",
        b'{"' + b'": 1, "'.join(b"%d" % i for i in range(100_000)) + b'": 1}',
    ),
    "JSON in Windows-1252": ("ndjson", b'{"a": "\xe9"}\n'),
    # Parquet.
    "Parquet cut short": ("parquet", PARQUET[:-20]),
    "Parquet without its head": ("parquet", PARQUET[20:]),
    "Parquet with a hole": ("parquet", PARQUET[:4] + b"\xff" * 60 + PARQUET[64:]),
    "CSV as Parquet": ("parquet", GOOD),
    "Parquet without rows": ("parquet", parquet(a=pl.Series([], dtype=pl.Int64))),
    "Parquet without columns": ("parquet", parquet()),
    "nested Parquet": ("parquet", parquet(a=[[1], [2]])),
    "bytes in Parquet": ("parquet", parquet(a=[b"x", b"y"])),
    "an infinite number in Parquet": ("parquet", parquet(a=[1.0, float("inf")])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_is_refused_at_its_place(name):
    format_, data = REFUSED[name]
    with pytest.raises(DataError) as error:
        read(data, format_)
    assert LOCATED.match(str(error.value)), str(error.value)
    assert len(str(error.value)) < 1000


# What is repaired: the file, its rows (those left out are blank lines), and what is said of it.
REPAIRED = {
    "Windows-1252": ("csv", b"n,w\n1,\xe9\n2,b\n", 2, "line 2 is not UTF-8"),
    "UTF-16": ("csv", "n,w\n1,é\n2,b\n".encode("utf-16"), 2, "read as UTF-16"),
    "semicolons": ("csv", b"n;w\n1;a\n2;b\n", 2, "separated by semicolons"),
    "decimal commas": ("csv", b"n;w\n1,5;a\n2;b\n", 2, "decimal comma"),
    "no header": ("csv", b"1,2\n3,4\n", 2, "the first line is data and no header"),
    "blank lines": ("csv", b"\nn,w\n\n1,a\n\r\n2,b\n\n", 2, "blank lines left out: 4"),
    "nothing but missing": ("csv", b"n,w\n1,\n2,NA\n", 2, "column 'w' has no values"),
    "mostly missing": ("csv", b"n,w\n1,\n2,NA\n3,x\n", 3, "column 'w' has no value in 2 of 3 rows"),
    "a constant": ("csv", b"n,w\n1,a\n2,a\n", 2, "column 'w' has the same value in every row"),
    "huge integers": ("csv", b"n,w\n9007199254740993,a\n2,b\n", 2, "beyond 2^53 are rounded"),
    "the same row twice": ("csv", GOOD + b"1,a\n", 3, "1 row is the same as a row before, such as"),
    "blank lines of JSON": ("ndjson", b'\n{"n": 1}\n\n{"n": 2}\n', 2, "blank lines left out: 2"),
    "nulls": ("parquet", parquet(n=[1, 2], w=[None, None]), 2, "column 'w' has no values"),
}


@pytest.mark.parametrize("name", REPAIRED)
@pytest.mark.parametrize("size", [8, 1 << 22])
def test_what_is_repaired_is_said(name, size):
    format_, data, rows, says = REPAIRED[name]
    with in_blocks(size):
        schema, tensors = read(data, format_)
    assert any(says in warning for warning in schema["warnings"]), schema["warnings"]
    assert schema["rows"] == rows
    assert {len(tensor) for tensor in tensors.values()} == {rows}
    for column in schema["columns"]:
        present = sum(column.get("counts") or column.get("histogram", {"counts": []})["counts"])
        assert present + column["missing"] == rows


@pytest.mark.parametrize("size", [20, 1 << 22])
def test_rows_in_are_rows_used_and_rows_reported(size):
    lines = [b"%d,%s" % (i, b"ab"[i % 2 : i % 2 + 1]) if i % 5 else b"" for i in range(200)]
    with in_blocks(size):
        schema, _ = read(b"n,w\n" + b"\n".join(lines) + b"\n", "csv")
    left_out = int(re.fullmatch(r"blank lines left out: (\d+)", schema["warnings"][0])[1])
    assert schema["rows"] + left_out == len(lines)
