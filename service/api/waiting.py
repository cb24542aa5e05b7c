"""Requests that wait for something to happen: each holds a thread, so only some may."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from flask import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LONGEST_S", "POLL_S", "Waiting", "preferred_wait_s"]

T = TypeVar("T")
FIRST_POLL_S, POLL_S = 0.02, 0.2  # soon at first: many a job takes no longer
LONGEST_S = 60
WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)


def preferred_wait_s() -> int | None:
    """Return how long the request's Prefer wants to wait, at most a minute; None: not at all.

    Source: RFC 7240, section 4.3.
    """
    found = WAIT.search(request.headers.get("Prefer", ""))
    return None if found is None else min(int(found[1]), LONGEST_S)


class Waiting:
    """The places to wait in: fewer than there are threads, so that others are answered meanwhile.

    ``retry_after`` is what a request that found no place is told.
    """

    retry_after = "1"

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._ending = threading.Event()

    def take(self) -> bool:
        """Take a place, which is to be given back.  False: there is none."""
        with self._lock:
            if not self._free or self._ending.is_set():
                return False
            self._free -= 1
            return True

    def give_back(self) -> None:
        """Leave a place."""
        with self._lock:
            self._free += 1

    def pause(self, seconds: float) -> bool:
        """Wait.  Returns: whether to go on; False, once the process is to end."""
        return not self._ending.wait(seconds)

    def end(self) -> None:
        """Let nobody wait any longer."""
        self._ending.set()

    def until(
        self, look: Callable[[], T], done: Callable[[T], bool], wait_s: float
    ) -> tuple[T, bool]:
        """Look again and again, until what is seen will do or the time is over.

        Returns: what was seen last; and whether there was a place to wait, if one was needed.
        """
        seen, give_up = look(), time.monotonic() + wait_s
        if done(seen) or wait_s <= 0:
            return seen, True
        pause_s = FIRST_POLL_S
        with self._place() as found:
            while found and not done(seen) and (left := give_up - time.monotonic()) > 0:
                if not self.pause(min(pause_s, left)):
                    break
                seen, pause_s = look(), min(1.5 * pause_s, POLL_S)
        return seen, found

    @contextmanager
    def _place(self) -> Iterator[bool]:
        found = self.take()
        try:
            yield found
        finally:
            if found:
                self.give_back()
