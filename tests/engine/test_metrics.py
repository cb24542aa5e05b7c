"""Metrics beside scikit-learn's, in one piece and in batches."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from chainrule.losses import LOSSES
from chainrule.metrics import Tallies, Tally

DIFFERENCES = ["cosine_similarity", "huber", "mean_absolute_error", "mean_squared_error", "poisson"]


def tally_of(loss, y, target, unit=1.0, *, batch=7, mask=None):
    tally = Tally(LOSSES[loss].metric(y.shape[-1]), y.shape[-1], unit)
    for start in range(0, len(y), batch):
        rows = slice(start, start + batch)
        part = None if mask is None else mask[rows]
        tally.add(1.5, y[rows], target[rows], np.empty_like(y[rows]), part)
    return tally.result()


@pytest.mark.parametrize("loss", LOSSES)
def test_numbers_are_measured_by_their_differences_and_classes_by_hits(loss):
    y = np.zeros((4, 3))
    target = LOSSES[loss].draw(y.shape, np.random.default_rng(0))
    wanted = {"mse", "mae", "r2"} if loss in DIFFERENCES else {"accuracy"}
    assert set(tally_of(loss, y, target)) == {"loss", *wanted}


@pytest.mark.parametrize("loss", ["hinge", "focal"])
def test_one_unit_for_two_classes_is_right_above_zero(loss):
    y, target = np.array([[0.1], [-0.1], [2.0], [3.0]]), np.array([[1.0], [0.0], [0.0], [1.0]])
    assert tally_of(loss, y, target)["accuracy"] == 0.75


def test_counts_are_measured_as_rates_not_as_their_logarithms():
    rng = np.random.default_rng(3)
    target = rng.poisson(3.0, (30, 2)).astype(float)
    y = rng.standard_normal((30, 2))
    got = tally_of("poisson", y, target)
    assert got["mse"] == pytest.approx(theirs.mean_squared_error(target, np.exp(y)), rel=1e-12)
    assert got["r2"] == pytest.approx(theirs.r2_score(target, np.exp(y)), rel=1e-9)


def test_every_step_of_a_sequence_and_pixel_of_an_image_counts():
    rng = np.random.default_rng(4)
    y, target = rng.standard_normal((9, 5, 4)), rng.integers(0, 4, (9, 5))
    wanted = theirs.accuracy_score(target.ravel(), y.argmax(-1).ravel())
    assert tally_of("softmax_cross_entropy", y, target)["accuracy"] == wanted
    y, image = rng.standard_normal((9, 3, 4, 2)), rng.standard_normal((9, 3, 4, 2))
    got = tally_of("mean_squared_error", y, image)
    flat = image.reshape(-1, 2), y.reshape(-1, 2)
    assert got["mae"] == pytest.approx(theirs.mean_absolute_error(*flat), rel=1e-12)
    assert got["r2"] == pytest.approx(theirs.r2_score(*flat), rel=1e-9)


def test_steps_that_a_mask_leaves_out_count_in_no_metric():
    rng = np.random.default_rng(5)
    y, target = rng.standard_normal((9, 5, 4)), rng.integers(0, 4, (9, 5))
    mask = rng.random((9, 5)) < 0.6
    wanted = theirs.accuracy_score(target[mask], y.argmax(-1)[mask])
    assert tally_of("softmax_cross_entropy", y, target, mask=mask)["accuracy"] == wanted
    nothing = tally_of("softmax_cross_entropy", y, target, mask=np.zeros((9, 5), bool))
    assert nothing == {"loss": 0.0, "accuracy": 0.0}


def test_several_outputs_have_their_names_before_their_metrics_and_a_weighted_total():
    parts = {name: Tally(LOSSES["hinge"].metric(2), 2) for name in ("a", "b")}
    tallies = Tallies(parts, {"a": 1.0, "b": 0.5})
    y = np.array([[1.0, 0.0]])
    for name, loss, right in (("a", 3.0, 0), ("b", 4.0, 1)):
        parts[name].add(loss, y, np.array([right]), np.empty_like(y))
    assert tallies.result() == {
        "loss": 5.0,
        "a.loss": 3.0,
        "a.accuracy": 1.0,
        "b.loss": 4.0,
        "b.accuracy": 0.0,
    }
    tallies.clear()
    assert not parts["b"].sums.any()


@pytest.mark.parametrize("columns", [1, 3])
def test_regression_metrics_are_scikit_learns_in_the_targets_own_unit(columns):
    rng = np.random.default_rng(0)
    target = rng.standard_normal((40, columns))
    y = target + 0.4 * rng.standard_normal((40, columns))
    mean, std = rng.standard_normal(columns) * 100, rng.uniform(1, 50, columns)
    got = tally_of("mean_squared_error", y, target, std)
    truth, predicted = target * std + mean, y * std + mean
    assert got["mse"] == pytest.approx(theirs.mean_squared_error(truth, predicted), rel=1e-10)
    assert got["mae"] == pytest.approx(theirs.mean_absolute_error(truth, predicted), rel=1e-10)
    assert got["r2"] == pytest.approx(theirs.r2_score(truth, predicted), rel=1e-9)
    assert got["loss"] == 1.5


@pytest.mark.parametrize("mean", [1e4, -1e5])
@pytest.mark.parametrize("columns", [1, 3])
def test_r2_in_float32_is_scikit_learns_far_from_zero(columns, mean):
    rng = np.random.default_rng(1)
    target = (mean + rng.standard_normal((1000, columns))).astype(np.float32)
    y = (target + 0.5 * rng.standard_normal((1000, columns))).astype(np.float32)
    truth, predicted = target.astype(np.float64), y.astype(np.float64)
    wanted = theirs.r2_score(truth, predicted)
    assert tally_of("mean_squared_error", y, target)["r2"] == pytest.approx(wanted, rel=1e-4)


def test_r2_of_a_constant_target_is_1_when_fitted_exactly_and_0_otherwise():
    ones = np.ones((5, 1))
    assert tally_of("mean_squared_error", ones, ones)["r2"] == theirs.r2_score(ones, ones) == 1
    off = ones + 0.1
    assert tally_of("mean_squared_error", off, ones)["r2"] == theirs.r2_score(ones, off) == 0


def test_accuracy_is_scikit_learns_for_class_numbers_and_probabilities():
    rng = np.random.default_rng(1)
    y, target = rng.standard_normal((50, 4)), rng.integers(0, 4, 50)
    wanted = theirs.accuracy_score(target, y.argmax(1))
    assert tally_of("softmax_cross_entropy", y, target)["accuracy"] == wanted
    assert tally_of("softmax_cross_entropy", y, np.eye(4)[target])["accuracy"] == wanted


def test_binary_accuracy_is_scikit_learns():
    rng = np.random.default_rng(2)
    y, target = rng.standard_normal((50, 1)), rng.integers(0, 2, (50, 1)).astype(float)
    wanted = theirs.accuracy_score(target[:, 0], y[:, 0] > 0)
    assert tally_of("binary_cross_entropy", y, target)["accuracy"] == wanted
