"""Metrics beside scikit-learn's, in one piece and in batches."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from chainrule.losses import LOSSES
from chainrule.metrics import METRICS, Tally


def tally_of(loss, y, target, unit=1.0, batch=7):
    tally = Tally.of(loss, y.shape[1:], unit)
    for start in range(0, len(y), batch):
        rows = slice(start, start + batch)
        tally.add(1.5, y[rows], target[rows], np.empty_like(y[rows]))
    return tally.result()


def test_every_loss_has_metrics():
    assert set(METRICS) == set(LOSSES)


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
