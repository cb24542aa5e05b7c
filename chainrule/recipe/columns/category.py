"""Categories as features: one for each, one for all, a bucket of a hash, or a row's number."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from chainrule.recipe.columns.cells import ColumnBase, Problems, Source
from chainrule.recipe.hashing import hash_numbers, hash_text
from chainrule.recipe.values import read_text
from chainrule.spec.preprocessing import EncodingSpec, PlainEncodingSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chainrule.kernels import Array

__all__ = ["CategoryColumn", "bucket"]

NOWHERE = -1  # the place of what has no feature


class CategoryColumn(ColumnBase):
    """A column of categories; what has no place has no feature: all zeros.

    ``codes`` are the categories' numbers in the training dataset, ascending; where the file holds
    numbers, these themselves. ``places`` say which feature is a category's, by default its own;
    rare ones share one. ``missing`` and ``unknown`` are the places of a missing value and of a
    category that is not listed, ``stand_in`` is a word that says the same as a missing value.
    """

    kind: Literal["category"] = "category"
    source: Source = Field("category", exclude_if=lambda source: source == "category")
    categories: list[str]
    codes: list[int | float]
    places: list[int] | None = Field(None, exclude_if=lambda places: places is None)
    missing: int = Field(NOWHERE, exclude_if=lambda place: place == NOWHERE)
    unknown: int = Field(NOWHERE, exclude_if=lambda place: place == NOWHERE)
    stand_in: str | None = Field(None, exclude_if=operator.not_)
    encoding: EncodingSpec = Field(
        PlainEncodingSpec(), exclude_if=lambda encoding: encoding.kind == "one_hot"
    )

    @property
    def width(self) -> int:
        return self.size if self.encoding.kind in ("one_hot", "hash") else 1

    @property
    def size(self) -> int:
        """How many places there are."""
        if self.encoding.kind == "hash":
            return max(self.encoding.buckets, self.missing + 1)
        own = len(self.categories) if self.places is None else max(self.places, default=-1) + 1
        return max(own, self.missing + 1, self.unknown + 1)

    @property
    def vocabulary(self) -> int | None:
        """How many whole numbers an embedding is fed, 0 for nothing among them; else None."""
        return self.size + 1 if self.encoding.kind == "embedding" else None

    def of_tensor(self, tensor: Array) -> Array:
        """Return the places of a training tensor's values.  Shape: (rows,)."""
        if self.encoding.kind == "hash" and self.source != "category":
            buckets = np.uint64(self.encoding.buckets)
            places = (hash_numbers(tensor) % buckets).astype(np.int64)
        elif self.codes:
            codes, table = self._table
            at = np.minimum(np.searchsorted(codes, tensor), len(codes) - 1)
            places = np.where(codes[at] == tensor, table[at], self.unknown)
        else:
            places = np.full(len(tensor), self.unknown)
        return np.where(_is_missing(tensor), self.missing, places)

    def read(self, cells: Sequence[object], problems: Problems) -> Array:
        """Return the places of a prediction's cells."""
        if self.source != "category":
            return self.of_tensor(self.numbers_of(cells, problems, self.source))
        known = self.known
        read = partial(read_text, words=known)
        words = (problems.guard(read, cell, index) for index, cell in enumerate(cells))
        return self._of_words(words, known)

    def of_words(self, words: Iterable[str | None]) -> Array:
        """Return the places of words, None where one is missing."""
        return self._of_words(words, self.known)

    def write(self, places: Array, out: Array) -> None:
        """Write the features.  Shapes: places (rows,), out (rows, width), zeros so far."""
        match self.encoding.kind:
            case "ordinal":
                out[:, 0] = (places + 1) / max(self.size, 1)
            case "embedding":
                out[:, 0] = places + 1
            case _:
                there = np.flatnonzero(places >= 0)
                out[there, places[there]] = 1.0

    @property
    def own_places(self) -> Sequence[int]:
        """The place of each category."""
        return range(len(self.codes)) if self.places is None else self.places

    @property
    def known(self) -> dict[str | None, int]:
        """The place of each word that is listed, and of None, a missing one; by hash none is."""
        if self.encoding.kind == "hash":
            return {}
        known: dict[str | None, int] = {None: self.missing}
        if self.stand_in is not None:
            known[self.stand_in] = self.missing
        return known | dict(zip(self.categories, self.own_places, strict=True))

    @property
    def _table(self) -> tuple[Array, Array]:
        return np.asarray(self.codes), np.array(self.own_places)

    def _of_words(self, words: Iterable[str | None], known: Mapping[str | None, int]) -> Array:
        if self.encoding.kind == "hash":
            places = [self._bucket_of(word) for word in words]
        else:
            places = [known.get(word, self.unknown) for word in words]
        return np.array(places, np.int64)

    def _bucket_of(self, word: str | None) -> int:
        if word is None or word == self.stand_in:
            return self.missing
        return bucket(word, self.encoding.buckets)  # type: ignore[union-attr]


def bucket(word: str, buckets: int) -> int:
    """Return the bucket of a word, by its SHA-256."""
    return hash_text(word) % buckets


def _is_missing(tensor: Array) -> Array:
    missing: Array = np.isnan(tensor) if tensor.dtype.kind == "f" else tensor < 0
    return missing
