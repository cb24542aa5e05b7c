"""Threads that each do one thing again and again: poll, recover, beat, watch."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from service.errors import IncompatibleError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rounds"]

log = logging.getLogger(__name__)

OUTAGE_S = 1.0  # between tries while the database is away
FAILURE_S = 5.0


class Rounds:
    """A set of such threads, which end together."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, act: Callable[[], float]) -> None:
        """Call ``act`` now and then again, each time after as many seconds as it returns."""
        thread = threading.Thread(target=self._go, args=(act,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, timeout_s: float) -> None:
        """Begin no further round, and wait for those under way."""
        self._ending.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _go(self, act: Callable[[], float]) -> None:
        wait_s, told = 0.0, False
        while not self._ending.wait(wait_s):
            try:
                wait_s, told = act(), False
            except (
                UnavailableError,
                IncompatibleError,
            ) as error:  # a migration may be about to run
                if not told:  # once, not every second of an outage
                    log.warning("%s: %s", threading.current_thread().name, error)
                wait_s, told = OUTAGE_S, True
            except Exception:  # the next round may fare better
                log.exception("%s: a round failed", threading.current_thread().name)
                wait_s = FAILURE_S
