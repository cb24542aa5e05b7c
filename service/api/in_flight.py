"""Which named requests this process is answering right now."""

from __future__ import annotations

import threading

__all__ = ["InFlight"]


class InFlight:
    """The named requests that this process is answering.

    One sent to another process meanwhile waits there for the first one's commit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._named: set[tuple[str, str]] = set()

    def enter(self, name: tuple[str, str]) -> bool:
        """Note a request; False, if it is here already."""
        with self._lock:
            new = name not in self._named
            self._named.add(name)
        return new

    def leave(self, name: tuple[str, str]) -> None:
        """Forget a request that is over."""
        with self._lock:
            self._named.discard(name)
