"""A small cache of what was made from stored bytes, by their hash: never stale, only forgotten."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Cache"]

V = TypeVar("V")


class Cache(Generic[V]):
    """Keeps the values used last, as far as their bytes fit.  Safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def get(self, sha256: str, load: Callable[[], tuple[V, int]]) -> V:
        """Return a value, made by ``load`` (value, bytes) if it is not here."""
        found = self.find(sha256)
        if found is not None:
            return found
        value, size = load()  # two threads may both load: wasteful at worst, and nobody waits
        self.keep(sha256, value, size)
        return value

    def find(self, sha256: str) -> V | None:
        """Return a value, if it is here."""
        with self._lock:
            if sha256 not in self._values:
                return None
            self._values.move_to_end(sha256)
            return self._values[sha256][0]

    def keep(self, sha256: str, value: V, size: int) -> None:
        """Put a value of so many bytes here, in the place of those used longest ago."""
        with self._lock:
            if size <= self._max_bytes and sha256 not in self._values:
                self._values[sha256] = value, size
                self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= self._values.popitem(last=False)[1][1]
