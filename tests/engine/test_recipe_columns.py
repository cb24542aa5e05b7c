"""Columns as features, option by option: by hand, and by scikit-learn."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import preprocessing as sk

from chainrule.errors import DataError, SpecError
from chainrule.recipe import Recipe
from chainrule.recipe.columns import NumberColumn
from chainrule.recipe.reading import Reader
from chainrule.recipe.values import read_datetime
from chainrule.spec import DataSpec, parse
from tests.tables import parsed

NONE = None
ALL = {"validation": 0.0, "test": 0.0}


def fit(columns, options=None, **more):
    """Return a recipe of columns (the target is row numbers), and tensors."""
    rows = len(next(iter(columns.values())))
    columns = {**columns, "y": list(range(rows))} if "y" not in columns else columns
    tensors, schema = parsed(columns)
    data = {"target": "y", "split": ALL, "preprocessing": options, **more}
    recipe, rendered = Recipe.fit(tensors, schema, parse(DataSpec, data), seed=0)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    once_more, _ = Recipe.fit(tensors, schema, parse(DataSpec, rendered.render()), seed=0)
    assert once_more.inputs == recipe.inputs
    return again, tensors


def features(columns, options=None, **more):
    recipe, tensors = fit(columns, options, **more)
    return recipe.apply(tensors)[0]


def refused(columns, options, **more):
    with pytest.raises(SpecError) as error:
        fit(columns, options, **more)
    (problem,) = error.value.problems
    return str(problem)


NUMBERS = [3.0, -1.0, 10.0, 0.5, 0.5, 7.25]


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("standard", sk.StandardScaler()),
        ("min_max", sk.MinMaxScaler()),
        ("robust", sk.RobustScaler()),
        ("none", sk.FunctionTransformer()),
    ],
)
def test_numbers_are_scaled_as_scikit_learn_does(kind, theirs):
    x = features({"a": NUMBERS}, {"number": {"scaling": kind}})
    np.testing.assert_allclose(x, theirs.fit_transform(np.array(NUMBERS)[:, None]), rtol=1e-14)


def test_a_logarithm_is_standardised_and_goes_on_below_zero():
    x = features({"a": NUMBERS}, {"number": {"scaling": {"kind": "log1p"}}})
    logs = [math.copysign(math.log1p(abs(value)), value) for value in NUMBERS]
    wanted = sk.StandardScaler().fit_transform(np.array(logs)[:, None])
    np.testing.assert_allclose(x, wanted, rtol=1e-13)


@pytest.mark.parametrize(
    ("missing", "fill"),
    [
        ("mean", 20.25 / 6),
        ("median", 1.75),
        ("mode", 0.5),
        ({"kind": "constant", "value": -4}, -4.0),
    ],
)
def test_a_missing_number_is_filled_in_and_may_be_told_of(missing, fill):
    options = {"number": {"missing": missing, "indicator": True, "scaling": "none"}}
    recipe, tensors = fit({"a": [*NUMBERS, None], "b": range(7)}, options)
    x, _ = recipe.apply(tensors)
    # b has no missing value, and so no indicator
    assert x.shape == (7, 3)
    np.testing.assert_allclose(x[:, 0], [*NUMBERS, fill], rtol=1e-15)
    assert x[:, 1].tolist() == [0] * 6 + [1]
    assert (
        recipe.apply_rows([{"a": "NA", "b": 3}, {"a": 1, "b": None}])[0] == [x[6, 0], 1, 3]
    ).all()
    assert (recipe.apply_rows([{"a": 1, "b": None}])[0] == [1, 0, 3 if fill != -4 else -4]).any()


def test_constant_columns_and_columns_without_values_give_zeros():
    for kind in ("standard", "min_max", "robust", "log1p"):
        x = features(
            {"a": [0.1] * 5, "b": [None] * 5, "c": range(5)}, {"number": {"scaling": kind}}
        )
        assert not x[:, :2].any()


def test_rows_without_a_value_are_dropped_where_it_is_needed_and_counted():
    columns = {"a": [1, None, 3, 4, 5, 6], "k": ["x", "y", None, "x", "y", None]}
    columns |= {"y": [1, 2, 3, 4, 5, None]}
    recipe, tensors = fit(columns, {"number": {"missing": "drop"}, "category": {"missing": "drop"}})
    assert recipe.rows == {"train": 3, "validation": 0, "test": 0, "dropped": 3}
    assert recipe.dropped == {"y": 1, "a": 1, "k": 1}
    assert recipe.indices(tensors).train.tolist() == [0, 3, 4]
    # A prediction takes the mean, and no category.
    assert recipe.apply_rows([{"a": None, "k": None}]).tolist() == [[0, 0, 0]]


def test_a_recipe_from_before_there_were_options_still_loads():
    column = NumberColumn.model_validate({"kind": "number", "name": "a", "mean": 3.5, "std": 2.0})
    assert column == NumberColumn(name="a", offset=3.5, scale=2.0, fill=3.5)


WORDS = ["b", "a", None, "c", "b", "b", "a"]


def category(**options):
    return {"category": options}


def test_a_missing_word_may_be_a_category_a_word_or_the_most_frequent_one():
    one_hot = np.array(
        [[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0], [1, 0, 0]]
    )
    x = features({"k": WORDS})
    assert x.tolist() == one_hot.tolist()
    x = features({"k": WORDS}, category(missing="mode"))
    assert x[2].tolist() == [0, 1, 0]
    for missing in ("category", {"kind": "constant", "value": "none"}):
        recipe, tensors = fit({"k": WORDS}, category(missing=missing))
        x = recipe.apply(tensors)[0]
        assert x[2].tolist() == [0, 0, 0, 1]
        assert (np.delete(x, 2, 0)[:, :3] == np.delete(one_hot, 2, 0)).all()
        assert recipe.apply_rows([{"k": None}, {"k": "new"}]).tolist() == [
            [0, 0, 0, 1],
            [0, 0, 0, 0],
        ]
    assert recipe.apply_rows([{"k": "none"}]).tolist() == [[0, 0, 0, 1]]
    x = features({"k": WORDS}, category(missing={"kind": "constant", "value": "c"}))
    assert x[2].tolist() == [0, 0, 1]


def test_rare_categories_share_a_feature_which_unknown_ones_may_take():
    options = category(rare={"min_count": 2})
    recipe, tensors = fit({"k": [*WORDS, "d"]}, options)
    x = recipe.apply(tensors)[0]
    # a and b are frequent; c and d are not
    assert x[[0, 1, 3, 7]].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert recipe.apply_rows([{"k": "new"}, {"k": "d"}]).tolist() == [[0, 0, 0], [0, 0, 1]]
    recipe, _ = fit({"k": [*WORDS, "d"]}, category(rare={"min_share": 0.25}, unknown="bucket"))
    assert recipe.apply_rows([{"k": w} for w in ("new", "d", None, "b")]).tolist() == [
        [0, 0, 1],
        [0, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
    ]
    # Nothing is rare: there is no feature that no training row has.
    recipe, _ = fit({"k": WORDS}, category(rare={"min_count": 1}, unknown="bucket"))
    assert recipe.apply_rows([{"k": "new"}]).tolist() == [[0, 0, 0]]


def test_ordinal_categories_are_one_number_in_their_order():
    columns = {"k": ["mid", "low", None, "high", "mid"]}
    x = features(columns, category(encoding="ordinal"))
    np.testing.assert_allclose(x[:, 0], [1, 2 / 3, 0, 1 / 3, 1])
    order = {"kind": "ordinal", "order": ["low", "mid", "high", "top"]}
    recipe, tensors = fit(columns, category(encoding=order))
    assert recipe.apply(tensors)[0][:, 0].tolist() == [0.5, 0.25, 0, 0.75, 0.5]
    assert recipe.apply_rows([{"k": "top"}, {"k": "new"}]).tolist() == [[1], [0]]
    said = refused(columns, category(encoding={**order, "order": ["low", "high", "top"]}))
    assert said == "preprocessing.category.encoding.order: leaves out 'mid'"
    numbers = {"kind": "category", "encoding": {"kind": "ordinal", "order": ["3", "1", "2"]}}
    x = features({"n": [1, 2, 3, None]}, {"columns": {"n": numbers}})
    np.testing.assert_allclose(x[:, 0], [2 / 3, 1, 1 / 3, 0])


def test_hashed_words_fall_into_the_bucket_of_their_hash():
    recipe, tensors = fit({"k": WORDS}, category(encoding={"kind": "hash", "buckets": 5}))
    x = recipe.apply(tensors)[0]
    for word, row in zip(WORDS, x, strict=True):
        if word is None:
            assert not row.any()
        else:
            digest = hashlib.sha256(word.encode()).digest()
            assert row.tolist() == np.eye(5)[int.from_bytes(digest[:8], "little") % 5].tolist()
    assert recipe.apply_rows([{"k": "never seen"}]).sum() == 1
    mode = category(encoding={"kind": "hash", "buckets": 5}, missing="mode")
    x = features({"k": WORDS}, mode)
    assert (x[2] == x[0]).all()
    said = refused(
        {"k": WORDS},
        {
            "columns": {"k": {"kind": "category", "encoding": "hash"}},
            **category(rare={"min_count": 2}),
        },
    )
    assert said.startswith("preprocessing.columns.k: rare does not go with the encoding hash")


def test_numbers_may_be_categories_and_cells_are_read_as_the_file_was():
    recipe, tensors = fit({"zip": [53111, 1067, None, 53111]}, {"columns": {"zip": "category"}})
    x = recipe.apply(tensors)[0]
    assert x.tolist() == [[0, 1], [1, 0], [0, 0], [0, 1]]
    rows = [{"zip": cell} for cell in ("01067", 1067, "1067.0", " 53111 ", 7, "?")]
    assert recipe.apply_rows(rows).tolist() == [[1, 0]] * 3 + [[0, 1], [0, 0], [0, 0]]
    with pytest.raises(DataError, match=r"rows\[0\].zip: must be a number, got 'Bonn'"):
        recipe.apply_rows([{"zip": "Bonn"}])
    assert recipe.inputs.columns[0].categories == ["1067", "53111"]


@pytest.mark.parametrize("seven", ["7", "7.0"])
def test_a_number_is_a_category_by_its_text_however_it_comes(seven):
    recipe, tensors = fit({"size": [seven, "0.5", "large"]})
    small, number, _ = recipe.apply(tensors)[0][[1, 0, 2]].tolist()
    rows = [{"size": cell} for cell in (0.5, 7, 7.0)]
    assert recipe.apply_rows(rows).tolist() == [small, number, number]
    for cells in ([0.5, 7.0], [7, 7]):
        others, schema = parsed({"size": cells})
        found = Reader(recipe, schema, others).read(others, 0, 2, "float64")
        assert found.tolist() == [small if cell == 0.5 else number for cell in cells]


def test_words_may_be_numbers_if_they_all_are():
    tensors = {"a": np.array([1, 0, -1], np.int32), "y": np.arange(3.0)}
    words = ["1.5", "30"]
    columns = [{"name": "a", "type": "categorical", "categories": words, "unique": 2}]
    schema = {"kind": "table", "rows": 3, "columns": [*columns, {"name": "y", "type": "number"}]}
    options = {"number": {"scaling": "none"}, "columns": {"a": "number"}}
    data = parse(DataSpec, {"target": "y", "split": ALL, "preprocessing": options})
    recipe, _ = Recipe.fit(tensors, schema, data, seed=0)
    assert recipe.apply(tensors)[0].tolist() == [[30], [1.5], [15.75]]
    assert recipe.apply_rows([{"a": "2"}]).tolist() == [[2]]
    words[1] = "many"
    with pytest.raises(SpecError) as error:
        Recipe.fit(tensors, schema, data, seed=0)
    assert str(error.value) == (
        "preprocessing.columns.a.kind: column 'a' is text: each value must be a number, got 'many'"
    )


TIMES = [
    "2024-02-29T23:15",
    "2023-12-31 08:00:30",
    None,
    "2024-07-01T08:00:00Z",
    "2024-02-29T23:15",
]


def test_the_parts_of_a_time_come_round():
    recipe, tensors = fit({"t": TIMES})
    (column,) = recipe.inputs.columns
    assert column.parts == ["year", "month", "day", "weekday", "hour", "minute"]
    x = recipe.apply(tensors)[0]
    years = np.array([2024, 2023, 2024, 2024])
    there = [0, 1, 3, 4]
    np.testing.assert_allclose(x[there, 0], (years - years.mean()) / years.std())
    for start, value, period in ((1, 1, 12), (3, 28, 31), (5, 3, 7), (7, 23, 24), (9, 15, 60)):
        angle = 2 * math.pi * value / period  # of the first: February 29th, a Thursday, 23:15
        np.testing.assert_allclose(x[0, start : start + 2], [math.sin(angle), math.cos(angle)])
    assert not x[2].any()


def test_the_parts_of_a_time_may_be_categories_and_only_those_that_vary_are_there():
    options = {"datetime": {"parts": ["weekday", "hour"], "cyclic": False, "indicator": True}}
    x = features({"t": ["2024-01-01", "2024-01-03", None, "2024-01-07"]}, options)
    wanted = np.zeros((4, 8))
    wanted[0, 0] = wanted[1, 2] = wanted[3, 6] = wanted[2, 7] = 1
    assert x.tolist() == wanted.tolist()


def test_a_missing_time_may_be_filled_in():
    days = ["2024-01-01", "2024-03-01", None, "2024-02-01"]
    for missing in ("median", {"kind": "constant", "value": "2024-02-01"}):
        x = features({"t": days}, {"datetime": {"missing": missing}})
        assert (x[2] == x[3]).all()
    bad = {"datetime": {"missing": {"kind": "constant", "value": "soon"}}}
    assert refused({"t": days}, bad).startswith(
        "preprocessing.datetime.missing.value: must be a da"
    )
    recipe, _ = fit({"t": days}, {"datetime": {"missing": "drop"}})
    assert recipe.dropped == {"t": 1}


def test_numbers_may_be_times():
    seconds = [read_datetime(day) for day in ("2024-01-01", "2024-06-01", "2025-01-01")]
    x = features({"t": [*seconds, 1e300]}, {"columns": {"t": "datetime"}})
    assert (x[:3] == features({"t": ["2024-01-01", "2024-06-01", "2025-01-01", None]})[:3]).all()
    assert not x[3].any()


@given(st.datetimes(), st.integers(-1439, 1439))
def test_a_time_is_read_as_python_reads_it(when, zone):
    seconds = read_datetime(when.isoformat())
    whole = when.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (whole.days * 86400 + whole.seconds) * 10**6 + whole.microseconds
    assert seconds == float(Fraction(microseconds, 10**6))
    sign = "-" if zone < 0 else "+"
    shifted = f"{when.isoformat(' ')}{sign}{abs(zone) // 60:02}:{abs(zone) % 60:02}"
    assert read_datetime(shifted) == float(Fraction(microseconds - zone * 60 * 10**6, 10**6))


@pytest.mark.parametrize(
    "text",
    [
        *("2023-02-29", "2024-1-1", "2024-01-01T24:00", "2024-01-01T12", "2024-01-01T12:60", "1e3"),
        *("2024-01-01  12:00", "2024-01-01T12:00:00.1234567", "0000-01-01", "2024-01-01Z", "12:00"),
        *("2024-01-01T12:00+24:00", "2024-01-01T12:00:60", "٢٠٢٤-01-01", 20240101, True, []),
    ],
)
def test_what_is_no_date_is_refused(text):
    with pytest.raises(DataError, match="must be a date such as 2024-05-31"):
        read_datetime(text)


def test_missing_dates_are_missing_and_zones_may_be_written_short():
    assert all(math.isnan(read_datetime(cell)) for cell in (None, "", "NA", " null "))
    assert read_datetime("1970-01-02T01:00+0100") == 86400.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": {"b": "number"}},
            "columns.b: there is no such column; the inputs are 'a', 'k'",
        ),
        ({"columns": {"y": "number"}}, "columns.y: is no input; the inputs are 'a', 'k'"),
        (
            {"columns": {"k": "number"}},
            "columns.k.kind: column 'k' is text: each value must be a num",
        ),
        (
            {"columns": {"k": "datetime"}},
            "columns.k.kind: column 'k' is text: each value must be a d",
        ),
        (
            {"columns": {"k": {"kind": "category", "unknown": "bucket"}}},
            "columns.k: unknown takes the bucket of the rare categories: say which are rare",
        ),
    ],
)
def test_options_that_do_not_fit_the_table_are_told_where(options, message):
    said = refused({"a": [1, 2, 3], "k": ["p", "q", "r"]}, options)
    assert said.startswith(f"preprocessing.{message}")


def test_options_of_one_column_leave_the_others_and_come_back_whole():
    options = {
        "number": {"scaling": "min_max"},
        "columns": {"b": {"kind": "number", "missing": "mode"}},
    }
    tensors, schema = parsed({"a": [1, 2, 3], "b": [1, 1, 3], "y": [1, 2, 3]})
    spec = parse(DataSpec, {"target": "y", "split": ALL, "preprocessing": options})
    recipe, rendered = Recipe.fit(tensors, schema, spec, seed=0)
    assert recipe.apply(tensors)[0].tolist() == [[0, 0], [0.5, 0], [1, 1]]
    assert rendered.render()["preprocessing"]["columns"] == {
        "b": {
            "kind": "number",
            "missing": {"kind": "mode"},
            "indicator": False,
            "scaling": {"kind": "min_max"},
        }
    }
