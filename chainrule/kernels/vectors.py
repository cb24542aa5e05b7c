"""Passes over flat vectors, a block at a time: what is done to gradients and weights as a whole."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array

__all__ = ["add_penalty", "average", "blocks", "norm", "scratch", "swap"]

# Elements of one block of a pass: bounds the scratch, and costs nothing measurable.
_BLOCK = 65536
_SCRATCHES = 2
_own = threading.local()


def blocks(vector: Array) -> list[slice]:
    """Return the slices of a vector, one after the other, that fit into the scratch memory."""
    if vector.size <= _BLOCK:
        return [slice(0, vector.size)]
    return [
        slice(start, min(start + _BLOCK, vector.size)) for start in range(0, vector.size, _BLOCK)
    ]


def scratch(vector: Array, number: int = 0) -> Array:
    """Return one of this thread's two blocks of scratch memory, in a vector's precision."""
    try:
        views: list[Array] = _own.scratch[vector.dtype]
    except AttributeError:
        memory = [np.empty(_BLOCK, np.float64) for _ in range(_SCRATCHES)]
        _own.scratch = {
            np.dtype(kind): [each.view(kind) for each in memory] for kind in ("f4", "f8")
        }
        views = _own.scratch[vector.dtype]
    return views[number]


def norm(vector: Array) -> float:
    """Return the Euclidean norm; what is finite in float32 has one that is finite."""
    total = sum(float(np.dot(part, part)) for part in _parts(vector))
    if not math.isfinite(total) and vector.dtype != np.float64:
        total, wide = 0.0, scratch(np.empty(0, np.float64))
        for part in _parts(vector):
            own = wide[: part.size]
            np.copyto(own, part)
            total += float(np.dot(own, own))
    return math.sqrt(total)


def add_penalty(parameters: Array, gradients: Array, l1: float, l2: float) -> None:
    """Add the gradient of l1 sum(|p|) + l2 sum(p^2), which is 0 for the first where p is."""
    memory = scratch(parameters)
    for block in blocks(parameters):
        p, g, change = parameters[block], gradients[block], memory[: block.stop - block.start]
        if l1:
            np.sign(p, out=change)
            change *= l1
            g += change
        if l2:
            np.multiply(p, 2.0 * l2, out=change)
            g += change


def average(mean: Array, vector: Array, momentum: float) -> None:
    """Move a mean toward a vector: mean = momentum mean + (1 - momentum) vector."""
    memory = scratch(vector)
    for block in blocks(vector):
        own, change = mean[block], memory[: block.stop - block.start]
        own *= momentum
        np.multiply(vector[block], 1.0 - momentum, out=change)
        own += change


def swap(a: Array, b: Array) -> None:
    """Exchange the numbers of two vectors."""
    memory = scratch(a)
    for block in blocks(a):
        held = memory[: block.stop - block.start]
        np.copyto(held, a[block])
        np.copyto(a[block], b[block])
        np.copyto(b[block], held)


def _parts(vector: Array) -> list[Array]:
    return [vector[block] for block in blocks(vector)]
