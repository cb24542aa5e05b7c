"""The least of a smooth convex function, by limited-memory BFGS with a known first curvature."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels import Array

__all__ = ["minimise"]

KEPT = 10
HALVINGS = 30
SUFFICIENT = 1e-4  # of the decrease that the slope promises


def minimise(
    function: Callable[[Array], tuple[float, Array]],
    start: Array,
    precondition: Callable[[Array], Array],
    *,
    steps: int,
    tolerance: float,
) -> Array:
    """Return where a function is least, or how far ``steps`` lead.

    ``function`` returns value and gradient, ``precondition`` an inverse curvature times a vector.
    A relative decrease of less than ``tolerance`` ends it.
    Source: Nocedal & Wright (2006), Numerical optimization, algorithms 7.4 and 3.1.
    """
    place = start
    value, slope = function(place)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=KEPT)
    for _ in range(steps):
        step = -_newton(slope, pairs, precondition)
        promised = float(np.vdot(slope, step))
        if promised >= 0.0:
            break
        for halving in range(HALVINGS):
            length = 0.5**halving
            there = place + length * step
            value_there, slope_there = function(there)
            if value_there <= value + SUFFICIENT * length * promised:
                break
        else:
            break
        moved, bent = there - place, slope_there - slope
        curvature = float(np.vdot(moved, bent))
        if curvature > 0.0:
            pairs.append((moved, bent, curvature))
        gained = value - value_there
        place, value, slope = there, value_there, slope_there
        if gained <= tolerance * abs(value):
            break
    return place


def _newton(
    slope: Array,
    pairs: deque[tuple[Array, Array, float]],
    precondition: Callable[[Array], Array],
) -> Array:
    """Return the inverse curvature times the slope, as the last steps have shown it."""
    found, shares = slope.copy(), []
    for moved, bent, curvature in reversed(pairs):
        part = float(np.vdot(moved, found)) / curvature
        found -= part * bent
        shares.append(part)
    found = precondition(found)
    for (moved, bent, curvature), part in zip(pairs, reversed(shares), strict=True):
        found += (part - float(np.vdot(bent, found)) / curvature) * moved
    return found
