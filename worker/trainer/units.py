"""Where training is cut into units: often enough to lose little, seldom enough to cost little."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

SHORTEST_S = 1.0
LONGEST_S = 10.0  # of work that a kill may lose: from one cut to the commit of the next
NEAR_S = 0.5
COST_SHARE = 50  # a unit lasts this many times its commit: 2 % of the run go into commits
LARGE_BYTES = 35 << 20  # from here on, the share matters more than losing at most 10 s


class Pace:
    """Says when a unit is due: at the first epoch, then by the clock.  No cut changes a number.

    An epoch's end is the better place, for its checkpoint can be the best one: it is taken when
    half the time is over, and waited for when it is near.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cut_at = clock()
        self._first = True
        self._length_s = SHORTEST_S

    def is_due_after_epoch(self) -> bool:
        """Whether to end a unit at the end of an epoch."""
        return self._first or self._clock() - self._cut_at >= self._length_s / 2

    def is_due_within_epoch(self, left_s: float) -> bool:
        """Whether to end a unit after a batch.  ``left_s``: what the rest of the epoch takes."""
        over_s = self._clock() - self._cut_at - self._length_s
        return over_s >= 0 and (left_s > NEAR_S or over_s > NEAR_S)

    def cut(self, checkpoint_bytes: int, cost_s: float) -> None:
        """Note that a unit ended now.  Units: ``cost_s`` is what the last commit took, seconds."""
        self._first = False
        self._cut_at = self._clock()
        self._length_s = max(SHORTEST_S, COST_SHARE * cost_s)
        if checkpoint_bytes <= LARGE_BYTES:
            longest_s = max(SHORTEST_S, LONGEST_S - NEAR_S - cost_s)
            self._length_s = min(self._length_s, longest_s)
