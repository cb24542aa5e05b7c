"""The machine's side: no training, only what a step cannot do without, as fast as numpy does it.

Each thread does all of it at the same time as the others, with a BLAS of one thread; the time is
then divided among them, as if a step were shared without loss.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.engine.work import Product, moves, products

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.engine.cases import EngineCase

__all__ = ["LARGE", "Floor", "Machine"]

LARGE = Product("y", 1024, 1024, 1024)
_LEAST_FLOP = 10e6  # of one measurement; smaller products are stacked, so that no call counts
_LEAST_VALUES = 3 * 2**13  # shorter passes are timed as their part of one in the nearest cache

Timed = tuple["Callable[[], Any]", float]  # what to run, and how much more than a step it does


class Floor(NamedTuple):
    """Seconds of a step's products, of its passes over memory, and of one large product."""

    products: float
    moves: float
    large: float


class Machine:
    """A step's products and passes, one after the other; ``losses`` are a Floor's three figures."""

    def __init__(self, case: EngineCase, threads: int) -> None:
        self.name = f"numpy {np.__version__}"
        self.facts: dict[str, Any] = {"threads": threads}
        self._pool = ThreadPoolExecutor(threads)
        self._work = [
            (
                [_product(one) for one in products(case)],
                [_pass(values) for values in moves(case)],
                [_product(LARGE)],
            )
            for _ in range(threads)
        ]

    def epoch(self, number: int) -> list[float]:
        """Do it once in each thread, and return the mean seconds of a thread's share."""
        taken = list(self._pool.map(lambda parts: [_seconds(part) for part in parts], self._work))
        return [sum(column) / len(taken) ** 2 for column in zip(*taken, strict=True)]


def _seconds(work: list[Timed]) -> float:
    total = 0.0
    for run, more in work:
        started = time.perf_counter()
        run()
        total += (time.perf_counter() - started) / more
    return total


def _product(one: Product) -> Timed:
    more = max(1, round(_LEAST_FLOP / (one.flop * one.times)))
    stack = one.times * more
    x, w, dy = (
        np.ones(shape, np.float32)
        for shape in (
            (stack, one.rows, one.n_in),
            (one.n_in, one.n_out),  # the same at every step of a sequence
            (stack, one.rows, one.n_out),
        )
    )
    a, b = {"y": (x, w), "dw": (x.swapaxes(1, 2), dy)}.get(one.of, (dy, w.T))
    out = np.matmul(a, b)
    return lambda: np.matmul(a, b, out=out), more


def _pass(values: int) -> Timed:
    a, b, into = np.ones((3, max(values, _LEAST_VALUES) // 3), np.float32)
    return lambda: np.add(a, b, out=into), max(1.0, _LEAST_VALUES / values)
