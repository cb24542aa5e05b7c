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
    "1x1 apart": Windows(axis_of(5, 1, 2), axis_of(7, 1, 3)),
    "4x4 by 2": Windows(axis_of(9, 4, 2), axis_of(14, 4, 2)),
    "causal": Windows(axis_of(1, 1), axis_of(7, 3, 1, 2, "causal")),
}
MANY = {"many": Windows(axis_of(17, 3), axis_of(19, 3))}  # more than one block


def images(rng, windows, channels, dtype):
    shape = (2, windows.rows.size, windows.columns.size, channels)
    return normal(rng, *shape, dtype=dtype)


def pooled(rng, windows, channels, dtype):
    shape = (2, windows.rows.windows, windows.columns.windows, channels)
    return normal(rng, *shape, dtype=dtype)


def few_channels(size):
    return 3, size, 1


def few_filters(size):
    return size, 2, 1


def in_groups(size):
    return size, 6, 3


def whole_vectors(size):
    return 16 * (size % 2 + 1), 16 * (size % 3 + 1), 1


def convolved(rng, windows, sizes, dtype):
    """Return images, a kernel, what comes out of each window, and the work of a convolution.

    Kernels and what comes out are so small that sums of their products with images are below 1.
    """
    channels, filters, groups = sizes
    x = images(rng, windows, channels * groups, dtype)
    kernel = normal(rng, windows.rows.kernel, windows.columns.kernel, *sizes[:2], dtype=dtype)
    work = np.empty(windows.work(channels, filters, groups), dtype)
    y = pooled(rng, windows, filters, dtype)
    return x, kernel / (8 * kernel.size**0.5), y / (8 * windows.count**0.5), work


def convolve(windows, sizes):
    def draw(rng, size, dtype):
        x, kernel, y, work = convolved(rng, windows, sizes(size), dtype)
        return [x, kernel, windows, np.empty_like(y), work], {}

    return draw


def convolve_input_gradient(windows, sizes):
    def draw(rng, size, dtype):
        x, kernel, dy, work = convolved(rng, windows, sizes(size), dtype)
        return [dy, kernel, windows, np.empty_like(x), work], {}

    return draw


def convolve_kernel_gradient(windows, sizes):
    def draw(rng, size, dtype):
        x, kernel, dy, work = convolved(rng, windows, sizes(size), dtype)
        return [x, dy, windows, np.empty_like(kernel), work], {}

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
            draw.__name__,
            draw(windows, sizes),
            dtypes=("float32",),
            least=1,
            variety=f"{variety}, {sizes.__name__}",
            scratch=(4,),
        )
        for variety, windows in (WINDOWS | MANY).items()
        for sizes in (few_channels, few_filters, in_groups, whole_vectors)
        for draw in (convolve, convolve_input_gradient, convolve_kernel_gradient)
    ),
]
