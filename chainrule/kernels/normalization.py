"""The loops of batch and layer normalisation in plain numpy, a block of rows at a time.

What a block needs stays in the cache; no array of the input's size is allocated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels.elementwise import ELEMENTWISE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.kernels.elementwise import Array

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_moments",
    "layer_norm",
    "layer_norm_backward",
    "reciprocal_root",
]

_BLOCK = 8192  # elements


def reciprocal_root(variance: Array, epsilon: float, rstd: Array) -> None:
    """Write 1 / sqrt(variance + epsilon)."""
    np.add(variance, epsilon, out=rstd)
    np.sqrt(rstd, out=rstd)
    np.reciprocal(rstd, out=rstd)


def layer_norm(  # noqa: PLR0913, PLR0917  (flat, as a compiled kernel is called)
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    epsilon: float,
    y: Array,
    mean: Array,
    rstd: Array,
) -> None:
    """Write each row, normalised, times gamma plus beta to y, and the rows' moments.

    ``rstd`` gets 1 / sqrt(variance + epsilon), the variance divided by n.
    Shapes: x and y (rows, n), gamma and beta (n,), mean and rstd (rows, 1).
    """
    n = x.shape[1]
    work = _work(x)
    for block, size in _blocks(x):
        out, square, centre, root = y[block], work[:size], mean[block], rstd[block]
        np.add.reduce(x[block], axis=1, keepdims=True, out=centre)
        centre /= n
        np.subtract(x[block], centre, out=out)
        np.multiply(out, out, out=square)
        np.add.reduce(square, axis=1, keepdims=True, out=root)
        root /= n
        root += epsilon
        np.sqrt(root, out=root)
        np.reciprocal(root, out=root)
        out *= root
        if gamma is not None:
            out *= gamma
        if beta is not None:
            out += beta


def layer_norm_backward(  # noqa: PLR0913, PLR0917
    dy: Array,
    x: Array,
    gamma: Array | None,
    mean: Array,
    rstd: Array,
    dx: Array | None,
    dgamma: Array,
    dbeta: Array,
) -> None:
    """Write the gradients in gamma and beta, and in x if it is wanted.

    dx = rstd (g - mean(g) - h mean(g h)), with h the normalised row and g = dy gamma.
    """
    dgamma.fill(0.0)
    dbeta.fill(0.0)
    hat_of, product_of = _work(x), _work(x)
    for block, size in _blocks(x):
        hat, product, slope = hat_of[:size], product_of[:size], dy[block]
        np.subtract(x[block], mean[block], out=hat)
        hat *= rstd[block]
        np.multiply(slope, hat, out=product)
        dgamma += np.add.reduce(product, axis=0)
        dbeta += np.add.reduce(slope, axis=0)
        if dx is None:
            continue
        out = dx[block]
        if gamma is None:
            np.copyto(out, slope)
        else:
            np.multiply(slope, gamma, out=out)
            product *= gamma
        hat *= np.add.reduce(product, axis=1, keepdims=True) / x.shape[1]
        hat += np.add.reduce(out, axis=1, keepdims=True) / x.shape[1]
        out -= hat
        out *= rstd[block]


def batch_norm_moments(x: Array, weights: Array | None, mean: Array, variance: Array) -> None:
    """Write each column's mean and variance, divided by n, over the rows that count.

    Shapes: x (rows, channels), weights (rows,) of booleans, None if all count.
    """
    count = max(len(x) if weights is None else int(np.count_nonzero(weights)), 1)
    ones = np.ones(min(len(x), _rows(x)), x.dtype)
    work = _work(x)
    total = np.zeros(x.shape[1])  # sums of sums of blocks, so that rounding does not pile up
    for block, size in _blocks(x):
        counted = ones[:size] if weights is None else weights[block].astype(x.dtype)
        total += np.matmul(counted, x[block])
    np.divide(total, count, out=mean, casting="same_kind")
    total.fill(0.0)
    for block, size in _blocks(x):
        square = np.subtract(x[block], mean, out=work[:size])
        square *= square
        counted = ones[:size] if weights is None else weights[block].astype(x.dtype)
        total += np.matmul(counted, square)
    np.divide(total, count, out=variance, casting="same_kind")


def batch_norm(  # noqa: PLR0913, PLR0917
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    rstd: Array,
    activation: str,
    y: Array,
) -> None:
    """Write y = f((x - mean) rstd gamma + beta).  Shapes: x and y (rows, channels)."""
    for block, _ in _blocks(x):
        _normalize(x[block], gamma, beta, mean, rstd, y[block])
        if activation != "linear":
            ELEMENTWISE[activation].value(y[block], y[block])


def batch_norm_backward(  # noqa: PLR0913, PLR0917
    dy: Array,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    rstd: Array,
    activation: str,
    dx: Array | None,
    dgamma: Array,
    dbeta: Array,
    *,
    moments: bool,
    weights: Array | None,
) -> None:
    """Write the gradients in gamma and beta, and in x if it is wanted.

    dx = gamma rstd (dz - w / n (dbeta + h dgamma)), with dz the gradient before the activation, h
    the normalised x, and w 1 where a row counts; without the last term where the moments are not
    the batch's own.
    """

    def before_activation(block: slice) -> Array:
        if activation == "linear":
            return dy[block]
        z = _normalize(x[block], gamma, beta, mean, rstd, np.empty_like(x[block]))
        y, dz = np.empty_like(z), np.empty_like(z)
        ELEMENTWISE[activation].value(z, y)
        ELEMENTWISE[activation].slope(z, y, dz)
        dz *= dy[block]
        return dz

    dgamma.fill(0.0)
    dbeta.fill(0.0)
    work = _work(x)
    for block, size in _blocks(x):
        product, dz = np.subtract(x[block], mean, out=work[:size]), before_activation(block)
        product *= dz
        dgamma += np.add.reduce(product, axis=0)
        dbeta += np.add.reduce(dz, axis=0)
    dgamma *= rstd
    if dx is None:
        return
    slope = rstd if gamma is None else rstd * gamma
    count = max(len(x) if weights is None else int(np.count_nonzero(weights)), 1)
    tilt, shift = slope * rstd * dgamma / count, slope * dbeta / count
    for block, size in _blocks(x):
        out = np.multiply(before_activation(block), slope, out=dx[block])
        if moments:
            through = np.subtract(x[block], mean, out=work[:size])
            through *= tilt
            through += shift
            if weights is not None:
                through *= weights[block, None]
            out -= through


def _normalize(  # noqa: PLR0913, PLR0917
    x: Array, gamma: Array | None, beta: Array | None, mean: Array, rstd: Array, out: Array
) -> Array:
    np.subtract(x, mean, out=out)
    out *= rstd if gamma is None else rstd * gamma
    if beta is not None:
        out += beta
    return out


def _rows(x: Array) -> int:
    columns: int = x.shape[1]
    return max(1, _BLOCK // max(columns, 1))


def _work(x: Array) -> Array:
    return np.empty((min(len(x), _rows(x)), x.shape[1]), x.dtype)


def _blocks(x: Array) -> Iterator[tuple[slice, int]]:
    """Yield the rows of each block, and how many they are."""
    rows = _rows(x)
    for start in range(0, len(x), rows):
        stop = min(start + rows, len(x))
        yield slice(start, stop), stop - start
