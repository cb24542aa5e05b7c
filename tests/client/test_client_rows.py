"""What ``chainrule predict`` reads of a FILE by itself, and what it leaves to the service."""

import gzip
import json

import numpy as np
import pytest

from chainrule.cli.rows import UnreadHereError, read_rows
from chainrule.errors import DataError

RECIPE = {"inputs": {"kind": "table", "columns": [{"name": "city"}, {"name": "x"}]}}
WINDOW = {**RECIPE, "window": {"window": {"group": "shop", "order_by": None}}}
ROWS = [{"city": "Köln", "x": "1"}, {"city": "", "x": "2"}]
CSV = "city,x\nKöln,1\n,2\n"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("rows.csv", "city;x\nKöln;1,5\n", "rows[0]: must have 1 fields"),
        ("rows.csv", "city,x\nKöln,1\n", "the file is not UTF-8"),
        ("rows.parquet", "packed", "Parquet is read by the service alone"),
    ],
)
def test_what_is_no_plain_csv_is_left_to_the_service(tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8" if ";" in content else "cp1252"))
    with pytest.raises(UnreadHereError) as caught:
        read_rows(path)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("recipe", "text", "column"),
    [(RECIPE, "city;x\nKöln;1\n", "city"), (RECIPE, "city\nKöln\n", "x"), (WINDOW, CSV, "shop")],
)
def test_so_is_a_csv_that_lacks_a_column(tmp_path, recipe, text, column):
    path = tmp_path / "rows.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(UnreadHereError, match=f"has no column '{column}'; its first line names"):
        read_rows(path, recipe)


def test_so_is_a_number_with_a_comma_which_only_the_whole_file_explains(tmp_path):
    columns = [{"name": "city", "kind": "category"}, {"name": "x", "kind": "number"}]
    path = tmp_path / "rows.csv"
    path.write_text('city,x\n"Ulm, Donau",1\nBonn,"1,234.50"\n', "utf-8")
    with pytest.raises(UnreadHereError) as caught:
        read_rows(path, {"inputs": {"kind": "table", "columns": columns}})
    assert str(caught.value) == "rows[1].x: '1,234.50' has a comma: thousands or decimals?"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", CSV),
        ("rows.tsv", CSV.replace(",", "\t")),
        ("rows.ndjson", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("rows.json", json.dumps({"rows": ROWS})),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_same_rows_are_read_of_each_plain_format(tmp_path, name, content, packed):
    path = tmp_path / (name + ".gz" if packed else name)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_rows(path, RECIPE) == ("rows", ROWS)


def test_a_key_that_a_line_lacks_is_missing(tmp_path):
    path = tmp_path / "rows.ndjson"
    path.write_text('{"city": "Ulm"}\n\n{"x": 2}\n', "utf-8")
    wanted = [{"city": "Ulm", "x": None}, {"city": None, "x": 2}]
    assert read_rows(path, RECIPE) == ("rows", wanted)
    path.write_text('{"city": "Ulm"}\n[1]\n', "utf-8")
    with pytest.raises(DataError, match=r"rows\[1\]: must be an object, got a list"):
        read_rows(path)


def test_an_array_of_its_own_file_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(2, 3))
    kind, values = read_rows(tmp_path / "x.npy", {"inputs": {"kind": "arrays", "name": "pixels"}})
    assert (kind, values.tolist()) == ("inputs", [[0, 1, 2], [3, 4, 5]])
    idx = b"\0\0\x08\x02" + (2).to_bytes(4, "big") + (2).to_bytes(4, "big") + bytes([1, 2, 3, 4])
    path = tmp_path / "images-idx2-ubyte.gz"
    path.write_bytes(gzip.compress(idx))
    assert read_rows(path)[1].tolist() == [[1, 2], [3, 4]]


def test_what_cannot_be_unpacked_is_told(tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(b"packed")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_rows(path)
