"""Arguments for the compiled kernels of images: their size is the number of channels."""

from __future__ import annotations

import numpy as np

from chainrule.kernels import DepthwiseScratch
from chainrule.spec.layers.sliding import Windows, slide
from tests.engine.native_cases import Case, normal


def axis_of(size, kernel, stride=1, dilation=1, padding="same"):
    return slide(size, kernel, stride, dilation, padding, "kernel_size")


WINDOWS = {
    "3x3": Windows(axis_of(5, 3), axis_of(6, 3)),
    "2x2 apart": Windows(axis_of(4, 2, 2), axis_of(6, 2, 2)),
    "3x2 by 2x1 valid": Windows(axis_of(7, 3, 2, 1, "valid"), axis_of(5, 2, 1, 1, "valid")),
    "wider than the image": Windows(axis_of(2, 5), axis_of(3, 7)),
    "gaps": Windows(axis_of(7, 2, 3), axis_of(1, 1)),
    "dilated": Windows(axis_of(8, 3, 1, 2), axis_of(7, 2, 1, 3, "valid")),
    "causal": Windows(axis_of(1, 1), axis_of(7, 3, 1, 2, "causal")),
}


def images(rng, windows, channels, dtype):
    shape = (2, windows.rows.size, windows.columns.size, channels)
    return normal(rng, *shape, dtype=dtype)


def pooled(rng, windows, channels, dtype):
    shape = (2, windows.rows.windows, windows.columns.windows, channels)
    return normal(rng, *shape, dtype=dtype)


def columns(rng, windows, channels, dtype):
    rows, columns = windows.rows, windows.columns
    shape = (2, rows.windows, columns.windows, rows.kernel, columns.kernel, channels)
    return normal(rng, *shape, dtype=dtype)


def of_group(x):
    """Return images as one of the groups of channels of wider ones."""
    wide = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)
    part = wide[..., x.shape[-1] : 2 * x.shape[-1]]
    np.copyto(part, x)
    return part


def im2col(windows, *, group=False):
    def draw(rng, size, dtype):
        x = images(rng, windows, size, dtype)
        padded = np.zeros((2, windows.rows.padded, windows.columns.padded, size), dtype)
        given = of_group(x) if group else x
        return [given, windows, np.empty_like(columns(rng, windows, size, dtype)), padded], {}

    return draw


def col2im(windows, *, group=False):
    def draw(rng, size, dtype):
        x = images(rng, windows, size, dtype)
        return [columns(rng, windows, size, dtype), windows, of_group(x) if group else x], {}

    return draw


def max_pool(windows):
    def draw(rng, size, dtype):
        x = np.round(2 * images(rng, windows, size, dtype))  # with equals
        y = pooled(rng, windows, size, dtype)
        return [x, windows, y, np.empty(y.shape, np.uint8)], {}

    return draw


def max_pool_backward(windows):
    def draw(rng, size, dtype):
        dy, taps = pooled(rng, windows, size, dtype), windows.size
        place = rng.integers(0, taps, dy.shape).astype(np.uint8)
        return [dy, windows, place, np.empty_like(images(rng, windows, size, dtype))], {}

    return draw


def avg_pool(windows):
    def draw(rng, size, dtype):
        x = images(rng, windows, size, dtype)
        return [x, windows, np.empty_like(pooled(rng, windows, size, dtype))], {}

    return draw


def avg_pool_backward(windows):
    def draw(rng, size, dtype):
        dy, dx = pooled(rng, windows, size, dtype), images(rng, windows, size, dtype)
        return [dy, windows, dx, np.empty_like(dy)], {}

    return draw


def depthwise_scratch(windows, channels, dtype):
    rows, columns = windows.rows, windows.columns
    copies = np.empty((1, rows.padded, columns.padded, channels, 1), dtype)
    return DepthwiseScratch(
        np.empty((windows.size, columns.windows, channels), dtype),
        np.empty((1, rows.windows, columns.windows, channels), dtype),
        copies if windows.padded_cells else None,
    )


def channel_kernels(rng, windows, channels, dtype):
    return normal(rng, windows.rows.kernel, windows.columns.kernel, channels, 1, dtype=dtype)


def depthwise(windows):
    def draw(rng, size, dtype):
        x, kernel = images(rng, windows, size, dtype), channel_kernels(rng, windows, size, dtype)
        y = np.empty_like(pooled(rng, windows, size, dtype))
        return [x, kernel, windows, y, depthwise_scratch(windows, size, dtype)], {}

    return draw


def depthwise_backward(windows):
    def draw(rng, size, dtype):
        dy, kernel = pooled(rng, windows, size, dtype), channel_kernels(rng, windows, size, dtype)
        dx = np.empty_like(images(rng, windows, size, dtype))
        return [dy, kernel, windows, dx, depthwise_scratch(windows, size, dtype)], {}

    return draw


def depthwise_slope(windows):
    def draw(rng, size, dtype):
        x, dy = images(rng, windows, size, dtype), pooled(rng, windows, size, dtype)
        slope = np.empty_like(channel_kernels(rng, windows, size, dtype))
        return [x, dy, windows, slope, depthwise_scratch(windows, size, dtype)], {}

    return draw


CASES = [
    *(
        Case(name, draw(windows), variety=variety, least=1, own=own, scratch=scratch)
        for variety, windows in WINDOWS.items()
        for name, draw, own, scratch in [
            ("im2col", im2col, 0, (3,)),
            ("col2im", col2im, 0, ()),
            ("max_pool", max_pool, 8, ()),
            ("max_pool_backward", max_pool_backward, 8, ()),
            ("avg_pool", avg_pool, 0, ()),
            ("avg_pool_backward", avg_pool_backward, 0, (3,)),
            ("depthwise", depthwise, 0, ()),
            ("depthwise_backward", depthwise_backward, 0, ()),
            ("depthwise_slope", depthwise_slope, 0, ()),
        ]
    ),
    *(
        Case(
            name,
            draw(WINDOWS[kind], group=True),
            least=1,
            variety=f"{kind} of a group",
            scratch=(3,),
        )
        for kind in ("3x3", "dilated")
        for name, draw in (("im2col", im2col), ("col2im", col2im))
    ),
]
