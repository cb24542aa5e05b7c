"""What is learnt of large datasets: one at a time, and kept for the jobs that come next."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chainrule.recipe import Recipe
from service.actions.cache import Cache
from service.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.spec import DataSpec
    from service.actions.datasets import Tensors
    from service.store.tables import Dataset

__all__ = ["fit", "turn"]

LARGE_ROWS = 1_000_000  # to deal and to measure fewer takes some tenths of a second
WAITING = 4  # at most, of the API's threads, the one whose turn it is too
RECIPE_BYTES = 16 << 20  # of recipes that are kept

_waiting = threading.BoundedSemaphore(WAITING)
_turn = threading.Lock()
_kept: Cache[tuple[Recipe, DataSpec]] = Cache(RECIPE_BYTES)


@contextmanager
def turn(dataset: Dataset) -> Iterator[None]:
    """Let one job of a large dataset be planned at a time: of several the memory would add up.

    Raises: UnavailableError, if others wait already.
    """
    if not _is_large(dataset):
        yield
        return
    if not _waiting.acquire(blocking=False):
        raise UnavailableError("jobs of other large datasets are being planned; try again")
    try:
        with _turn:
            yield
    finally:
        _waiting.release()


def fit(
    tensors: Tensors, dataset: Dataset, data: DataSpec, **options: Any
) -> tuple[Recipe, DataSpec]:
    """Return what ``Recipe.fit`` does; of a large dataset it is kept, since many jobs follow.

    Raises: as ``Recipe.fit``.
    """

    def load() -> tuple[tuple[Recipe, DataSpec], int]:
        fitted = Recipe.fit(tensors, dataset.schema, data, **options)
        return fitted, len(fitted[0].model_dump_json())

    if not _is_large(dataset):
        return load()[0]
    return _kept.get(json.dumps([dataset.id, data.render(), options]), load)


def _is_large(dataset: Dataset) -> bool:
    return (dataset.rows or 0) >= LARGE_ROWS
