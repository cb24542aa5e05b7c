"""Arguments, of any size, for every compiled kernel but those of images and of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.kernels import ELEMENTWISE

if TYPE_CHECKING:
    from collections.abc import Callable

BOTH = ("float32", "float64")
POWERS = ["elu", "gelu", "sigmoid", "softplus", "swish", "tanh"]


@dataclass(frozen=True)
class Case:
    """One kernel: ``draw(rng, size, dtype)`` returns its arguments and its named arguments.

    ``dtypes`` are those that it takes itself, from size ``own`` on; ``least`` is the least size,
    ``scratch`` the places of arguments whose content afterwards means nothing, ``atol`` what
    numbers near zero may be off by, where they end sums of many in single precision.
    """

    name: str
    draw: Callable[..., tuple[list[Any], dict[str, Any]]]
    dtypes: tuple[str, ...] = BOTH
    least: int = 0
    own: int = 0
    variety: str = ""
    scratch: tuple[int, ...] = ()
    atol: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} {self.variety}".strip()


def normal(rng, *shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def vectors(count, *numbers, **more):
    """Draw vectors, the last two of which are positive, as squares are."""

    def draw(rng, size, dtype):
        drawn = [np.abs(normal(rng, size, dtype=dtype)) for _ in range(count)]
        drawn[0] = normal(rng, size, dtype=dtype)
        return [*drawn, *numbers], more

    return draw


def bias_activation(kind, *, bias, in_place):
    def draw(rng, size, dtype):
        x = 3 * normal(rng, 5, size, dtype=dtype)
        added = normal(rng, size, dtype=dtype) if bias else None
        return [x, added, kind, x if in_place else np.empty_like(x)], {}

    return draw


def activation_backward(kind, *, bias):
    def draw(rng, size, dtype):
        x, dy = 3 * normal(rng, 5, size, dtype=dtype), normal(rng, 5, size, dtype=dtype)
        y = np.empty_like(x)
        with np.errstate(over="ignore"):
            ELEMENTWISE[kind].value(x, y)
        return [kind, x, y, dy, np.empty_like(x), np.empty_like(x[0]) if bias else None], {}

    return draw


def column_sums(*shape):
    def draw(rng, size, dtype):
        kept = shape or (size,)
        return [normal(rng, 300, *kept, dtype=dtype) / 30, np.empty(kept, dtype)], {}

    return draw


def matmul(axis, *, turned=()):
    """Draw matrices of which one axis has the size; those turned are views of their transposes."""

    def draw(rng, size, dtype):
        m, k, n = (
            size if axis == name else some for name, some in zip("mkn", (7, 5, 19), strict=True)
        )
        shapes = [(m, k), (k, n)]
        a, b = (
            normal(rng, *shape[::-1], dtype=dtype).T / 30
            if place in turned
            else normal(rng, *shape, dtype=dtype) / 30
            for place, shape in enumerate(shapes)
        )
        return [a, b, np.empty((m, n), dtype)], {}

    return draw


def softmax(rng, size, dtype):
    x = 5 * normal(rng, 6, size, dtype=dtype)
    x[0, : size // 2] = -np.inf  # as attention masks
    x[1, : size // 2] = -1e9
    return [x, np.empty_like(x)], {}


def softmax_backward(rng, size, dtype):
    y = np.abs(normal(rng, 6, size, dtype=dtype))
    y /= y.sum(axis=-1, keepdims=True)
    return [y, normal(rng, 6, size, dtype=dtype), np.empty_like(y)], {}


def softmax_cross_entropy(rng, size, dtype):
    x = 5 * normal(rng, 6, size, dtype=dtype)
    return [x, rng.integers(0, max(size, 1), 6), np.empty_like(x)], {}


def count_right(rng, size, dtype):
    """Draw numbers of which many are equal, and one row in three has NaN."""
    y = rng.integers(0, 4, (60, size)).astype(dtype)
    y[::3, size // 2] = np.nan
    return [y, rng.integers(0, max(size, 1), 60)], {}


def scales(rng, size, dtype, *, given):
    """Draw a gamma and a beta, or none."""
    drawn = normal(rng, size, dtype=dtype), normal(rng, size, dtype=dtype)
    return drawn if given else (None, None)


def layer_norm(*, given):
    def draw(rng, size, dtype):
        x = normal(rng, 6, size, dtype=dtype)
        gamma, beta = scales(rng, size, dtype, given=given)
        return [x, gamma, beta, 1e-3, np.empty_like(x), *np.empty((2, 6, 1), dtype)], {}

    return draw


def layer_norm_backward(*, given, wanted):
    def draw(rng, size, dtype):
        dy, x = normal(rng, 6, size, dtype=dtype), normal(rng, 6, size, dtype=dtype)
        gamma, _ = scales(rng, size, dtype, given=given)
        mean = x.mean(1, keepdims=True)
        rstd = np.abs(normal(rng, 6, 1, dtype=dtype))
        dx = np.empty_like(x) if wanted else None
        return [dy, x, gamma, mean, rstd, dx, *np.empty((2, size), dtype)], {}

    return draw


def batch_norm_moments(rng, size, dtype):
    x = 1 + normal(rng, 333, size, dtype=dtype)
    return [x, None, *np.empty((2, size), dtype)], {}


def batch_norm(*, given):
    def draw(rng, size, dtype):
        x = normal(rng, 333, size, dtype=dtype)
        mean, rstd = normal(rng, size, dtype=dtype), np.abs(normal(rng, size, dtype=dtype))
        return [x, *scales(rng, size, dtype, given=given), mean, rstd, np.empty_like(x)], {}

    return draw


def batch_norm_backward(*, given, wanted, moments):
    def draw(rng, size, dtype):
        dy, x = normal(rng, 333, size, dtype=dtype) / 30, normal(rng, 333, size, dtype=dtype)
        gamma, _ = scales(rng, size, dtype, given=given)
        mean, rstd = x.mean(0), np.abs(normal(rng, size, dtype=dtype))
        dx = np.empty_like(x) if wanted else None
        more = {"moments": moments, "weights": None}
        return [dy, x, gamma, mean, rstd, dx, *np.empty((2, size), dtype)], more

    return draw


ADAM = {"learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7, "step": 3}
SINGLE = ("float32",)

CASES = [
    Case("sgd", vectors(2, 0.1)),
    Case("momentum", vectors(3, 0.1, 0.9)),
    Case("nesterov", vectors(3, 0.1, 0.9)),
    Case("adam", vectors(4, **ADAM)),
    Case("adam", vectors(4, **ADAM, weight_decay=0.1), variety="decayed"),
    *(
        Case(
            "bias_activation",
            bias_activation(kind, bias=bias, in_place=in_place),
            SINGLE if kind in POWERS else BOTH,
            variety=f"{kind}{' bias' * bias}{' in place' * in_place}",
        )
        for kind in ["linear", "relu", "leaky_relu", *POWERS]
        for bias, in_place in [(True, True), (True, False), (False, False)]
        if not (in_place and ELEMENTWISE[kind].needs_x)
    ),
    *(
        Case(
            "activation_backward",
            activation_backward(kind, bias=bias),
            SINGLE if kind in POWERS else BOTH,
            variety=f"{kind} {'with' if bias else 'without'} bias",
            least=int(bias),
        )
        for kind in ["linear", "relu", "leaky_relu", *POWERS]
        for bias in (True, False)
    ),
    Case("column_sums", column_sums(), least=1),
    Case("column_sums", column_sums(3, 5), variety="of matrices"),
    *(
        Case("matmul", matmul(axis, turned=turned), SINGLE, variety=f"{axis} turned {turned}")
        for axis in "mkn"
        for turned in [(), (0,), (1,)]
    ),
    Case("softmax", softmax, SINGLE, least=1),
    Case("softmax_backward", softmax_backward, SINGLE, least=1),
    Case("softmax_cross_entropy", softmax_cross_entropy, SINGLE, least=1),
    Case("count_right", count_right, SINGLE, least=1),
    *(
        case
        for given in (True, False)
        for case in (
            Case("layer_norm", layer_norm(given=given), variety=f"scaled {given}", least=1),
            Case("batch_norm", batch_norm(given=given), variety=f"scaled {given}"),
        )
    ),
    *(
        Case(
            "layer_norm_backward",
            layer_norm_backward(given=given, wanted=wanted),
            least=1,
            variety=f"scaled {given} dx {wanted}",
        )
        for given, wanted in [(True, True), (False, True), (True, False)]
    ),
    Case("batch_norm_moments", batch_norm_moments),
    *(
        Case(
            "batch_norm_backward",
            batch_norm_backward(given=given, wanted=wanted, moments=moments),
            variety=f"scaled {given} dx {wanted} moments {moments}",
        )
        for given, wanted, moments in [
            (True, True, True),
            (False, True, False),
            (True, False, True),
        ]
    ),
]
