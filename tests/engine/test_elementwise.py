"""The activations beside their definitions, over the whole range of floating-point numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.kernels import REFERENCE, compiled
from chainrule.kernels.elementwise import ELEMENTWISE, erfc
from chainrule.spec.layers import ACTIVATIONS

FORMULAS = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x)),
    "tanh": math.tanh,
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "swish": lambda x: x * FORMULAS["sigmoid"](x),
}


def apply(name, x):
    y, d = np.empty_like(x), np.empty_like(x)
    with np.errstate(over="ignore"):
        ELEMENTWISE[name].value(x, y)
        ELEMENTWISE[name].slope(x, y, d)
    return y, d


def test_the_table_has_every_activation_but_softmax():
    assert {*ELEMENTWISE, "softmax"} == set(ACTIVATIONS) == {*FORMULAS, "softmax"}


@pytest.mark.parametrize("name", FORMULAS)
def test_values_agree_with_the_formula_to_float64_rounding(name):
    x = np.concatenate([np.linspace(-30, 30, 20001), [0.0, 1e-12, -1e-12, 1e-300, 5e-324]])
    wanted = np.array([FORMULAS[name](v) for v in x.tolist()])
    # In its far tail erfc grows the rounding of its argument by x squared.
    rtol = 2e-13 if name == "gelu" else 2e-14
    np.testing.assert_allclose(apply(name, x)[0], wanted, rtol=rtol, atol=1e-300)


@pytest.mark.parametrize("name", FORMULAS)
def test_slopes_agree_with_central_differences_of_the_formula(name):
    x = np.concatenate([np.linspace(-12, 12, 996), np.linspace(-1e-3, 1e-3, 20)])  # no kink at 0
    e = 1e-6
    wanted = np.array([(FORMULAS[name](v + e) - FORMULAS[name](v - e)) / (2 * e) for v in x])
    np.testing.assert_allclose(apply(name, x)[1], wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_columns_of_a_matrix_are_written_in_place(name, dtype, width):
    """A gate's block of a recurrent layer: memory that is not contiguous."""
    matrix = np.random.default_rng(0).standard_normal((9, 4 * width)).astype(dtype)
    y, d = np.zeros_like(matrix), np.zeros_like(matrix)
    block = slice(2 * width, 3 * width)
    ELEMENTWISE[name].value(matrix[:, block], y[:, block])
    ELEMENTWISE[name].slope(matrix[:, block], y[:, block], d[:, block])
    wanted = apply(name, matrix[:, block].copy())
    np.testing.assert_allclose(y[:, block], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(d[:, block], wanted[1], rtol=1e-6)
    assert not y[:, : 2 * width].any()
    assert not d[:, 3 * width :].any()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes_stay_finite(name, dtype):
    x = np.array([-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30], dtype)
    y, d = apply(name, x)
    assert np.isfinite(y).all()
    assert np.isfinite(d).all()
    assert y.dtype == d.dtype == x.dtype


@pytest.mark.parametrize("variant", [None, *compiled.variants()])
def test_the_slope_of_swish_is_1_for_large_numbers(variant):
    x = np.array([1e2, 1e7, 2.0**24 + 2, 3e7, 1e30] * 5, np.float32)
    y, dx = np.empty_like(x), np.empty_like(x)
    bound = REFERENCE if variant is None else compiled.bind(variant, REFERENCE)
    bound["bias_activation"](x, None, "swish", y)
    bound["activation_backward"]("swish", x, y, np.ones_like(x), dx, None)
    assert (y == x).all()
    assert (dx == 1).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_a_function_that_needs_only_its_output_may_work_in_place(name):
    x = np.random.default_rng(0).standard_normal(20_000)
    y, d = apply(name, x)
    if ELEMENTWISE[name].needs_x:
        return
    own, slope = x.copy(), np.empty_like(x)
    ELEMENTWISE[name].value(own, own)
    ELEMENTWISE[name].slope(own, own, slope)
    assert own.tobytes() == y.tobytes()
    assert slope.tobytes() == d.tobytes()


@given(st.floats(-26, 26))
def test_erfc_agrees_with_the_c_library(x):
    got = float(erfc(np.array([x]))[0])
    assert math.isclose(got, math.erfc(x), rel_tol=4e-15, abs_tol=1e-300)


def test_erfc_of_infinities_and_nan():
    got = erfc(np.array([-np.inf, np.inf, np.nan]))
    assert got[0] == 2.0
    assert got[1] == 0.0
    assert np.isnan(got[2])
