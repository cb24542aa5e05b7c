"""A table read in blocks: the same as at once, wherever they are cut, and in bounded memory."""

from __future__ import annotations

import csv
import datetime as dt
import io
import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import DataError
from service.parsing import gathering, spool
from service.parsing.files import parse_file
from service.parsing.layout import Dialect, records_in
from service.parsing.sketch import Distinct, hash_numbers
from tests.table_files import in_blocks, read

WORDS = ["a", "b", " a ", "New York", 'say "hi"', "x,y", "two\nlines", "é", "1 0"]
MISSING = ["", "NA", "nan", " ", "?", "null"]
ODD = ["1e400", "inf", "9007199254740993", "99999999999999999999", "-0.0", "7 ", "+5", "1e3"]
DAY = dt.datetime(2020, 2, 28, tzinfo=dt.UTC)
KINDS = {
    "integer": lambda rng: str(rng.randrange(-50, 50)),
    "number": lambda rng: repr(rng.normalvariate(0, 100)),
    "words": lambda rng: rng.choice(WORDS),
    "plain words": lambda rng: rng.choice(["red", "green", " red", "Blue", "NA"]),
    "times": lambda rng: (DAY + dt.timedelta(hours=rng.randrange(99))).isoformat(),
    "missing": lambda rng: rng.choice(MISSING),
    "odd": lambda rng: rng.choice(ODD),
}
COLUMN = st.tuples(st.sampled_from([*KINDS]), st.lists(st.sampled_from([*KINDS]), max_size=2))


def table(columns, rows, seed):
    """A file whose columns mostly hold one kind of values each, with others strewn in."""
    rng = random.Random(seed)
    made = []
    for usual, others in columns:
        column = [KINDS[usual](rng) for _ in range(rows)]
        for other in others:
            for _ in range(rng.randrange(8)):
                column[rng.randrange(rows)] = KINDS[other](rng)
        made.append(column)
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=rng.choice(["\n", "\r\n"]))
    writer.writerow([f"c{i}" for i in range(len(columns))])
    writer.writerows(zip(*made, strict=True))
    return file.getvalue().encode()


@settings(deadline=None)
@given(
    text=st.lists(st.sampled_from([b"a", b"bc" * 30, b",", b",,,", b"\n", b"\r\n", b" "])).map(
        b"".join
    ),
    final=st.booleans(),
)
def test_the_fields_of_each_record_are_counted(text, final):
    found = records_in(text, Dialect(), 7, final=final)
    lines = text.split(b"\n")
    if not final or not lines[-1]:
        lines.pop()
    assert [text[a:b] for a, b in zip(found.starts, found.ends, strict=True)] == lines
    assert found.fields.tolist() == [line.count(b",") + 1 for line in lines]
    assert found.data == text[: int(found.ends[-1]) + 1 if lines else 0]
    # Where a quote stands in it, each mark is looked at by itself.
    quoted = records_in(text + b'\n"x"\n', Dialect(), 7, final=True)
    assert quoted.fields.tolist()[: len(lines)] == found.fields.tolist()


def outcome(data, size, format_="csv"):
    with in_blocks(size):
        try:
            schema, tensors = read(data, format_)
        except DataError as error:
            return str(error)
    return schema, {name: (t.dtype.str, t.tobytes()) for name, t in sorted(tensors.items())}


@settings(deadline=None, max_examples=60)
@given(
    columns=st.lists(COLUMN, min_size=1, max_size=4),
    rows=st.integers(1, 60),
    seed=st.integers(0, 2**32),
    size=st.integers(20, 400),
)
def test_it_does_not_matter_where_a_file_is_cut(columns, rows, seed, size):
    data = table(columns, rows, seed)
    assert outcome(data, size) == outcome(data, 1 << 22)


def test_numbers_that_turn_into_words_late_are_read_again():
    data = b"n,m\n" + b"1,1\n" * 300 + b"x,2\n" * 300
    schema, tensors = outcome(data, 100)
    assert schema["columns"][0]["categories"] == ["1", "x"]
    assert schema["columns"][0]["counts"] == [300, 300]
    assert schema["columns"][1]["type"] == "integer"
    assert np.frombuffer(tensors["n"][1], np.int32).tolist() == [0] * 300 + [1] * 300
    assert schema["warnings"] == [
        "598 rows are the same as rows before, such as rows[0] and rows[1]; rows[300] and rows[301]"
    ]


def test_words_beyond_all_categories_become_text_in_whatever_block(monkeypatch):
    monkeypatch.setattr(gathering, "MAX_CATEGORIES", 50)
    data = b"t,y\n" + b"".join(b"w%d,%d\n" % (i % 60, i % 7) for i in range(500))
    schema, tensors = outcome(data, 64)
    assert (schema["columns"][0]["type"], schema["columns"][0]["unique"]) == ("text", 60)
    assert list(tensors) == ["y"]
    assert outcome(data, 64) == outcome(data, 1 << 22)


def test_the_prepared_file_is_what_safetensors_writes(tmp_path):
    from safetensors.numpy import load, save

    path = tmp_path / "upload"
    path.write_bytes('z,é "q",b\n1,x,2.5\n,,?\n'.encode().replace(b'"q"', b"q"))
    parse_file(path, "csv", tmp_path / "prepared")
    data = (tmp_path / "prepared").read_bytes()
    assert data == save(load(data))


@pytest.mark.parametrize(
    ("head", "tail", "anew"),
    [
        ("", "", False),
        ("", "\n", True),  # a blank line
        ("", '0,1,"two\nlines"\n', True),
        ("0,1,blue\n", "0,x,blue\n" * 900, True),  # y turns out to be words
    ],
)
def test_a_table_is_written_to_its_place_at_once(monkeypatch, head, tail, anew):
    written = []
    write_anew = spool.Spool._write_anew
    monkeypatch.setattr(
        spool.Spool, "_write_anew", lambda *args: written.append(1) or write_anew(*args)
    )
    rows = "".join(f"{n / 4},{n % 7},{'red' if n % 3 else 'blue'}\n" for n in range(500))
    data = f"x,y,z\n{head}{rows}{tail}".encode()
    assert outcome(data, 200) == outcome(data, 1 << 22)
    assert bool(written) == anew


def test_words_that_are_known_are_read_as_such_until_others_come(monkeypatch):
    seen = []
    add = gathering.Column.add_texts
    monkeypatch.setattr(
        gathering.Column,
        "add_texts",
        lambda self, series, *rest: seen.append(series.dtype) or add(self, series, *rest),
    )
    words = ["red", " red", "NA", "", "blue"]
    data = "x,z\n" + "".join(f"0,{words[n % 5]}\n" for n in range(400)) + "0,new\n"
    schema, tensors = outcome(data.encode(), 100)
    assert {dtype.base_type() for dtype in seen} == {pl.String, pl.Enum}
    column = schema["columns"][1]
    assert column["categories"] == ["blue", "new", "red"]
    assert (column["counts"], column["missing"]) == ([80, 1, 160], 160)
    codes = np.frombuffer(tensors["z"][1], np.int32)
    assert codes.tolist() == [2, 2, -1, -1, 0] * 80 + [1]


def test_of_a_file_that_is_refused_nothing_is_left(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 99 + b"1,2,3\n")
    with in_blocks(50), pytest.raises(DataError, match="line 101"):
        parse_file(path, "csv", tmp_path / "prepared")
    assert [*tmp_path.iterdir()] == [path]


def test_statistics_are_those_of_numpy():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5000).round(4)
    values[::7] = np.nan
    ages = rng.integers(0, 1000, 5000)
    data = pl.DataFrame({"x": values, "age": ages}).with_columns(pl.col("x").fill_nan(None))
    schema, _ = read(data.write_csv().encode())
    x, age = schema["columns"]
    seen = values[~np.isnan(values)]
    for column, expected in ((x, seen), (age, ages)):
        assert column["min"] == expected.min()
        assert column["max"] == expected.max()
        assert column["mean"] == pytest.approx(expected.mean(), rel=1e-12)
        assert column["std"] == pytest.approx(expected.std(), rel=1e-12)
        assert column["unique"] == len(np.unique(expected))
        counts, edges = np.histogram(expected, 20)
        assert column["histogram"] == {"edges": edges.tolist(), "counts": counts.tolist()}


@pytest.mark.parametrize("values", [[1e308, -1e308, 0.5], [1.0, 1.0 + 2**-52, 1.5], [0.5, 0.5]])
def test_numbers_that_no_histogram_fits_have_statistics_all_the_same(values):
    data = "\n".join(["a", *map(repr, values)]).encode()
    (column,) = read(data)[0]["columns"]
    assert [column["min"], column["max"]] == [min(values), max(values)]
    assert sum(column.get("histogram", {"counts": [len(values)]})["counts"]) == len(values)


@pytest.mark.parametrize("different", [10, 100, 101, 5000, 200_000])
def test_different_values_are_counted_exactly_up_to_a_limit_and_well_beyond(different):
    found = Distinct(100)
    values = np.tile(np.arange(different, dtype=np.float64), 2)
    for start in range(0, len(values), 777):
        found.add(hash_numbers(values[start : start + 777]))
    count, estimated = found.count()
    assert estimated == (different > 100)
    assert count == (pytest.approx(different, rel=0.35) if estimated else different)


def test_rows_that_are_alike_are_counted():
    data = b"a,b,c\n1,x,\n1.0,x,NA\n2,x,\n1,y,\n 1 ,x,\n"
    said = "2 rows are the same as rows before, such as rows[0] and rows[1]"
    assert read(data)[0]["warnings"][-1] == said
    swapped = b"a,b\n1,2\n2,1\n"
    assert read(swapped)[0]["warnings"] == []
