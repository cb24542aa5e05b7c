"""Products of matrices: of sizes around every block's edge, and what their bits hang on."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.kernels import compiled
from tests.engine.test_native_kernels import every_variant, strict

pytestmark = pytest.mark.skipif(not compiled.variants(), reason="there are no compiled kernels")

# Rows, depth, columns: of one row and of several blocks, of panels that are fetched ahead, and of a
# left matrix whose columns lie pages apart, if it is turned, or whose rows do, if it is not.
SIZES = [
    (1, 700, 1100),
    (13, 513, 65),
    (130, 512, 600),
    (1024, 259, 130),
    (500, 1, 33),
    (501, 1024, 130),
]


def product(variant, a, b):
    out = np.full((len(a), b.shape[1]), 7, np.float32)
    strict(variant)["matmul"](a, b, out)
    return out


def draw(m, k, n):
    rng = np.random.default_rng(m + k + n)
    return (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))


@every_variant
@pytest.mark.parametrize("size", SIZES)
def test_a_product_is_right_to_single_precision(size, variant):
    a, b = draw(*size)
    wanted = a.astype(np.float64) @ b
    np.testing.assert_allclose(product(variant, a, b), wanted, rtol=1e-5, atol=1e-4)


@every_variant
@pytest.mark.parametrize("size", SIZES)
def test_the_bits_do_not_hang_on_how_the_matrices_lie(size, variant):
    a, b = draw(*size)
    whole = product(variant, a, b).tobytes()
    turned = [np.asfortranarray(matrix) for matrix in (a, b)]
    assert product(variant, turned[0], b).tobytes() == whole
    assert product(variant, a, turned[1]).tobytes() == whole
    assert product(variant, *turned).tobytes() == whole


@every_variant
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 5, 12, 47])
def test_a_row_and_a_column_have_the_same_bits_among_few_and_many(count, size, variant):
    """What a network predicts for a row must not hang on the batch that it is in."""
    a, b = draw(*size)
    whole = product(variant, a, b)
    assert product(variant, a[:count], b).tobytes() == whole[:count].tobytes()
    assert product(variant, a, b[:, :count]).tobytes() == whole[:, :count].tobytes()


@every_variant
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_finite_number_reaches_its_row_and_its_column_alone(value, variant):
    a, b = np.ones((15, 300), np.float32), np.ones((300, 35), np.float32)
    a[14, 299] = b[0, 34] = value
    out = product(variant, a, b)
    assert (out[:14, :34] == 300).all()
    assert not np.isfinite(out[14]).any()
    assert not np.isfinite(out[:, 34]).any()


@every_variant
def test_no_depth_makes_zeros(variant):
    a, b = np.ones((14, 0), np.float32), np.ones((0, 40), np.float32)
    assert (product(variant, a, b) == 0).all()
    assert (product(variant, a[:1], b) == 0).all()
