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
        with self._lock:
            if sha256 in self._values:
                self._values.move_to_end(sha256)
                return self._values[sha256][0]
        value, size = load()  # two threads may both load: wasteful at worst, and nobody waits
        with self._lock:
            if size <= self._max_bytes and sha256 not in self._values:
                self._values[sha256] = value, size
                self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= self._values.popitem(last=False)[1][1]
        return value
