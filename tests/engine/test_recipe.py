"""Recipes: columns to numbers and back, learnt from the training part only."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import CheckpointError, DataError, SpecError
from chainrule.recipe import Recipe
from chainrule.recipe.columns.number import moments
from chainrule.recipe.gathering import Present
from chainrule.recipe.inputs import MAX_WIDTH
from chainrule.spec import DataSpec, PreprocessingSpec, SplitSpec

CITIES = ["Bonn", "Köln", "Ulm"]
NO_SPLIT = SplitSpec(validation=0.0, test=0.0)


def column(name, kind="number", **more):
    return {"name": name, "type": kind, "unique": 3, **more}


def table(**tensors):
    """Return tensors and schema of a table; integer tensors are codes of CITIES."""
    columns = [
        column(name, "categorical", categories=CITIES) if t.dtype.kind == "i" else column(name)
        for name, t in tensors.items()
    ]
    rows = len(next(iter(tensors.values())))
    return tensors, {"kind": "table", "rows": rows, "columns": columns, "warnings": []}


def arrays(**tensors):
    entries = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    return tensors, {"kind": "arrays", "rows": len(tensors["x"]), "arrays": entries, "warnings": []}


def people(rows=50, seed=0):
    rng = np.random.default_rng(seed)
    return table(
        age=rng.normal(40, 9, rows),
        city=rng.integers(0, 3, rows).astype(np.int32),
        pay=rng.normal(3000, 500, rows),
    )


def fit(data, *, seed=0, loss=None, **spec):
    return Recipe.fit(*data, DataSpec(**spec), seed=seed, loss=loss)[0]


def problem(error):
    (found,) = error.value.problems
    return str(found)


def test_numbers_are_standardised_with_the_training_part_alone():
    tensors, schema = people()
    recipe = fit((tensors, schema), target="pay", inputs=["age"])
    train = recipe.indices(tensors).train
    x, y = recipe.apply(tensors, train)
    assert x.mean() == pytest.approx(0, abs=1e-12)
    assert x.std() == pytest.approx(1)
    assert y.mean() == pytest.approx(0, abs=1e-12)
    others = np.setdiff1d(np.arange(50), train)
    tensors["age"][others] += 1000
    tensors["pay"][others] += 1000
    assert fit((tensors, schema), target="pay", inputs=["age"]) == recipe


def test_categories_are_one_hot_in_sorted_order_and_missing_ones_are_zeros():
    data = table(city=np.array([2, 0, -1, 0], np.int32), y=np.arange(4.0))
    x, _ = fit(data, target="y", split=NO_SPLIT).apply(data[0])
    # Ulm, Bonn, missing, Bonn; Köln occurs nowhere and has no feature
    assert x.tolist() == [[0, 1], [1, 0], [0, 0], [1, 0]]


def test_a_category_that_training_never_saw_is_all_zeros():
    recipe = fit(table(city=np.array([0, 2, 0], np.int32), y=np.arange(3.0)), target="y")
    rows = [{"city": "Paris"}, {"city": None}, {"city": ""}]
    assert not recipe.apply_rows(rows).any()


def test_a_missing_number_counts_as_the_mean():
    data = table(a=np.array([1.0, np.nan, 5.0]), y=np.arange(3.0))
    recipe = fit(data, target="y", split=NO_SPLIT)
    assert recipe.apply(data[0])[0][1, 0] == 0
    assert recipe.apply_rows([{"a": None}, {"a": "NA"}, {"a": 3}]).tolist() == [[0], [0], [0]]


def test_a_constant_column_gives_zeros_whatever_rounding_does_to_its_mean():
    data = table(a=np.full(10, 0.1), b=np.arange(10.0), y=np.arange(10.0))
    assert not fit(data, target="y", inputs=["a"]).apply(data[0])[0].any()


@settings(deadline=None)
@given(
    values=st.lists(
        st.floats(-1e100, 1e100) | st.just(math.nan) | st.integers(-9, 9).map(float),
        min_size=4,
        max_size=30,
    ),
    codes=st.integers(0, 2**30),
    seed=st.integers(0, 2**53 - 1),
)
def test_a_recipe_survives_json_and_raw_rows_give_the_bits_of_the_file(values, codes, seed):
    rows = len(values)
    city = np.array([(codes >> i) % 4 - 1 for i in range(rows)], np.int32)
    data = table(a=np.array(values), city=city, y=np.arange(float(rows)))
    recipe = fit(data, target="y", seed=seed)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    x, y = recipe.apply(data[0])
    x_again, y_again = again.apply(data[0])
    assert x.tobytes() == x_again.tobytes()
    assert y.tobytes() == y_again.tobytes()
    raw = [
        {"a": None if math.isnan(value) else value, "city": None if code < 0 else CITIES[code]}
        for value, code in zip(values, city, strict=True)
    ]
    assert again.apply_rows(raw).tobytes() == x.tobytes()
    as_text = [{k: None if v is None else f" {v} " for k, v in row.items()} for row in raw]
    assert again.apply_rows(as_text).tobytes() == x.tobytes()


def test_something_else_than_a_recipe_is_refused():
    with pytest.raises(CheckpointError, match="not a recipe"):
        Recipe.from_json({"version": 1, "task": "classification"})


@settings(deadline=None)
@given(rows=st.integers(3, 200), seed=st.integers(0, 1000))
def test_the_parts_are_a_partition_and_none_with_a_share_is_empty(rows, seed):
    data = table(a=np.arange(float(rows)), y=np.arange(float(rows)))
    recipe = fit(data, target="y", seed=seed)
    split = recipe.indices(data[0])
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert all(len(part) and (np.diff(part) > 0).all() for part in parts)
    assert recipe.rows == {
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "dropped": 0,
    }


def test_the_split_hangs_on_seed_and_number_of_rows_only():
    one, other = people(seed=1)[0], people(seed=2)
    recipe = fit(people(seed=1), target="pay", seed=5)
    assert (
        recipe.indices(one).test == fit(other, target="pay", seed=5).indices(other[0]).test
    ).all()
    assert not np.array_equal(
        recipe.indices(one).test, fit(people(seed=1), target="pay", seed=6).indices(one).test
    )


def test_rows_without_a_target_are_dropped_and_counted():
    data = table(a=np.arange(8.0), y=np.array([1, np.nan, 2, 3, np.nan, 4, 5, 6]))
    recipe = fit(data, target="y")
    assert recipe.rows["dropped"] == 2
    split = recipe.indices(data[0])
    kept = np.concatenate([split.train, split.validation, split.test])
    assert sorted(kept.tolist()) == [0, 2, 3, 5, 6, 7]
    assert len(recipe.apply(data[0])[0]) == 6


def test_too_few_rows_for_the_split_are_counted():
    data = table(a=np.arange(3.0), y=np.array([1, np.nan, 2]))
    with pytest.raises(SpecError) as error:
        fit(data, target="y")
    assert problem(error) == (
        "split: leaves no row to train on: 2 rows with a target (validation 1, test 1)"
    )


def test_a_recipe_of_another_dataset_is_refused():
    recipe = fit(people(50), target="pay")
    with pytest.raises(DataError, match="another dataset"):
        recipe.indices(people(60)[0])


def test_the_request_comes_back_with_everything_decided():
    tensors, schema = people()
    _, data = Recipe.fit(tensors, schema, DataSpec(target="city"), seed=0)
    assert data.render() == {
        "inputs": ["age", "pay"],
        "target": "city",
        "sample_weight": None,
        "task": "classification",
        "window": None,
        "augmentation": [],
        "split": {"kind": "random", "validation": 0.1, "test": 0.1},
        "preprocessing": PreprocessingSpec().render(),
    }


def test_what_is_excluded_is_no_input_and_the_decided_request_says_the_same_again():
    tensors, schema = people()
    asked = DataSpec(target="pay", exclude=["city"])
    recipe, data = Recipe.fit(tensors, schema, asked, seed=0)
    assert (data.render()["inputs"], data.render()["exclude"]) == (["age"], ["city"])
    again, same = Recipe.fit(tensors, schema, DataSpec(**data.render()), seed=0)
    assert (again, same) == (recipe, data)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"target": "citty"},
            "target: there is no column 'citty', did you mean 'city'? the columns are 'age', "
            "'city', 'pay'",
        ),
        ({}, "target: is missing: name the column to learn; the columns are 'age', 'city', 'pay'"),
        (
            {"target": "pay", "inputs": ["age", "size"]},
            "inputs[1]: there is no column 'size'; the columns are 'age', 'city', 'pay'",
        ),
        (
            {"target": "pay", "exclude": ["city", "agee"]},
            "exclude[1]: there is no column 'agee', did you mean 'age'? the columns are 'age', "
            "'city', 'pay'",
        ),
        (
            {"target": "pay", "inputs": ["age", "city"], "exclude": ["city"]},
            "exclude[0]: 'city' is one of the inputs",
        ),
        (
            {"target": "pay", "exclude": ["city", "age"]},
            "inputs: there is no column but the target and what is excluded, 'age', 'city', 'pay'",
        ),
        ({"target": "pay", "inputs": "pay"}, "inputs: 'pay' is the target"),
        ({"target": "pay", "inputs": ["age", "age"]}, "inputs[1]: 'age' is named twice"),
        (
            {"target": "pay", "inputs": []},
            'inputs: must name a column at least; "*" takes all but the target',
        ),
        (
            {"target": "city", "task": "regression"},
            "target: column 'city' holds text, regression wants numbers"
            " (softmax_cross_entropy learns classes)",
        ),
    ],
)
def test_a_request_that_does_not_fit_the_dataset_is_told_where(spec, message):
    with pytest.raises(SpecError) as error:
        fit(people(), **spec)
    assert problem(error) == message


def test_a_loss_that_contradicts_the_task_is_refused():
    with pytest.raises(SpecError) as error:
        fit(people(), target="pay", task="regression", loss="softmax_cross_entropy")
    said = "task: regression does not go with the loss softmax_cross_entropy; it takes mean_squared"
    assert problem(error).startswith(said)


def test_text_with_too_many_values_is_left_out_unless_it_is_named():
    tensors, schema = people()
    schema["columns"].append(column("story", "text"))
    _, data = Recipe.fit(tensors, schema, DataSpec(target="pay"), seed=0)
    assert data.inputs == ["age", "city"]
    with pytest.raises(SpecError, match=r"inputs\[0\]: column 'story' is text"):
        fit((tensors, schema), target="pay", inputs=["story"])


def test_a_one_hot_encoding_that_is_too_wide_names_the_widest_column():
    rows = MAX_WIDTH + 1
    names = [f"n{i:06}" for i in range(rows)]
    tensors = {"id": np.arange(rows, dtype=np.int32), "y": np.arange(float(rows))}
    columns = [column("id", "categorical", categories=names), column("y")]
    schema = {"kind": "table", "rows": rows, "columns": columns}
    with pytest.raises(SpecError) as error:
        fit((tensors, schema), target="y", split=NO_SPLIT)
    assert "take 100,001 features once encoded, at most 100,000" in problem(error)
    assert "'id'" in problem(error)


def test_bad_cells_of_a_prediction_are_all_named():
    recipe = fit(people(), target="pay")
    rows = [
        {"age": 1, "city": "Ulm"},
        {"age": "abc", "city": "Ulm"},
        {"age": 1e999, "city": ["Ulm"]},
        {"age": True, "city": "Ulm", "pay": 3},
    ]
    with pytest.raises(DataError) as error:
        recipe.apply_rows(rows)
    assert [str(p) for p in error.value.problems] == [
        "rows[1].age: must be a number, got 'abc'",
        "rows[2].age: must be a finite number, got inf",
        "rows[3].age: must be a number, got true",
        "rows[2].city: must be text as in the training file, got a list",
    ]


def test_missing_and_unknown_columns_of_a_prediction_are_named_but_the_files_others_are_taken():
    recipe = fit(people(), target="pay", inputs=["age"])
    assert recipe.apply_rows([{"age": 1, "city": "Ulm", "pay": 7}]).shape == (1, 1)
    with pytest.raises(DataError) as error:
        recipe.apply_rows([{"Age": 1}])
    assert [str(p) for p in error.value.problems] == [
        "rows[0].age: is missing (null is allowed)",
        "rows[0].Age: is not a column; the inputs are 'age'",
    ]


def test_a_category_may_come_as_a_number():
    tensors, schema = people()
    schema["columns"][1]["categories"] = ["1", "2.5", "x"]
    recipe = fit((tensors, schema), target="pay", inputs=["city"])
    assert recipe.apply_rows([{"city": 1}, {"city": 2.5}]).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_array_inputs_are_used_as_they_are():
    x = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    data = arrays(x=x, y=np.arange(6.0))
    recipe = fit(data, target="y")
    assert recipe.input_shape == (2, 2)
    assert (recipe.apply(data[0])[0] == x).all()
    assert recipe.apply_inputs(x[:2].tolist()).tolist() == x[:2].tolist()
    assert recipe.apply_inputs(x, "float32").dtype == np.float32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2, 3]], "inputs: must have shape (rows, 2), got (1, 3)"),
        ([[1, 2], [3]], "inputs[1]: has shape (1,), the rows before (2,)"),
        ([[1, 2], [3, "4"]], "inputs[1][1]: must be a number, got '4'"),
        ([[1, 2], [3, None]], "inputs[1][1]: must be a number, got null"),
        ([[1, 2], [3, math.inf]], "inputs[1]: must be finite numbers"),
        ([], "inputs: must have shape (rows, 2), got (0,)"),
        (7, "inputs: must be a list of rows, got 7"),
        ([[1, 2]] * 2 + [[10**400, 1]], "inputs[2][0]: must be a number, got a number of"),
    ],
)
def test_inputs_of_the_wrong_shape_are_told_where(values, message):
    recipe = fit(arrays(x=np.zeros((9, 2)), y=np.arange(9.0)), target="y")
    with pytest.raises(DataError) as error:
        recipe.apply_inputs(values)
    assert problem(error).startswith(message)


def test_rows_for_an_array_model_and_arrays_for_a_table_model_are_refused():
    with pytest.raises(DataError, match="takes arrays of shape"):
        fit(arrays(x=np.zeros((9, 2)), y=np.arange(9.0)), target="y").apply_rows([{}])
    with pytest.raises(DataError, match="takes rows of a table"):
        fit(people(), target="pay").apply_inputs([[1]])


def test_arrays_of_different_length_do_not_go_together():
    with pytest.raises(SpecError, match="array 'y' has 8 rows, 'x' has 9"):
        fit(arrays(x=np.zeros((9, 2)), y=np.arange(8.0)), target="y")


def test_inputs_that_are_not_finite_are_refused():
    x = np.zeros((9, 2))
    x[4, 1] = np.nan
    with pytest.raises(SpecError, match=r"inputs: array 'x' has .* not finite \(row 4\)"):
        fit(arrays(x=x, y=np.arange(9.0)), target="y")


def test_one_of_several_arrays_must_be_chosen():
    data = arrays(x=np.zeros((9, 2)), z=np.zeros((9, 1)), y=np.arange(9.0))
    with pytest.raises(SpecError, match="inputs: one array can go in, name one of 'x', 'z'"):
        fit(data, target="y")
    assert fit(data, target="y", inputs="z").input_shape == (1,)


def test_json_arrays_need_no_names():
    tensors = {"inputs": np.zeros((9, 2)), "targets": np.arange(9)}
    schema = arrays(x=np.zeros((9, 2)))[1]
    schema["arrays"] = [{"name": n, "shape": list(t.shape)} for n, t in tensors.items()]
    recipe, data = Recipe.fit(tensors, schema, DataSpec(), seed=0)
    assert (data.inputs, data.target, recipe.task) == ("inputs", "targets", "classification")


@pytest.mark.parametrize("rows", [7, 2_000_003])
def test_mean_and_deviation_are_those_of_all_training_rows(rows):
    values = np.random.default_rng(0).normal(1e3, 2.0, rows)
    mean, std = moments(Present(values, np.arange(rows))).scale
    if rows < 1000:
        assert (mean, std) == (values.mean(), values.std())
    assert mean == pytest.approx(math.fsum(values) / rows, rel=1e-15)
    assert std == pytest.approx(np.std(values.astype(np.longdouble)).item(), rel=1e-13)


@settings(deadline=None)
@given(
    codes=st.lists(st.integers(-1, 3), max_size=60),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 30)),
    numbers=st.booleans(),
)
def test_present_values_come_in_order_in_whole_blocks(codes, sizes, numbers):
    tensor = np.array(codes, np.int32)
    if numbers:
        tensor = np.where(tensor < 0, np.nan, tensor.astype(np.float64))
    rows = np.arange(0, len(codes), 2, dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.recipe.gathering.BLOCK_ROWS", sizes[0])
        patch.setattr("chainrule.recipe.gathering.PRESENT_ROWS", sizes[1])
        values = Present(tensor, rows).then(lambda some: some + some)
        blocks = [block.copy() for block in values.blocks()]
        whole = values.whole()
    expected = [2 * code for code in codes[::2] if code >= 0]
    assert whole.tolist() == [n for block in blocks for n in block.tolist()] == expected
    before = max(0, len(expected) - 1) // sizes[1]
    assert [len(block) for block in blocks[:-1]] == [sizes[1]] * before


def test_row_numbers_take_four_bytes_each():
    tensors, _ = data = people(1000)
    split = fit(data, target="pay").indices(tensors)
    assert {part.dtype for part in (split.train, split.validation, split.test)} == {np.dtype("i4")}
    everyone = np.concatenate([split.train, split.validation, split.test])
    assert sorted(everyone.tolist()) == list(range(1000))
