"""The elementwise activations: one table of a function and its slope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ELEMENTWISE", "Array", "Elementwise", "erfc"]

Array = NDArray[Any]

LEAKY_SLOPE = 0.2  # Keras 3's activation "leaky_relu"; its LeakyReLU layer has 0.3
_BLOCK = 8192  # elements: temporaries of this size stay in the cache and off the allocator's maps


@dataclass(frozen=True)
class Elementwise:
    """A function ``value(x, y)`` writing f(x) to y, and ``slope(x, y, d)`` writing f'(x) to d.

    Where the slope follows from y alone, y may share x's memory; ``needs_x`` says where not.
    """

    value: Callable[[Array, Array], None]
    slope: Callable[[Array, Array, Array], None]
    needs_x: bool = False


def erfc(x: Array) -> Array:
    """Return the complementary error function, to within a few roundings of x's precision.

    Source: W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23
    (1969); coefficients of his CALERF (Netlib specfun).
    """
    magnitude = np.minimum(np.abs(x), 30.0)  # beyond, erfc is 0 or 2 in float64
    tail = _erfcx_middle(magnitude)
    large = magnitude > 4.0
    if large.any():
        tail[large] = _erfcx_large(magnitude[large])
    # exp(-x^2), the square cut in two so that its rounding is not grown.
    high = np.trunc(magnitude * 16.0) / 16.0
    tail *= np.exp(-high * high)
    tail *= np.exp((high - magnitude) * (high + magnitude))
    far = np.where(x < 0, 2.0 - tail, tail)
    near = np.clip(x, -0.46875, 0.46875)
    return np.where(near == x, 1.0 - _erf_small(near), far)


def _ratio(x: Array, top: Sequence[float], bottom: Sequence[float]) -> Array:
    """Evaluate a ratio of polynomials, coefficients from the highest power, by Horner's rule."""
    return np.divide(over := _polynomial(x, top), _polynomial(x, bottom), out=over)


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value *= x
        value += coefficient
    return value


# fmt: off
def _erf_small(x: Array) -> Array:
    return x * _ratio(
        x * x,
        (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
         3.77485237685302021e2, 3.20937758913846947e3),
        (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
         2.84423683343917062e3),
    )


def _erfcx_middle(x: Array) -> Array:
    return _ratio(
        x,
        (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
         6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
         1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
        (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
         1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
         3.43936767414372164e3, 1.23033935480374942e3),
    )


def _erfcx_large(x: Array) -> Array:
    inverse = 1.0 / (x * x)
    correction = inverse * _ratio(
        inverse,
        (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
         1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
        (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
         6.05183413124413191e-2, 2.33520497626869185e-3),
    )
    return (1.0 / math.sqrt(math.pi) - correction) / x
# fmt: on


def _blockwise(function: Callable[..., Array]) -> Callable[..., None]:
    """Write ``function(*inputs)`` to the last array, a block at a time: temporaries stay small."""

    def apply(*arrays: Array) -> None:
        if all(array.flags.c_contiguous for array in arrays):  # else a copy would be written to
            arrays = tuple(array.reshape(-1) for array in arrays)
        *inputs, out = arrays
        size = max(1, _BLOCK * len(out) // max(out.size, 1))
        for start in range(0, len(out), size):
            block = slice(start, start + size)
            out[block] = function(*(array[block] for array in inputs))

    return apply


def _linear(x: Array, y: Array) -> None:
    if y is not x:
        np.copyto(y, x)


def _linear_slope(x: Array, y: Array, d: Array) -> None:
    d.fill(1.0)


def _relu(x: Array, y: Array) -> None:
    np.maximum(x, 0.0, out=y)


def _relu_slope(x: Array, y: Array, d: Array) -> None:
    np.greater(y, 0.0, out=d)


def _leaky_relu(x: Array, y: Array) -> None:
    _blockwise(lambda x: np.maximum(x, LEAKY_SLOPE * x))(x, y)


def _leaky_relu_slope(x: Array, y: Array, d: Array) -> None:
    np.greater(y, 0.0, out=d)
    d *= 1.0 - LEAKY_SLOPE
    d += LEAKY_SLOPE


def _elu(x: Array, y: Array) -> None:
    # expm1(x) >= x, and expm1(0) = 0: the greater of the two is the right branch on either side.
    _blockwise(lambda x: np.maximum(x, np.expm1(np.minimum(x, 0.0))))(x, y)


def _elu_slope(x: Array, y: Array, d: Array) -> None:
    np.minimum(y, 0.0, out=d)
    d += 1.0


def _sigmoid(x: Array, y: Array) -> None:
    np.multiply(x, -1.0, out=y)  # np.negative errs for some strides (numpy 2.4)
    with np.errstate(over="ignore"):
        np.exp(y, out=y)  # inf at the far left, whose reciprocal is the right 0
    y += 1.0
    np.reciprocal(y, out=y)


def _sigmoid_slope(x: Array, y: Array, d: Array) -> None:
    np.subtract(1.0, y, out=d)
    d *= y


def _tanh(x: Array, y: Array) -> None:
    np.tanh(x, out=y)


def _tanh_slope(x: Array, y: Array, d: Array) -> None:
    np.multiply(y, y, out=d)
    np.subtract(1.0, d, out=d)


def _softplus(x: Array, y: Array) -> None:
    _blockwise(lambda x: np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))(x, y)


def _softplus_slope(x: Array, y: Array, d: Array) -> None:
    np.multiply(y, -1.0, out=d)  # sigmoid(x) = 1 - exp(-softplus(x))
    np.expm1(d, out=d)
    d *= -1.0


def _swish(x: Array, y: Array) -> None:
    _sigmoid(x, y)
    y *= x


def _swish_slope(x: Array, y: Array, d: Array) -> None:
    _sigmoid(x, d)
    _blockwise(lambda y, d: d + y * (1.0 - d))(y, d, d)  # d may be x; 1 - y may have lost the 1


_gelu = _blockwise(lambda x: 0.5 * x * erfc(x * -math.sqrt(0.5)))


def _normal_slope(x: Array, y: Array) -> Array:
    """Return the slope of x Phi(x), with Phi(x) = y / x: erfc, the dear part, is done already."""
    phi = np.full_like(x, 0.5)
    np.divide(y, x, out=phi, where=np.abs(x) > 1e-30)
    return phi + x * np.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))


ELEMENTWISE: dict[str, Elementwise] = {
    "linear": Elementwise(_linear, _linear_slope),
    "relu": Elementwise(_relu, _relu_slope),
    "leaky_relu": Elementwise(_leaky_relu, _leaky_relu_slope),
    "elu": Elementwise(_elu, _elu_slope),
    "gelu": Elementwise(_gelu, _blockwise(_normal_slope), needs_x=True),
    "sigmoid": Elementwise(_sigmoid, _sigmoid_slope),
    "tanh": Elementwise(_tanh, _tanh_slope),
    "softplus": Elementwise(_softplus, _softplus_slope),
    "swish": Elementwise(_swish, _swish_slope, needs_x=True),
}
