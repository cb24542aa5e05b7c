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


def fit_arrays(tensors, task=None, loss=None, **names):
    """Return a recipe of arrays, and what it makes of them."""
    tensors = {name: np.asarray(values) for name, values in tensors.items()}
    entries = [{"name": n, "shape": list(t.shape)} for n, t in tensors.items()]
    rows = len(next(iter(tensors.values())))
    schema = {"kind": "arrays", "rows": rows, "arrays": entries}
    spec = DataSpec(task=task, split=NO_SPLIT, **names)
    recipe, _ = Recipe.fit(tensors, schema, spec, seed=0, loss=loss)
    assert Recipe.from_json(recipe.to_json()) == recipe
    return recipe, recipe.apply(tensors)


@pytest.mark.parametrize("values", [[[0, 2, 1], [1, 1, 0]], [[[0], [2], [1]], [[1], [1], [0]]]])
def test_whole_numbers_by_step_are_classes_of_a_sequence(values):
    recipe, y = fit_array(values)
    assert (recipe.task, recipe.output_shape) == ("classification", (3, 3))
    assert y.tolist() == [[0, 2, 1], [1, 1, 0]]
    assert recipe.fits((3, 3))
    assert not recipe.fits((3,))
    answer = recipe.invert(np.eye(3)[[[2, 0, 1]]] * 5.0)
    assert answer["predictions"] == [[2, 0, 1]]
    np.testing.assert_allclose(np.sum(answer["probabilities"], axis=-1), np.ones((1, 3)))


def test_shares_by_step_keep_their_steps():
    shares = np.full((2, 3, 4), 0.25)
    recipe, y = fit_array(shares, loss="kullback_leibler")
    assert recipe.output_shape == (3, 4)
    assert y.tolist() == shares.tolist()


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2), (2, 3, 2, 2)])
@pytest.mark.parametrize("task", ["regression", "forecast"])
def test_numbers_of_up_to_four_axes_are_learnt_and_come_back_as_nested_lists(shape, task):
    values = np.random.default_rng(0).standard_normal(shape)
    recipe, y = fit_array(values, task=task)
    assert (recipe.task, recipe.loss) == (task, "mean_squared_error")
    assert recipe.output_shape == shape[1:]
    assert recipe.fits(shape[1:])
    assert recipe.fits((*shape[1:], 1))
    assert recipe.invert(y)["predictions"] == values.tolist()
    assert recipe.invert(y[..., None])["predictions"] == values.tolist()


def test_a_forecast_wants_arrays():
    with pytest.raises(SpecError, match="task: forecast learns from arrays of sequences"):
        fit_column([1.0, 2.0], task="forecast")


def test_labels_by_step_are_answered_one_by_one():
    values = np.zeros((2, 3, 2), int)
    recipe, y = fit_array(values, loss="binary_cross_entropy")
    assert recipe.output_shape == (3, 2)
    assert y.shape == (2, 3, 2)
    assert recipe.invert(np.ones((1, 3, 2)))["predictions"] == np.ones((1, 3, 2), int).tolist()


def test_arrays_are_reconstructed_as_they_are():
    images = np.random.default_rng(0).random((4, 3, 2))
    recipe, (x, y) = fit_arrays({"inputs": images, "targets": np.arange(4)}, task="reconstruction")
    assert (recipe.loss, recipe.output_shape) == ("mean_squared_error", (3, 2))
    assert y is x
    assert recipe.target_scale is None
    assert recipe.invert(images)["predictions"] == images.tolist()
    assert (
        fit_arrays({"a": images}, "reconstruction", target="a")[0]
        == fit_arrays({"a": images}, "reconstruction")[0]
    )


def test_a_reconstruction_by_cross_entropy_answers_with_probabilities():
    recipe, _ = fit_arrays(
        {"a": [[0.0, 1.0], [0.5, 0.25]]}, "reconstruction", "binary_cross_entropy"
    )
    wanted = [[0.75, 0.5]]
    got = recipe.invert(np.array([[math.log(3), 0.0]]))["predictions"]
    np.testing.assert_allclose(got, wanted)


def test_a_table_is_reconstructed_as_it_is_encoded():
    tensors = {"a": np.array([1.0, 3.0, np.nan]), "b": np.array([0, 1, -1], np.int32)}
    columns = [
        {"name": "a", "type": "number"},
        {"name": "b", "type": "categorical", "categories": ["x", "y"]},
    ]
    schema = {"kind": "table", "rows": 3, "columns": columns}
    spec = DataSpec(task="reconstruction", split=NO_SPLIT)
    recipe, data = Recipe.fit(tensors, schema, spec, seed=0)
    assert (data.inputs, data.target, data.task) == (["a", "b"], None, "reconstruction")
    assert recipe.rows == {"train": 3, "validation": 0, "test": 0, "dropped": 0}
    x, y = recipe.apply(tensors)
    assert y is x
    assert x.tolist() == [[-1, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert recipe.indices(tensors).train.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("tensors", "names", "loss", "message"),
    [
        ({"a": [[2.0]]}, {}, "binary_cross_entropy", "inputs: must be from 0 to 1 .* got 2.0"),
        ({"a": [[-2.0]]}, {}, "poisson", "inputs: must be counts >= 0 for poisson, got -2.0"),
        ({"a": [[2.0]]}, {}, "hinge", "task: reconstruction does not go with the loss hinge"),
        (
            {"a": [[2.0]], "b": [1]},
            {"inputs": "a", "target": "b"},
            None,
            "target: 'b' cannot be learnt: reconstruction learns its inputs",
        ),
    ],
)
def test_a_reconstruction_that_cannot_be_is_refused(tensors, names, loss, message):
    with pytest.raises(SpecError, match=message):
        fit_arrays(tensors, "reconstruction", loss, **names)


def test_a_column_of_counts_is_not_scaled_and_predictions_are_rates():
    recipe, y = fit_column([0.0, 2.0, 5.0], "integer", loss="poisson")
    assert recipe.task == "regression"
    assert y.tolist() == [[0], [2], [5]]
    assert recipe.target_scale is None
    np.testing.assert_allclose(recipe.invert(np.log([[4.0]]))["predictions"], [4.0])
    with pytest.raises(SpecError, match=r"target: must be counts >= 0 for poisson, got -1\.0"):
        fit_column([0.0, -1.0], loss="poisson")


def test_the_answer_of_a_hinge_has_no_probabilities():
    recipe, y = fit_column(np.array([0, 1, 1], np.int32), "categorical", "hinge", None, "ny")
    assert (recipe.output_shape, y.tolist()) == ((2,), [0, 1, 1])
    answer = {"predictions": ["y", "n"], "classes": ["n", "y"]}
    assert recipe.invert(np.array([[0.0, 1.0], [2.0, 1.0]])) == answer
    assert recipe.fits((1,))
    assert recipe.invert(np.array([[0.5], [-0.5]])) == answer


def test_one_unit_of_a_focal_loss_has_two_probabilities():
    recipe, _ = fit_column(np.array([0, 1, 1], np.int32), "categorical", "focal", None, "ny")
    answer = recipe.invert(np.array([[math.log(3)]]))
    assert answer["predictions"] == ["y"]
    np.testing.assert_allclose(answer["probabilities"], [[0.25, 0.75]])


@pytest.mark.parametrize(
    ("values", "loss", "message"),
    [
        ([0, 1, 2], "kullback_leibler", "has a class in each row, kullback_leibler wants shares"),
        ([[0.5, 0.5]], "focal", "must be one-hot for focal, got 0.5"),
        ([[0.5, 0.6]], "kullback_leibler", "shares of the classes that add up to 1 .* got 1.1"),
        ([-1.0, 2.0], "poisson", "must be counts >= 0 for poisson, got -1.0"),
    ],
)
def test_a_target_that_a_loss_has_no_meaning_for_is_refused(values, loss, message):
    with pytest.raises(SpecError, match=f"target: .*{message}"):
        fit_array(values, loss=loss)


def test_weights_of_the_rows_are_a_column_that_is_no_input():
    tensors = {
        "a": np.array([1.0, 3.0, 5.0]),
        "w": np.array([1.0, 0.5, np.nan]),
        "t": np.array([0.0, 1.0, np.nan]),
    }
    columns = [{"name": name, "type": "number"} for name in tensors]
    schema = {"kind": "table", "rows": 3, "columns": columns}
    spec = DataSpec(target="t", sample_weight="w", split=NO_SPLIT)
    recipe, data = Recipe.fit(tensors, schema, spec, seed=0)
    assert data.inputs == ["a"]
    x, _, weights = recipe.apply(tensors, dtype="float32")
    assert (x.shape, weights.tolist(), weights.dtype) == ((2, 1), [1.0, 0.5], np.float32)
    assert recipe.apply_rows([{"a": 3, "w": 7}]).shape == (1, 1)
    for bad in (-1.0, np.nan, np.inf, 1e39):
        tensors["w"][1] = bad
        with pytest.raises(SpecError, match="sample_weight: 'w' must hold a finite number >= 0"):
            Recipe.fit(tensors, schema, spec, seed=0)
    for nothing in (0.0, 1e-50):
        tensors["w"][:2] = nothing
        with pytest.raises(SpecError, match="sample_weight: 'w' is 0 in all rows to train on"):
            Recipe.fit(tensors, schema, spec, seed=0)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("v", "sample_weight: there is no array 'v'; the arrays are 'x', 't', 'w', 's'"),
        ("t", "sample_weight: 't' is the target or an input"),
        ("w", "sample_weight: array 'w' has 3 rows, 'x' has 2"),
        ("s", r"sample_weight: array 's' must have one number for each row, has \(2, 2\)"),
    ],
)
def test_weights_that_are_none_are_refused(weight, message):
    tensors = {"x": [[1.0], [2.0]], "t": [1.0, 2.0], "w": [1.0, 1.0, 1.0], "s": [[1.0, 1.0]] * 2}
    with pytest.raises(SpecError, match=message):
        fit_arrays(tensors, inputs="x", target="t", sample_weight=weight)


def test_weights_by_label_follow_the_order_of_the_classes():
    recipe, _ = fit_column([0.5, 2.0, 1.0], task="classification")
    assert recipe.class_weights({"2": 3.0, "0.5": 0.0}) == [0.0, 1.0, 3.0]
    with pytest.raises(SpecError, match="class_weights: there is no class '3'"):
        recipe.class_weights({"3": 1.0})
    with pytest.raises(SpecError, match="class_weights: go with classes, the task is regression"):
        fit_column([0.5, 2.0])[0].class_weights({"2": 3.0})
