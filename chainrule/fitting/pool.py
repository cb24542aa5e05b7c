"""Threads that work off a list together, and what is cut for them.

A handover takes some 15 microseconds.
"""

from __future__ import annotations

from collections import deque
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

__all__ = ["ThreadPool", "parts", "spans"]

_SPAN = 1 << 15  # numbers: fewer are not worth a handover
_UNIT = 1 << 10

Result = TypeVar("Result")


class ThreadPool:
    """``threads`` threads, of which one is the caller's own.

    They are there between the beginning and the end of a ``with``.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._rounds: SimpleQueue[_Round[Any] | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._helpers = [
            Thread(target=self._help, name=f"shards-{number}", daemon=True)
            for number in range(1, threads)
        ]

    def __enter__(self) -> Self:
        for helper in self._helpers:
            helper.start()
        return self

    def __exit__(self, *error: object) -> None:
        for _ in self._helpers:
            self._rounds.put(None)
        for helper in self._helpers:
            helper.join()

    def run(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        """Return what each of some works gives, in their order, whoever does which.

        Raises: the error of the first that has one, once no work is under way.
        """
        if len(works) == 1:
            return [works[0]()]
        one = _Round(works)
        called = min(len(self._helpers), len(works) - 1)
        for _ in range(called):
            self._rounds.put(one)
        one.help()
        for _ in range(called):
            self._done.get()
        return one.results()

    def _help(self) -> None:
        with np.errstate(all="ignore"):  # as where the works come from
            while (one := self._rounds.get()) is not None:
                one.help()
                self._done.put(None)


def parts(size: int, most: int) -> list[slice]:
    """Cut what has a size in so many parts, or as many as are not empty, equal to one or so."""
    count = max(1, min(size, most))
    least, more = divmod(size, count)
    ends = [(number + 1) * least + min(number + 1, more) for number in range(count)]
    return [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]


def spans(size: int, most: int) -> list[slice]:
    """Cut a vector in long parts, where no loop over vectors of a processor has its end."""
    whole = size // _UNIT
    cut = [slice(p.start * _UNIT, p.stop * _UNIT) for p in parts(whole, min(most, size // _SPAN))]
    return [*cut[:-1], slice(cut[-1].start, size)]


class _Round(Generic[Result]):
    """Works to be done, and what has come of them."""

    def __init__(self, works: Sequence[Callable[[], Result]]) -> None:
        self._left = deque(enumerate(works))
        self._results: dict[int, Result] = {}
        self._errors: dict[int, BaseException] = {}

    def help(self) -> None:
        """Do one work after the other, until none is left."""
        while True:
            try:
                number, work = self._left.popleft()
            except IndexError:
                return
            try:
                self._results[number] = work()
            except BaseException as error:  # raised again where the round began
                self._errors[number] = error

    def results(self) -> list[Result]:
        for _, error in sorted(self._errors.items()):
            raise error
        return [self._results[number] for number in sorted(self._results)]
