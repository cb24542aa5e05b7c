"""How a file is written is found out, each repair is told, and nothing is shifted silently."""

from __future__ import annotations

import codecs
import csv
import io
import json

import numpy as np
import polars as pl
import pytest

from chainrule.errors import DataError
from tests.table_files import in_blocks, read, read_csv

ROWS = [[f"{i}.5", "ab"[i % 2], str(i * i)] for i in range(30)]


def written(rows, **options):
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n", **options).writerows(rows)
    return file.getvalue()


def types(schema):
    return [column["type"] for column in schema["columns"]]


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", None)]
)
def test_each_delimiter_gives_the_same_table(delimiter, name):
    table = [["x", "kind", "n"], *ROWS]
    schema, tensors = read_csv(written(table, delimiter=delimiter).encode())
    usual, same = read_csv(written(table).encode())
    assert schema["columns"] == usual["columns"]
    assert {k: v.tolist() for k, v in tensors.items()} == {k: v.tolist() for k, v in same.items()}
    told = [f"fields are separated by {name}, not by commas"] if name else []
    assert schema["warnings"] == [*told, *usual["warnings"]]


def test_what_can_be_read_with_commas_is():
    schema, _ = read_csv(b"a;b,c\n1;2,3\n4;5,6\n")
    assert [column["name"] for column in schema["columns"]] == ["a;b", "c"]
    assert schema["warnings"] == []


def test_a_file_that_changes_its_delimiter_is_refused_where_it_does():
    data = b"a;b\n" + b"1;2\n" * 20_000 + b"1,2\n"
    with pytest.raises(DataError, match="line 20002: has 1 field, the header has 2"):
        read_csv(data)


def test_a_tsv_has_tabs_and_nothing_else():
    schema, tensors = read(b"a,b\tc\n1\t2\n", "tsv")
    assert [column["name"] for column in schema["columns"]] == ["a,b", "c"]
    assert schema["warnings"] == []
    assert tensors["c"].tolist() == [2]


def test_single_quotes_are_quotes_where_they_stand_around_fields():
    schema, _ = read_csv(b"'name','n'\n'a, b',1\n'it''s',2\n")
    assert schema["columns"][0]["categories"] == ["a, b", "it's"]
    assert "fields are quoted by ' instead of \"" in schema["warnings"]


def test_an_apostrophe_is_none():
    schema, _ = read_csv(b"name,n\nO'Neill,1\n'tis,2\n")
    assert schema["columns"][0]["categories"] == ["'tis", "O'Neill"]
    assert schema["warnings"] == []


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("size", [64, 1 << 22])
def test_a_decimal_comma_is_read_as_a_point(delimiter, size):
    rows = [[cell.replace(".", ",") for cell in row] for row in ROWS]
    data = written([["x", "kind", "n"], *rows], delimiter=delimiter).encode()
    with in_blocks(size):
        schema, tensors = read_csv(data)
    assert types(schema) == ["number", "categorical", "integer"]
    assert tensors["x"].tolist() == [i + 0.5 for i in range(30)]
    assert "numbers have a decimal comma: 0,5 is read as 0.5" in schema["warnings"]


def test_a_point_among_decimal_commas_is_no_number():
    data = b"x;y\n" + b"1,5;a\n" * 20_000 + b"1.234;b\n"
    with pytest.raises(DataError, match=r"line 20002, column 'x': '1.234' is not a number"):
        read_csv(data)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["06.02.2021", "22.4.2023"], "dates are written 2024-05-31"),
        (["5/31/24", "12/1/24 09:30"], "dates are written 2024-05-31"),
        (["2024/05/31", "2024/6/1"], "dates are written 2024-05-31"),
        (["26.5%", "7 %"], "numbers are written 1234.5, without units or blanks"),
        (["$1.50", "$20"], "numbers are written 1234.5, without units or blanks"),
        (["1 234", "12 345.5"], "numbers are written 1234.5, without units or blanks"),
        (["06.02.2021", "never"], None),
        (["26.5%", "half"], None),
        (["192.168.1.10", "10.0.0.1"], None),
        (["4711-12", "12-A"], None),
    ],
)
def test_dates_and_numbers_in_a_writing_of_their_own_are_words_and_that_is_told(cells, told):
    schema, _ = read_csv("\n".join(["x;y", *(f"{cell};a" for cell in cells), ""]).encode())
    assert schema["columns"][0]["categories"] == sorted(cells)
    wanted = [f"column 'x' is read as words, as {cells[0]!r}: {told}"] if told else []
    assert [one for one in schema["warnings"] if "read as words, as" in one] == wanted


@pytest.mark.parametrize("cell", ["1.234", "1.5", ".5", "5.", "1.5e3"])
def test_a_point_is_no_number_in_later_blocks_either(cell):
    data = b"x;y\n" + b"1,5;a\n" * 20_000 + f"{cell};b\n".encode()
    says = rf"line 20002, column 'x': '{cell}' is not a number \(20,000 of 20,001"
    with in_blocks(1 << 14), pytest.raises(DataError, match=says):
        read_csv(data)


def test_thousands_are_not_taken_for_fractions():
    schema, _ = read_csv(b"x;y\n1,234;a\n5,678;b\n")
    assert schema["columns"][0]["categories"] == ["1,234", "5,678"]
    assert schema["warnings"][-1] == (
        "column 'x' is read as words: is '1,234' a number? Give its type, "
        '"decimal_point" or "decimal_comma"'
    )


GROUPED = [
    (b"x;n;k\n1.234,5;7;a\n12;1.000;b\n-1.234.567,25;;c\n0,5;3;d\n", "1.234,5 is read as 1234.5"),
    (b'x,n,k\n"1,234.5",7,a\n12,"1,000",b\n"-1,234,567.25",,c\n0.5,3,d\n', "1,234.5 is read as"),
]


@pytest.mark.parametrize(("data", "told"), GROUPED, ids=["comma", "point"])
@pytest.mark.parametrize("size", [16, 1 << 22])
def test_thousands_are_read_where_they_are_certain(data, told, size):
    with in_blocks(size):
        schema, tensors = read_csv(data)
    assert tensors["x"].tolist() == [1234.5, 12, -1234567.25, 0.5]
    assert tensors["n"].tolist()[:2] == [7, 1000]
    assert types(schema) == ["number", "integer", "categorical"]
    (said,) = [one for one in schema["warnings"] if "between thousands" in one]
    assert told in said


def test_several_commas_are_thousands_and_several_points_may_be_a_code():
    schema, tensors = read_csv(b'x,k\n"1,234,567",a\n"12,345,678",b\n')
    assert tensors["x"].tolist() == [1234567, 12345678]
    assert (
        "numbers have commas between thousands: 1,234,567 is read as 1234567" in schema["warnings"]
    )
    schema, _ = read_csv(b"x,k\n101.200.300,a\n101.200.301,b\n")
    assert types(schema)[0] == "categorical"


@pytest.mark.parametrize(
    "data",
    [
        b"x;y\n1.234,5;0.5\n2.345,5;1.5\n",  # a point that is no thousand's
        b'x;y\n1.234,5;"1,234.5"\n2.345,5;"2,345.5"\n',  # both ways
        b"x;y\n1.234,5;a\nabout 2.000,5;b\n",  # not all are numbers
    ],
)
def test_thousands_that_are_not_certain_stay_words(data):
    schema, _ = read_csv(data)
    assert types(schema)[0] == "categorical"
    assert not [one for one in schema["warnings"] if "between thousands" in one]


@pytest.mark.parametrize(
    ("kind", "values"),
    [("decimal_comma", [1.234, 5.678, 0.5]), ("decimal_point", None)],
)
def test_a_column_is_read_as_it_is_said_to_be_written(kind, values):
    data = b"x;y\n1,234;1.5\n5,678;2.5\n0,5;3.5\n"
    if values is None:
        with pytest.raises(DataError, match=r"types.x: line 4, column 'x': '0,5' is not a number"):
            read_csv(data, {"x": kind})
        return
    schema, tensors = read_csv(data, {"x": kind})
    assert tensors["x"].tolist() == values
    assert tensors["y"].tolist() == [1.5, 2.5, 3.5]
    assert types(schema) == ["number", "number"]


def test_thousands_of_json_text_are_read_as_they_are_said_to_be_written():
    data = b'{"x": "1.234,5"}\n{"x": "2"}\n{"x": null}\n'
    _, tensors = read(data, "ndjson", {"x": "decimal_comma"})
    assert tensors["x"].tolist()[:2] == [1234.5, 2]


@pytest.mark.parametrize("kind", ["decimal_comma", "decimal_point"])
@pytest.mark.parametrize("size", [16, 1 << 22])
@pytest.mark.parametrize("more", [[], ["12", 1.234]])
def test_a_number_of_json_is_one_whatever_marks_its_texts_have(kind, size, more):
    values = [1.234, 7, 7, 7, 1.234, 1e-7, 5e300, 10**30, *more]
    data = "".join(f"{json.dumps({'x': value})}\n" for value in values).encode()
    with in_blocks(size):
        _, tensors = read(data, "ndjson", {"x": kind})
    assert tensors["x"].tolist() == [float(value) for value in values]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [8, 1 << 22])
def test_excels_first_line_tells_the_delimiter(end, size):
    data = end.join([b"sep=;", b"a,b;c", b"1;2", b"3;x"]) + end
    with in_blocks(size):
        schema, tensors = read_csv(data)
    assert [column["name"] for column in schema["columns"]] == ["a,b", "c"]
    assert tensors["a,b"].tolist() == [1, 3]
    assert schema["warnings"][0] == "the first line says that fields are separated by semicolons"
    with pytest.raises(DataError, match="line 4: has 1 field, the header has 2"):
        read_csv(end.join([b"sep=;", b"a;b", b"1;2", b"3", b""]))


def test_excels_first_line_goes_before_data_without_a_header():
    _, tensors = read_csv(b"sep=,\n1,2\n3,4\n")
    assert {name: values.tolist() for name, values in tensors.items()} == {
        "column_1": [1, 3],
        "column_2": [2, 4],
    }


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"1,2\n3,4\n", ["column_1", "column_2"]),
        (b"5.1,3.5,setosa\n4.9,3.0,setosa\n7.0,3.2,other\n", [f"column_{i}" for i in (1, 2, 3)]),
        (b"5,setosa,5\n4,setosa,3\n", [f"column_{i}" for i in (1, 2, 3)]),
        (b"7\n8\n", ["column_1"]),
        (b"country,2019,2020\nFR,1,2\nDE,2,3\n", ["country", "2019", "2020"]),
        (b"x,1.5\n2,3\n", ["x", "1.5"]),
        (b"a,b\nc,d\n", ["a", "b"]),
    ],
)
def test_a_missing_header_is_seen(data, names):
    schema, _ = read_csv(data)
    assert [column["name"] for column in schema["columns"]] == names
    told = [one for one in schema["warnings"] if "the first line is data and no header" in one]
    assert bool(told) == (names[0] == "column_1")
    assert schema["rows"] == data.count(b"\n") - (names[0] != "column_1")


TEXT = "name,n\nZoë,1\nÅse,2\n€,3\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (TEXT.encode(), []),
        (codecs.BOM_UTF8 + TEXT.encode(), []),
        (TEXT.encode("utf-16"), ["the file was read as UTF-16-LE"]),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), ["the file was read as UTF-16-BE"]),
        (TEXT.encode("cp1252"), ["line 2 is not UTF-8: the file was read as Windows-1252"]),
    ],
    ids=["UTF-8", "with a mark", "UTF-16-LE", "UTF-16-BE", "Windows-1252"],
)
@pytest.mark.parametrize("size", [5, 1 << 22])
def test_each_encoding_gives_the_same_words(data, told, size):
    with in_blocks(size):
        schema, _ = read_csv(data)
    assert schema["columns"][0]["categories"] == sorted(["Zoë", "Åse", "€"])
    assert schema["warnings"] == told


def test_a_late_letter_of_windows_1252_is_found():
    data = b"name,n\n" + b"Zoe,1\n" * 40_000 + b"Zo\xeb,1\n"
    schema, tensors = read_csv(data)
    assert schema["columns"][0]["categories"] == ["Zoe", "Zoë"]
    assert schema["warnings"][0] == "line 40002 is not UTF-8: the file was read as Windows-1252"
    assert len(tensors["n"]) == 40_001


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("n,m\né,1\n".encode() + b"\xe9,1\n", "line 3: is not UTF-8"),
        (codecs.BOM_UTF8 + b"n,m\n\xe9,1\n", "line 2: is not UTF-8"),
        (b"n,m\n1,\x81\n", "line 2: is neither UTF-8 nor Windows-1252"),
        (b"n,m\n1,\xe9\n2,\x01\n", "line 3: is neither UTF-8 nor Windows-1252"),
        (codecs.BOM_UTF16_LE + "n,m\n1,".encode("utf-16-le") + b"x", "line 2: is not UTF-16"),
        ("n,m\n1,2\n".encode("utf-16-le"), "line 1: has a NUL byte; it looks like UTF-16"),
    ],
)
def test_bytes_that_are_no_text_are_located(data, says):
    for size in (4, 1 << 22):
        with in_blocks(size), pytest.raises(DataError, match=says):
            read_csv(data)


def test_numbers_are_the_same_whether_they_are_read_at_once_or_as_text():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=300) * 10.0 ** rng.integers(-300, 300, 300), [0.1]])
    whole = rng.integers(-(2**53), 2**53, 301)
    table = pl.DataFrame({"x": values, "n": whole})
    with in_blocks(512):
        _, tensors = read_csv(table.write_csv().encode())
    texts = [line.split(",") for line in table.write_csv().splitlines()[1:]]
    assert tensors["x"].tolist() == [float(x) for x, _ in texts]
    assert tensors["n"].tolist() == [float(n) for _, n in texts]
