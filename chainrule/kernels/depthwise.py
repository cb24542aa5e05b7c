"""The loops of depthwise convolutions in plain numpy, a block of images at a time.

Images are (batch, height, width, channels), and ``windows`` says which of their cells each window
covers. A kernel is (kernel rows, kernel columns, channels, multiplier); an output has channels *
multiplier channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array
    from chainrule.spec.layers.sliding import Windows

__all__ = ["DepthwiseScratch", "depthwise", "depthwise_backward", "depthwise_slope"]


class DepthwiseScratch(NamedTuple):
    """What the loops need besides their arrays; its size says how many images they take at once.

    ``tiles``: the kernel for each column of windows, so that products run along memory. ``copies``:
    images with their padding, each channel as often as it has kernels; None where that is no more.
    Shapes: tiles (taps, columns, outputs), tap (rows, window rows, window columns, outputs), copies
    (rows, padded height, padded width, channels, multiplier).
    """

    tiles: Array
    tap: Array
    copies: Array | None


def depthwise(
    x: Array, kernel: Array, windows: Windows, y: Array, scratch: DepthwiseScratch
) -> None:
    """Write each channel's sums over its windows."""
    tiles = _tiled(kernel, scratch)
    _clear(scratch)
    for rows in _blocks(x, scratch):
        images = _copied(x[rows], windows, scratch)
        out, tap = y[rows], scratch.tap[: len(images)]
        out.fill(0.0)
        for place, (out_rows, out_columns), (in_rows, in_columns) in windows.over_padded.taps:
            product = tap[:, out_rows, out_columns]
            np.multiply(images[:, in_rows, in_columns], tiles[place, out_columns], out=product)
            out[:, out_rows, out_columns] += product


def depthwise_backward(
    dy: Array, kernel: Array, windows: Windows, dx: Array, scratch: DepthwiseScratch
) -> None:
    """Write the gradient in the cells."""
    tiles = _tiled(kernel, scratch)
    for rows in _blocks(dx, scratch):
        slopes, tap = dy[rows], scratch.tap[: len(dx[rows])]
        into = dx[rows] if scratch.copies is None else scratch.copies[: len(slopes)]
        into.fill(0.0)
        cells = into.reshape(*into.shape[:3], -1)
        for place, (out_rows, out_columns), (in_rows, in_columns) in windows.over_padded.taps:
            product = tap[:, out_rows, out_columns]
            np.multiply(slopes[:, out_rows, out_columns], tiles[place, out_columns], out=product)
            cells[:, in_rows, in_columns] += product
        if scratch.copies is not None:
            real = _real(into, windows)
            np.copyto(dx[rows], real[..., 0])
            for each in range(1, kernel.shape[-1]):
                dx[rows] += real[..., each]


def depthwise_slope(
    x: Array, dy: Array, windows: Windows, slope: Array, scratch: DepthwiseScratch
) -> None:
    """Write the gradient in the kernel, to an array of the kernel's shape."""
    flat = slope.reshape(windows.size, -1)
    flat.fill(0.0)
    _clear(scratch)
    for rows in _blocks(x, scratch):
        images = _copied(x[rows], windows, scratch)
        slopes, tap = dy[rows], scratch.tap[: len(images)]
        for place, (out_rows, out_columns), (in_rows, in_columns) in windows.over_padded.taps:
            product = tap[:, out_rows, out_columns]
            cells = images[:, in_rows, in_columns]
            np.multiply(cells, slopes[:, out_rows, out_columns], out=product)
            flat[place] += np.add.reduce(np.add.reduce(product, axis=(0, 1)), axis=0)


def _tiled(kernel: Array, scratch: DepthwiseScratch) -> Array:
    tiles = scratch.tiles
    tiles[...] = kernel.reshape(len(tiles), 1, -1)
    return tiles


def _clear(scratch: DepthwiseScratch) -> None:
    """Make the padding zero, where copies leave it."""
    if scratch.copies is not None:
        scratch.copies.fill(0.0)


def _copied(images: Array, windows: Windows, scratch: DepthwiseScratch) -> Array:
    """Return images with their padding, and each channel as often as it has kernels."""
    if scratch.copies is None:
        return images
    into = scratch.copies[: len(images)]
    _real(into, windows)[...] = images[..., None]
    return into.reshape(*into.shape[:3], -1)


def _real(padded: Array, windows: Windows) -> Array:
    """Return the cells that are no padding."""
    top, left = windows.rows.before, windows.columns.before
    return padded[:, top : top + windows.rows.size, left : left + windows.columns.size]


def _blocks(images: Array, scratch: DepthwiseScratch) -> list[slice]:
    size = len(scratch.tap)
    return [slice(start, start + size) for start in range(0, len(images), size)]
