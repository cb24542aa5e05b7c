"""Targets: what the loss compares with, and the way back to labels and units."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule.errors import DataError, SpecError
from chainrule.recipe import Recipe
from chainrule.spec import DataSpec, SplitSpec

NO_SPLIT = SplitSpec(validation=0.0, test=0.0)


def fit_column(values, kind="number", loss=None, task=None, categories=()):
    """Return a recipe and the y of a table whose target holds these values."""
    tensors = {"a": np.arange(float(len(values))), "t": np.asarray(values)}
    columns = [
        {"name": "a", "type": "number"},
        {"name": "t", "type": kind, "categories": list(categories)},
    ]
    schema = {"kind": "table", "rows": len(values), "columns": columns}
    spec = DataSpec(target="t", task=task, split=NO_SPLIT)
    recipe, _ = Recipe.fit(tensors, schema, spec, seed=0, loss=loss)
    return recipe, recipe.apply(tensors)[1]


def fit_array(values, loss=None, task=None):
    """Return a recipe and the y of an array dataset with this target."""
    tensors = {"x": np.zeros((len(values), 2)), "t": np.asarray(values)}
    entries = [{"name": n, "shape": list(t.shape)} for n, t in tensors.items()]
    schema = {"kind": "arrays", "rows": len(values), "arrays": entries}
    spec = DataSpec(target="t", task=task, split=NO_SPLIT)
    recipe, _ = Recipe.fit(tensors, schema, spec, seed=0, loss=loss)
    return recipe, recipe.apply(tensors)[1]


def test_text_classes_are_numbered_in_sorted_order():
    codes = np.array([2, 0, 2, -1], np.int32)
    recipe, y = fit_column(codes, "categorical", categories=["cat", "cow", "dog"])
    assert (recipe.task, recipe.loss, recipe.output_shape) == (
        "classification",
        "softmax_cross_entropy",
        (2,),
    )
    assert y.tolist() == [1, 0, 1]
    assert y.dtype == np.int64
    answer = recipe.invert(np.array([[0.0, 0.0], [0.0, math.log(3)]]))
    assert answer["classes"] == ["cat", "dog"]
    assert answer["predictions"] == ["cat", "dog"]
    np.testing.assert_allclose(answer["probabilities"], [[0.5, 0.5], [0.25, 0.75]])


def test_classes_of_an_integer_column_come_back_as_integers():
    recipe, y = fit_column([7.0, -3.0, 7.0], "integer", loss="softmax_cross_entropy")
    assert y.tolist() == [1, 0, 1]
    predictions = recipe.invert(np.array([[1.0, 2.0]]))["predictions"]
    assert predictions == [7]
    assert type(predictions[0]) is int


def test_classes_of_a_number_column_come_back_as_floats():
    recipe, _ = fit_column([0.5, 1.0, 0.5], task="classification")
    assert recipe.invert(np.array([[0.0, 1.0]]))["predictions"] == [1.0]
    assert Recipe.from_json(recipe.to_json()).target == recipe.target


def test_an_integer_column_is_a_number_to_learn_unless_the_loss_says_otherwise():
    assert fit_column([1.0, 2.0, 3.0], "integer")[0].task == "regression"


def test_a_class_that_occurs_outside_the_training_part_only_has_an_output_too():
    values = np.zeros(20)
    tensors = {"a": np.arange(20.0), "t": values}
    schema = {
        "kind": "table",
        "rows": 20,
        "columns": [{"name": "a", "type": "number"}, {"name": "t", "type": "integer"}],
    }
    spec = DataSpec(target="t", task="classification")
    values[:] = np.arange(20) % 2
    test = Recipe.fit(tensors, schema, spec, seed=0)[0].indices(tensors).test
    values[test[0]] = 9
    recipe, _ = Recipe.fit(tensors, schema, spec, seed=0)
    assert recipe.output_shape == (3,)
    assert 2 in recipe.apply(tensors, recipe.indices(tensors).test)[1]


def test_a_binary_loss_has_one_output_and_two_probabilities():
    codes = np.array([0, 1, 1], np.int32)
    recipe, y = fit_column(codes, "categorical", "binary_cross_entropy", categories=["no", "yes"])
    assert recipe.output_shape == (1,)
    assert y.tolist() == [[0.0], [1.0], [1.0]]
    answer = recipe.invert(np.array([[math.log(3)], [-math.log(3)], [-800.0]]))
    assert answer["predictions"] == ["yes", "no", "no"]
    np.testing.assert_allclose(answer["probabilities"], [[0.25, 0.75], [0.75, 0.25], [1, 0]])


def test_a_binary_loss_refuses_three_classes():
    with pytest.raises(SpecError, match="target: has 3 classes, binary_cross_entropy wants 2"):
        fit_column([1.0, 2.0, 3.0], loss="binary_cross_entropy")


def test_one_class_is_nothing_to_learn():
    with pytest.raises(SpecError, match=r"target: has one class only \(4\)"):
        fit_column([4.0, 4.0], "integer", task="classification")


def test_too_many_classes_are_counted():
    with pytest.raises(SpecError, match="has 10,001 different values, at most 10,000 classes"):
        fit_column(np.arange(10_001.0), task="classification")


def test_a_regression_target_is_scaled_and_comes_back_in_its_own_units():
    recipe, y = fit_column([10.0, 20.0, 30.0])
    assert recipe.output_shape == (1,)
    mean, std = recipe.target_scale
    assert mean.tolist() == [20.0]
    assert std.tolist() == [pytest.approx(math.sqrt(200 / 3))]
    np.testing.assert_allclose(recipe.invert(y)["predictions"], [10, 20, 30])


def test_huge_targets_are_refused_rather_than_overflowing():
    with pytest.raises(SpecError, match="target: column 't' has numbers too large"):
        fit_column([1.7e308, -1.7e308])


def test_integer_arrays_are_class_numbers():
    recipe, y = fit_array([0, 3, 1])
    assert recipe.output_shape == (4,)
    assert y.tolist() == [0, 3, 1]
    assert recipe.invert(np.eye(4)[[3]])["predictions"] == [3]
    assert fit_array([[0.0], [2.0]], task="classification")[1].tolist() == [0, 2]


def test_an_integer_array_is_fitted_if_the_loss_is_the_squared_error():
    recipe, y = fit_array([[0], [1], [1], [0]], loss="mean_squared_error")
    assert recipe.task == "regression"
    assert recipe.target_scale is None
    assert y.tolist() == [[0], [1], [1], [0]]
    assert recipe.invert(np.array([[0.25]]))["predictions"] == [[0.25]]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([0, -1], {}, "target: must be class numbers from 0 to 9,999, got -1"),
        ([0.5, 1], {"task": "classification"}, "target: must be class numbers .* got 0.5"),
        ([0, 2], {"loss": "binary_cross_entropy"}, "target: must be 0 or 1 .* got 2"),
        ([[1.0, -0.5]], {"task": "classification"}, "target: must be shares .* got -0.5"),
        ([1.0, math.nan], {}, "target: array 't' has values that are not finite"),
    ],
)
def test_an_array_that_the_loss_cannot_take_is_refused(values, options, message):
    with pytest.raises(SpecError, match=message):
        fit_array(values, **options)


def test_one_hot_arrays_are_used_as_they_are():
    recipe, y = fit_array([[0.0, 1.0], [1.0, 0.0]], loss="softmax_cross_entropy")
    assert recipe.output_shape == (2,)
    assert y.tolist() == [[0, 1], [1, 0]]
    assert recipe.invert(np.array([[0.0, 5.0]]))["predictions"] == [1]


def test_several_labels_per_row_are_answered_one_by_one():
    recipe, y = fit_array([[0, 1, 1], [1, 0, 0]], loss="binary_cross_entropy")
    assert recipe.output_shape == (3,)
    assert y.shape == (2, 3)
    answer = recipe.invert(np.array([[-1.0, 2.0, 0.0]]))
    assert answer["predictions"] == [[0, 1, 0]]
    np.testing.assert_allclose(answer["probabilities"][0][2], 0.5)


def test_an_array_of_numbers_keeps_its_width():
    recipe, _ = fit_array([[1.5, 2.5], [3.5, 4.5]])
    assert recipe.output_shape == (2,)
    assert recipe.invert(np.array([[1.0, 2.0]]))["predictions"] == [[1.0, 2.0]]
    assert fit_array([1.5, 2.5])[0].invert(np.array([[1.0]]))["predictions"] == [1.0]


def test_an_output_that_is_not_finite_is_an_error_not_a_prediction():
    recipe, _ = fit_array([0, 1])
    with pytest.raises(DataError) as error:
        recipe.invert(np.array([[0.0, 1.0], [math.nan, 1.0]]))
    assert error.value.problems[0].path == "[1]"
