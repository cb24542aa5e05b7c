"""Arguments, of any size, for every compiled kernel but those of images and of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
    ``most`` one beyond which nothing new comes, only more of it; ``scratch`` the places of
    arguments whose content afterwards means nothing, ``atol`` what numbers near zero may be off
    by, where they end sums of many in single precision.
    """

    name: str
    draw: Callable[..., tuple[list[Any], dict[str, Any]]]
    dtypes: tuple[str, ...] = BOTH
    least: int = 0
    most: int = 1000
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


def elementwise(rng, size, dtype):
    a, b = normal(rng, 5, size, dtype=dtype), normal(rng, 5, size, dtype=dtype)
    return [a, b, np.empty_like(a)], {}


def by_number(rng, size, dtype):
    return [normal(rng, 5, size, dtype=dtype), 0.7, np.empty((5, size), dtype)], {}


def copy(rng, size, dtype):
    return [normal(rng, size, 3, dtype=dtype), np.empty((5, size, 3), dtype)], {}


def fill(rng, size, dtype):
    return [np.empty((5, size), dtype), 0.1], {}


def middle_sums(rng, size, dtype):
    return [normal(rng, 3, 50, size, dtype=dtype) / 30, np.empty((3, size), dtype)], {}


def add_errors(rng, size, dtype, *, turned):
    shape = (size, 3) if turned else (40, size)
    y, target = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    sums = np.abs(rng.standard_normal(1 + 4 * shape[1]))
    return [y, target, np.empty_like(y), sums], {}


def matmul(axis, *, turned=(), stacked=False):
    """Draw matrices of which one axis has the size; those turned are views of their transposes.

    Those of a stack lie in each other, row by row, as the heads of an attention do.
    """

    def matrices(rng, rows, columns, dtype):
        if stacked:
            return normal(rng, 2, rows, 3, columns, dtype=dtype).transpose(0, 2, 1, 3) / 30
        return normal(rng, rows, columns, dtype=dtype) / 30

    def draw(rng, size, dtype):
        m, k, n = (
            size if axis == name else some for name, some in zip("mkn", (7, 5, 19), strict=True)
        )
        a, b = (
            matrices(rng, *shape[::-1], dtype).swapaxes(-1, -2)
            if place in turned
            else matrices(rng, *shape, dtype)
            for place, shape in enumerate([(m, k), (k, n)])
        )
        return [a, b, matrices(rng, m, n, dtype)], {}

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
    return [x, rng.integers(0, max(size, 1), 6), np.empty_like(x), np.zeros(())], {}


def of_target(distribution):
    """Return a drawer for a loss of numbers of either sign and what they should be."""

    def draw(rng, size, dtype):
        y, target = 5 * normal(rng, 6, size, dtype=dtype), distribution(rng, size).astype(dtype)
        return [y, target, np.empty_like(y), np.zeros(())], {}

    return draw


def accumulate(rng, size, dtype):
    return [np.array(rng.random()), size, rng.random(2)], {}


def count_agreeing(rng, size, dtype):
    y = normal(rng, 6, size, dtype=dtype)
    y[:, ::3] = 0.0
    y[:, 1::5] = np.nan
    target = rng.integers(0, 3, (6, size)) / 2
    return [y, target.astype(dtype), rng.random(2)], {}


def gather(rng, size, dtype):
    values = normal(rng, 50, 2, size, dtype=dtype)
    rows = rng.integers(0, 50, 9)
    return [values, rows, np.empty((9, 2, size), dtype)], {}


def cast(kind):
    def draw(rng, size, dtype):
        x = rng.integers(0, 255, (3, size)).astype(kind)
        return [x / 7 if kind == "f8" else x, np.empty((3, size), dtype)], {}

    return draw


def count_right(rng, size, dtype):
    """Draw numbers of which many are equal, and one row in three has NaN."""
    y = rng.integers(0, 4, (60, size)).astype(dtype)
    y[::3, size // 2] = np.nan
    return [y, rng.integers(0, max(size, 1), 60), rng.random(2)], {}


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


def batch_norm(*, given, activation):
    def draw(rng, size, dtype):
        x = normal(rng, 333, size, dtype=dtype)
        mean, rstd = normal(rng, size, dtype=dtype), np.abs(normal(rng, size, dtype=dtype))
        gamma, beta = scales(rng, size, dtype, given=given)
        return [x, gamma, beta, mean, rstd, activation, np.empty_like(x)], {}

    return draw


def batch_norm_backward(*, given, wanted, moments, activation):
    def draw(rng, size, dtype):
        dy, x = normal(rng, 333, size, dtype=dtype) / 30, normal(rng, 333, size, dtype=dtype)
        gamma, beta = scales(rng, size, dtype, given=given)
        mean, rstd = x.mean(0), np.abs(normal(rng, size, dtype=dtype))
        dx = np.empty_like(x) if wanted else None
        more = {"moments": moments, "weights": None}
        sums = np.empty((2, size), dtype)
        return [dy, x, gamma, beta, mean, rstd, activation, dx, *sums], more

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
            "bias_activation_slope",
            bias_activation(kind, bias=bias, in_place=False),
            SINGLE if kind in POWERS else BOTH,
            variety=f"{kind}{' bias' * bias}",
        )
        for kind in ["linear", "relu", "leaky_relu", *POWERS]
        for bias in (True, False)
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
    Case("middle_sums", middle_sums, least=1),
    Case("add", elementwise),
    Case("multiply", elementwise),
    Case("multiply", by_number, variety="by a number"),
    Case("copy", copy),
    Case("fill", fill),
    *(
        Case("add_errors", partial(add_errors, turned=turned), scratch=(2,), variety=wide)
        for turned, wide in [(False, "columns"), (True, "rows")]
    ),
    *(
        Case(
            "matmul",
            matmul(axis, turned=turned, stacked=stacked),
            SINGLE,
            variety=f"{axis} turned {turned}{' stacked' * stacked}",
        )
        for axis in "mkn"
        for turned in [(), (0,), (1,)]
        for stacked in (False, True)
    ),
    Case("softmax", softmax, SINGLE, least=1),
    Case("softmax_backward", softmax_backward, SINGLE, least=1),
    Case("softmax_cross_entropy", softmax_cross_entropy, SINGLE, least=1),
    Case("count_right", count_right, SINGLE, least=1),
    Case("count_agreeing", count_agreeing, SINGLE),
    Case("accumulate", accumulate),
    Case(
        "binary_cross_entropy",
        of_target(lambda rng, size: rng.random((6, size))),
        SINGLE,
        least=1,
    ),
    Case(
        "mean_squared_error",
        of_target(lambda rng, size: rng.standard_normal((6, size))),
        least=1,
    ),
    Case("gather", gather, least=1),
    *(Case("cast", cast(kind), SINGLE, variety=f"from {kind}") for kind in ("f8", "u1")),
    *(
        case
        for given, activation in [(True, "relu"), (False, "linear")]
        for case in (
            Case("layer_norm", layer_norm(given=given), variety=f"scaled {given}", least=1),
            Case(
                "batch_norm",
                batch_norm(given=given, activation=activation),
                variety=f"scaled {given} {activation}",
            ),
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
            batch_norm_backward(given=given, wanted=wanted, moments=moments, activation=activation),
            variety=f"scaled {given} dx {wanted} moments {moments} {activation}",
        )
        for given, wanted, moments, activation in [
            (True, True, True, "linear"),
            (True, True, True, "leaky_relu"),
            (False, True, False, "relu"),
            (True, False, True, "relu"),
        ]
    ),
]
