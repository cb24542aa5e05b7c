"""NDJSON and Parquet through the same columns as CSV; dates; and types that the client names."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import random
from datetime import UTC
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import DataError
from chainrule.recipe.values import read_datetime, read_text
from service.parsing import building
from service.parsing.datetimes import parse_datetimes
from tests.table_files import in_blocks, read, read_csv


def parquet(table, **options):
    file = io.BytesIO()
    table.write_parquet(file, **options)
    return file.getvalue()


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def columns(schema):
    return {column["name"]: column for column in schema["columns"]}


TABLE = pl.DataFrame(
    {
        "n": [1, None, 3, 3],
        "x": [0.5, 1.5, None, -2.0],
        "kind": ["b", "a", None, "b"],
    }
)


def test_the_same_table_is_the_same_in_every_format():
    as_csv = read_csv(TABLE.write_csv().encode())
    for format_, data in {
        "tsv": TABLE.write_csv(separator="\t").encode(),
        "ndjson": TABLE.write_ndjson().encode(),
        "parquet": parquet(TABLE),
    }.items():
        schema, tensors = read(data, format_)
        assert schema == as_csv[0], format_
        for name, tensor in as_csv[1].items():
            assert tensors[name].tobytes() == tensor.tobytes(), format_


VALUES = [None, 7, -3, 2.5, 1e300, 1.0, "a", " c ", "NA", "12", "", True, False]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 30), size=st.integers(10, 200))
def test_it_does_not_matter_where_ndjson_is_cut(seed, rows, size):
    rng = random.Random(seed)
    pools = {name: rng.sample(VALUES, rng.randrange(1, 5)) for name in "pqr"}
    keys = [rng.sample("pqr", rng.randrange(4)) for _ in range(rows)]
    data = lines(*({name: rng.choice(pools[name]) for name in some} for some in keys))
    found = []
    for one in (size, 1 << 22):
        with in_blocks(one):
            try:
                schema, tensors = read(data, "ndjson")
                found.append((schema, {k: v.tobytes() for k, v in tensors.items()}))
            except DataError as error:
                found.append(str(error))
    assert found[0] == found[1]


def test_keys_that_come_late_or_not_at_all_are_missing():
    data = lines({"a": 1}, {"b": "x", "a": 2}, {}) + b"\n" + lines({"b": True, "c": 1.0})
    schema, tensors = read(data, "ndjson")
    assert [column["type"] for column in schema["columns"]] == ["integer", "categorical", "number"]
    assert columns(schema)["b"]["categories"] == ["true", "x"]
    np.testing.assert_array_equal(tensors["a"], [1, 2, math.nan, math.nan])
    assert tensors["b"].tolist() == [-1, 1, -1, 0]
    assert schema["warnings"][0] == "blank lines left out: 1"


@pytest.mark.parametrize("ahead", [building._ahead, lambda blocks: iter([*blocks])])
def test_words_of_json_do_not_hang_on_how_far_ahead_they_are_read(monkeypatch, ahead):
    values = [None] * 20 + ["x", "y"] * 9 + [1, 2.5] * 9
    data = lines(*({"n": n, "w": value} for n, value in enumerate(values)))
    monkeypatch.setattr(building, "_ahead", ahead)
    with in_blocks(100):
        schema, _ = read(data, "ndjson")
    assert columns(schema)["w"]["categories"] == ["1", "2.5", "x", "y"]


def test_booleans_are_the_same_words_in_a_file_and_in_a_row():
    schema, tensors = read(lines({"b": True}, {"b": False}, {"b": None}), "ndjson")
    words = [*columns(schema)["b"]["categories"], None]
    assert [words[code] for code in tensors["b"]] == [read_text(c) for c in (True, False, None)]


def test_parquet_types_become_columns():
    when = dt.datetime(2020, 5, 17, 12, 30, tzinfo=UTC)
    table = pl.DataFrame(
        {
            "bool": [True, None, False],
            "day": [dt.date(2020, 5, 17), None, dt.date(1969, 12, 31)],
            "zone": pl.Series([when] * 3).dt.convert_time_zone("Asia/Tokyo"),
            "money": pl.Series([Decimal("1.25"), None, Decimal("-3.50")]),
            "word": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "small": pl.Series([1, 2, None], dtype=pl.UInt8),
            "nothing": [None] * 3,
            "wide": pl.Series([2**63, 5, 6], dtype=pl.UInt64),
            "*": [0.5, float("nan"), 1.5],
        }
    )
    schema, tensors = read(parquet(table), "parquet")
    found = columns(schema)
    assert {name: column["type"] for name, column in found.items()} == {
        "bool": "categorical",
        "day": "datetime",
        "zone": "datetime",
        "money": "number",
        "word": "categorical",
        "small": "integer",
        "nothing": "number",
        "wide": "number",
        "*": "number",
    }
    assert found["bool"]["categories"] == ["false", "true"]
    assert found["zone"]["min"] == "2020-05-17T12:30:00Z"
    assert tensors["zone"].tolist() == [when.timestamp()] * 3
    np.testing.assert_array_equal(tensors["day"], [1589673600, math.nan, -86400])
    np.testing.assert_array_equal(tensors["money"], [1.25, math.nan, -3.5])
    assert found["*"]["missing"] == 1


def test_row_groups_come_in_their_order(monkeypatch):
    from service.parsing import parquet as module

    monkeypatch.setattr(module, "BLOCK_ROWS", 64)
    table = pl.DataFrame({"n": range(1000), "w": [f"w{i % 7}" for i in range(1000)]})
    schema, tensors = read(parquet(table, row_group_size=100), "parquet")
    assert tensors["n"].tolist() == list(range(1000))
    assert tensors["w"].tolist() == [i % 7 for i in range(1000)]
    assert schema["rows"] == 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-02-29", "2020-02-29T00:00:00+00:00"),
        ("2020-02-29 13:45", "2020-02-29T13:45:00+00:00"),
        ("2020-02-29T13:45:10Z", "2020-02-29T13:45:10+00:00"),
        ("1969-12-31T23:59:59.5", "1969-12-31T23:59:59.500000+00:00"),
        ("2020-02-29T13:45:10.123456+02:00", "2020-02-29T13:45:10.123456+02:00"),
        ("2020-02-29 13:45-0930", "2020-02-29T13:45:00-09:30"),
        ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_times_are_those_of_the_standard_library(text, expected):
    wanted = dt.datetime.fromisoformat(expected).timestamp()
    assert parse_datetimes(pl.Series([None, text, "x"])).tolist()[1] == wanted


@settings(deadline=None)
@given(st.datetimes(), st.sampled_from(["T", " "]))
def test_any_moment_is_read_back(moment, separator):
    texts = pl.Series([moment.isoformat(separator), moment.date().isoformat()])
    since = moment.replace(tzinfo=UTC) - dt.datetime(1970, 1, 1, tzinfo=UTC)
    micros = since // dt.timedelta(microseconds=1)
    days = moment.date().toordinal() - dt.date(1970, 1, 1).toordinal()
    assert parse_datetimes(texts).tolist() == [micros / 1_000_000, days * 86400.0]
    assert parse_datetimes(texts).tolist() == [read_datetime(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "2020-13-01",
        "2021-02-29",
        "2020-1-1",
        "2020-01-01T",
        "2020-01-01  12:00",
        "0000-01-01",
        "2020-01-01T24:00",
        "2020-01-01T12:60",
        "2020-01-01T12:00:60",
        "2020-01-01T12:00:00.",
        "2020-01-01Z",
        "2020-01-01T12:00+24:00",
        "2020-01-01T12:00+1",
        "20200101",
        "2020-01-01t12:00",
        "2020-01-01T12:00:00.1234567",
        "٢020-01-01",
        "2020-01-01T12:00:00 Z",
    ],
)
def test_what_is_no_time_is_none(text):
    assert np.isnan(parse_datetimes(pl.Series([text]))[0])


def test_a_column_of_times_has_their_statistics():
    schema, tensors = read_csv(b"t\n2020-01-01\n2020-01-03T12:00:00Z\nNA\n2020-01-01 00:00\n")
    (column,) = schema["columns"]
    assert column["type"] == "datetime"
    assert (column["min"], column["max"]) == ("2020-01-01T00:00:00Z", "2020-01-03T12:00:00Z")
    assert (column["missing"], column["unique"], column["mean"]) == (1, 2, None)
    assert column["std"] == pytest.approx(np.std([0, 0, 216_000.0]))
    assert sum(column["histogram"]["counts"]) == 3
    assert np.isnan(tensors["t"][2])


def test_one_that_is_no_time_among_times_is_located():
    with pytest.raises(
        DataError, match=r"^rows\[9\]\.t: line 11, column 't': 'soon' is not a date"
    ):
        read_csv(b"t\n" + b"2020-01-01\n" * 9 + b"soon\n" + b"2020-01-01\n" * 5)


DATA = b"n,x,w,t\n1,0.5,a,2020-01-01\n2,1.5,b,2020-01-02\n,,,\n"


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ({}, ["integer", "number", "categorical", "datetime"]),
        ({"n": "number"}, ["number", "number", "categorical", "datetime"]),
        ({"n": "categorical", "x": "categorical"}, ["categorical"] * 3 + ["datetime"]),
        ({"w": "text", "t": "text"}, ["integer", "number", "text", "text"]),
        ({"t": "categorical"}, ["integer", "number", "categorical", "categorical"]),
        ({"t": "datetime", "n": "integer"}, ["integer", "number", "categorical", "datetime"]),
    ],
)
def test_the_client_may_say_what_a_column_is(types, expected):
    for size in (8, 1 << 22):
        with in_blocks(size):
            schema, tensors = read_csv(DATA, types)
        assert [column["type"] for column in schema["columns"]] == expected
        names = [c["name"] for c in schema["columns"] if c["type"] != "text"]
        assert sorted(tensors) == sorted(names)
    if types.get("n") == "categorical":
        assert columns(schema)["n"]["categories"] == ["1", "2"]
        assert columns(schema)["x"]["categories"] == ["0.5", "1.5"]


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ({"w": "number"}, "types.w: line 2, column 'w': 'a' is not a number"),
        ({"w": "datetime"}, "types.w: line 2, column 'w': 'a' is not a date or time"),
        ({"n": "datetime"}, "types.n: line 2, column 'n': '1' is not a date or time"),
        ({"x": "integer"}, "types.x: rows[0]: 0.5 is not a whole number"),
        ({"z": "text"}, "types.z: there is no column 'z'; the columns are"),
        ({"x": "float"}, "types.x: must be one of integer, number, categorical"),
    ],
)
def test_a_type_that_a_column_cannot_have_is_located(types, says):
    with pytest.raises(DataError) as error:
        read_csv(DATA, types)
    assert str(error.value).startswith(says)


@pytest.mark.parametrize(
    "kind", ["integer", "number", "categorical", "text", "datetime", "decimal_comma"]
)
def test_a_column_without_values_may_be_said_to_be_anything(kind):
    schema, _ = read_csv(b"x,y\n,1\nNA,2\n", {"x": kind})
    assert "column 'x' has no values" in schema["warnings"]


def test_too_many_words_are_no_categories_even_if_asked_for():
    data = b"t,y\n" + b"".join(b"w%d,1\n" % i for i in range(10_001))
    assert read_csv(data)[0]["columns"][0]["type"] == "text"
    with pytest.raises(DataError, match=r"^types\.t: column 't' has more than 10,000 different"):
        read_csv(data, {"t": "categorical"})


def test_types_of_parquet_and_ndjson_can_be_named_too():
    for format_, data in {
        "ndjson": TABLE.write_ndjson().encode(),
        "parquet": parquet(TABLE),
    }.items():
        schema, _ = read(data, format_, {"n": "categorical", "x": "categorical", "kind": "text"})
        assert columns(schema)["n"]["categories"] == ["1", "3"]
        assert columns(schema)["x"]["categories"] == ["-2.0", "0.5", "1.5"]
        assert columns(schema)["kind"]["type"] == "text"
