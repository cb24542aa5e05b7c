"""Named, stateless randomness: a name gives its numbers again, so no generator is ever saved."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

__all__ = ["Purpose", "generator", "uniforms"]

Purpose = Literal["initialize", "shuffle", "dropout", "split", "gradcheck", "evaluation", "augment"]

# A purpose's number is part of every result ever computed: add at the end, never renumber.
_NUMBERS: dict[Purpose, int] = {
    "initialize": 0,
    "shuffle": 1,
    "dropout": 2,
    "split": 3,
    "gradcheck": 4,
    "evaluation": 5,
    "augment": 6,
}
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def generator(seed: int, purpose: Purpose, *keys: int) -> Generator:
    """Return the generator of a purpose at a place, such as ("dropout", step, layer, shard).

    Two names differ in their numbers, since a spawn key is set apart from the seed before hashing.
    """
    sequence = SeedSequence(seed, spawn_key=(_NUMBERS[purpose], *keys))
    return Generator(PCG64(sequence))


def uniforms(
    seed: int, purpose: Purpose, *keys: int, rows: np.ndarray[Any, Any], count: int
) -> np.ndarray[Any, Any]:
    """Return so many numbers from 0 to below 1 for each row, which hang on its number alone.

    Shapes: rows (n,) -> (n, count) of float64.
    Source: SplitMix64, Steele et al. (2014): draw n follows from its place, none before it is made.
    """
    sequence = SeedSequence(seed, spawn_key=(_NUMBERS[purpose], *keys))
    places = rows[:, None].astype(np.uint64) * np.uint64(count) + np.arange(count, dtype=np.uint64)
    key = np.uint64(sequence.generate_state(1, np.uint64)[0])
    bits: np.ndarray[Any, Any] = key + (places + np.uint64(1)) * _GAMMA
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    drawn: np.ndarray[Any, Any] = (bits >> np.uint64(11)) * 2.0**-53
    return drawn
