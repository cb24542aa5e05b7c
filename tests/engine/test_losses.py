"""Losses beside closed forms, at the extremes, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule.errors import DataError, ShapeError
from chainrule.losses import LOSSES, check_target, infer_loss


def test_mean_squared_error_of_a_worked_example():
    loss, dy = LOSSES["mean_squared_error"](np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]))
    assert loss == 2.5
    assert dy.tolist() == [[1.0, -2.0]]


def test_equal_logits_cost_the_logarithm_of_the_classes():
    loss, dy = LOSSES["softmax_cross_entropy"](np.zeros((2, 8)), np.array([0, 7]))
    assert loss == pytest.approx(math.log(8), rel=1e-15)
    assert dy[0].tolist() == [(1 / 8 - 1) / 2] + [1 / 16] * 7


def test_class_numbers_cost_what_their_one_hot_rows_do():
    rng = np.random.default_rng(0)
    y, classes = rng.standard_normal((5, 4)), np.array([0, 3, 1, 1, 2])
    loss, dy = LOSSES["softmax_cross_entropy"](y, classes)
    other_loss, other_dy = LOSSES["softmax_cross_entropy"](y, np.eye(4)[classes])
    assert loss == pytest.approx(other_loss, rel=1e-14)
    np.testing.assert_allclose(dy, other_dy, rtol=1e-12, atol=1e-16)


def test_a_logit_of_zero_costs_ln_2():
    loss, dy = LOSSES["binary_cross_entropy"](np.zeros((2, 1)), np.array([0.0, 1.0]))
    assert loss == pytest.approx(math.log(2), rel=1e-15)
    assert dy.tolist() == [[0.25], [-0.25]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_neither_overflow_nor_cancel(dtype):
    y = np.array([[1e4], [-1e4], [1e4], [-40.0]], dtype)
    target = np.array([[1.0], [0.0], [0.0], [0.0]], dtype)
    loss, dy = LOSSES["binary_cross_entropy"](y[:2], target[:2])
    assert loss == 0.0
    assert not dy.any()
    assert LOSSES["binary_cross_entropy"](y[2:3], target[2:3])[0] == 1e4
    small = LOSSES["binary_cross_entropy"](y[3:], target[3:])[0]
    assert small == pytest.approx(math.exp(-40), rel=1e-6)
    logits = np.array([[1e4, -1e4, 0.0]], dtype)
    assert LOSSES["softmax_cross_entropy"](logits, np.array([0]))[0] == 0.0
    assert LOSSES["softmax_cross_entropy"](logits, np.array([1]))[0] == 2e4


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_writes_to_the_memory_it_is_given(loss):
    y, out = np.random.default_rng(1).standard_normal((3, 2)), np.empty((3, 2))
    target = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    kept = y.copy(), target.copy()
    weights = np.array([1.0, 2.0, 0.0])
    for more in ({}, {"weights": weights}, {"work": np.empty((3, 2)), "count": 2}):
        assert LOSSES[loss](y, target, out, **more)[1] is out
    assert (y.tobytes(), target.tobytes()) == (kept[0].tobytes(), kept[1].tobytes())


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ("mean_squared_error", np.zeros(3)),
        ("binary_cross_entropy", np.zeros((3, 1))),
        ("softmax_cross_entropy", np.zeros(4, int)),
        ("softmax_cross_entropy", np.zeros((3, 3))),
    ],
)
def test_a_loss_names_itself_when_the_shapes_differ(loss, target):
    with pytest.raises(ShapeError, match=f"{loss} wants targets of shape"):
        LOSSES[loss](np.zeros((3, 2)), target)


@pytest.mark.parametrize(
    ("loss", "shape", "target", "detail"),
    [
        ("softmax_cross_entropy", (3,), np.array([0, 3]), "must be 0 to 2, got 0 to 3"),
        ("softmax_cross_entropy", (3,), np.array([-1, 2]), "must be 0 to 2, got -1 to 2"),
        ("softmax_cross_entropy", (3,), np.array([0.0, 1.0]), "must be integers, got float64"),
        ("softmax_cross_entropy", (2,), np.array([[0.5, 0.6]]), "must add up to 1"),
        ("softmax_cross_entropy", (2,), np.array([[1.5, -0.5]]), "wants probabilities, 0 to 1"),
        ("softmax_cross_entropy", (2,), np.zeros((4, 3)), r"wants \(rows, 2\) or class numbers"),
        ("softmax_cross_entropy", (4, 2), np.zeros((9, 5), int), r"class numbers \(rows, 4\)"),
        ("binary_cross_entropy", (1,), np.array([0, 2]), "0 to 1, got 0 to 2"),
        ("binary_cross_entropy", (1,), np.array([0.0, np.nan]), "wants probabilities"),
        ("binary_cross_entropy", (2,), np.zeros(4), r"wants \(rows, 2\), got \(4,\)"),
        ("mean_squared_error", (2,), np.zeros((4, 3)), r"wants \(rows, 2\), got \(4, 3\)"),
        ("mean_squared_error", (1,), np.array(["a"]), "must be numbers"),
        ("huber", (4, 2), np.zeros((9, 4)), r"huber wants \(rows, 4, 2\), got \(9, 4\)"),
        ("kullback_leibler", (3,), np.array([0, 1]), r"wants \(rows, 3\), got \(2,\)"),
        ("kullback_leibler", (2,), np.array([[0.5, 0.6]]), "must add up to 1"),
        ("poisson", (1,), np.array([1.0, -2.0]), "poisson wants counts >= 0, got -2"),
        ("hinge", (3,), np.array([0, 3]), "must be 0 to 2, got 0 to 3"),
        ("hinge", (1,), np.array([0, 2]), "hinge wants classes as 0 or 1"),
        ("focal", (2,), np.array([[0.5, 0.5]]), "focal wants classes as 0 or 1"),
        ("focal", (2,), np.array([[1, 1]]), "focal wants one 1 in each row"),
    ],
)
def test_targets_that_a_loss_cannot_take_are_refused_with_the_reason(loss, shape, target, detail):
    with pytest.raises(DataError, match=detail) as caught:
        check_target(LOSSES[loss], shape, target)
    assert caught.value.problems[0].path == "target"


def test_a_vector_of_targets_becomes_a_view_of_one_column():
    target = np.arange(4.0)
    checked = check_target(LOSSES["mean_squared_error"], (1,), target)
    assert checked.shape == (4, 1)
    assert np.shares_memory(checked, target)


def test_the_loss_follows_from_the_targets_type():
    assert infer_loss(np.array([1, 2])) == "softmax_cross_entropy"
    assert infer_loss(np.array([1.0, 2.0])) == "mean_squared_error"
