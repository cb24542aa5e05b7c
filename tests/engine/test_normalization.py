"""Batch and layer normalisation beyond the table of cases: blocks of rows, precision, errors."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import kernels
from chainrule.errors import SpecError
from chainrule.network import Network
from chainrule.tape import Tape
from tests.engine.engine_cases import layer, norm


def network(shape, *layers, dtype="float64"):
    return Network({"input": {"shape": list(shape)}, "layers": list(layers)}, 3, dtype)


def test_the_moments_of_many_rows_are_those_of_double_precision():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((30_000, 5)) + 100.0).astype(np.float32)
    weights = rng.random(30_000) < 0.7
    for counted, kept in ((None, x), (weights, x[weights])):
        mean, variance = np.empty(5, np.float32), np.empty(5, np.float32)
        kernels.batch_norm_moments(x, counted, mean, variance)
        exact = kept.astype(np.float64)
        np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_a_batch_of_several_blocks_is_normalised_as_one(kind):
    net = network((50, 20), norm(kind))
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, 30, 50, 20))
    gamma, beta = (net.parameters[f"{kind}_1.{name}"] for name in ("gamma", "beta"))
    tape = net.tape(training=True)
    tape.begin(1)
    y, backward = net.forward(x, tape, inputs=True)
    axes = (0, 1) if kind == "batch_norm" else (-1,)
    centred = x - x.mean(axis=axes, keepdims=True)
    root = np.sqrt((centred**2).mean(axis=axes, keepdims=True) + 0.001)
    hat = centred / root
    np.testing.assert_allclose(y, hat * gamma + beta, rtol=1e-11, atol=1e-12)
    dx = backward(dy)
    np.testing.assert_allclose(tape.gradient(gamma).view, (dy * hat).sum(axis=(0, 1)), rtol=1e-10)
    np.testing.assert_allclose(tape.gradient(beta).view, dy.sum(axis=(0, 1)), rtol=1e-10)
    slope = dy * gamma
    through = slope.mean(axis=axes, keepdims=True)
    through = through + hat * (slope * hat).mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(dx, (slope - through) / root, rtol=1e-9, atol=1e-11)


def test_statistics_move_to_the_biased_moments_of_a_batch_when_they_are_told_to():
    net = network((3,), layer("batch_norm", momentum=0.9))
    x = np.random.default_rng(2).standard_normal((8, 3)) * 2 + 1
    tape = net.tape(training=True)
    tape.begin(1)
    net.forward(x, tape)
    assert net.states["batch_norm_1.moving_mean"].tolist() == [0.0] * 3
    assert net.states["batch_norm_1.moving_variance"].tolist() == [1.0] * 3
    tape.apply_moves()
    moved = 0.1 * x.mean(axis=0), 0.9 + 0.1 * x.var(axis=0)
    np.testing.assert_allclose(net.states["batch_norm_1.moving_mean"], moved[0], rtol=1e-12)
    np.testing.assert_allclose(net.states["batch_norm_1.moving_variance"], moved[1], rtol=1e-12)


def test_padded_steps_do_not_count_in_the_moments():
    net = network((4, 2), layer("batch_norm", momentum=0.0))
    one = net.layers[0]
    rng = np.random.default_rng(3)
    x, mask = rng.standard_normal((5, 4, 2)), rng.random((5, 4)) < 0.6
    tape = Tape(training=True, dtype="float64")
    tape.begin(1)
    tape.mask = mask
    y, _ = one.forward(x, tape)
    tape.apply_moves()
    counted = x[mask]
    np.testing.assert_allclose(net.states["batch_norm_1.moving_mean"], counted.mean(axis=0))
    np.testing.assert_allclose(net.states["batch_norm_1.moving_variance"], counted.var(axis=0))
    wanted = (x - counted.mean(axis=0)) / np.sqrt(counted.var(axis=0) + 0.001)
    np.testing.assert_allclose(y, wanted, rtol=1e-10, atol=1e-12)
    tape.begin(2)
    tape.mask = np.zeros((5, 4), bool)
    assert np.isfinite(one.forward(x, tape)[0]).all()


def test_a_constant_column_and_a_single_row_stay_finite():
    for kind in ("batch_norm", "layer_norm"):
        net = network((3,), layer(kind), dtype="float32")
        _, found = net.gradients(
            np.full((1, 3), 7.0), np.ones((1, 3)), loss="mean_squared_error", training=True
        )
        assert all(np.isfinite(gradient).all() for gradient in found.values())


def test_a_bias_that_batch_norm_takes_out_again_passes_the_gradient_check():
    layers = [layer("dense", units=4), norm("batch_norm"), layer("dense", units=2)]
    spec = {"input": {"shape": [3]}, "layers": layers}
    assert max(chainrule.check_gradients(spec).values()) < 1e-6


@pytest.mark.parametrize("axis", [0, 3, [1], [-2], [], [-1, -1], [0, 1, 2]])
def test_layer_norm_takes_only_the_last_axes(axis):
    with pytest.raises(SpecError, match=r"layers\[0\]\.axis"):
        network((4, 5), layer("layer_norm", axis=axis))


@pytest.mark.parametrize(("axis", "shape"), [(-1, (5,)), (2, (5,)), ([2, 1], (4, 5)), ([-1], (5,))])
def test_layer_norm_counts_axes_as_keras_does(axis, shape):
    net = network((4, 5), layer("layer_norm", axis=axis))
    assert net.parameters["layer_norm_1.gamma"].shape == shape


def test_batch_norm_says_which_settings_it_takes():
    for fields in ({"axis": 1}, {"epsilon": 0.0}, {"momentum": 1.0}, {"momentum": -0.1}):
        (name,) = fields
        with pytest.raises(SpecError, match=rf"layers\[0\]\.{name}"):
            network((4, 5), layer("batch_norm", **fields))
