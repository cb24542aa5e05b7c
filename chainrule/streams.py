"""Named, stateless randomness: a name gives its numbers again, so no generator is ever saved."""

from __future__ import annotations

from typing import Literal

from numpy.random import PCG64, Generator, SeedSequence

__all__ = ["Purpose", "generator"]

Purpose = Literal["initialize", "shuffle", "dropout", "split", "gradcheck", "evaluation"]

# A purpose's number is part of every result ever computed: add at the end, never renumber.
_NUMBERS: dict[Purpose, int] = {
    "initialize": 0,
    "shuffle": 1,
    "dropout": 2,
    "split": 3,
    "gradcheck": 4,
    "evaluation": 5,
}


def generator(seed: int, purpose: Purpose, *keys: int) -> Generator:
    """Return the generator of a purpose at a place, such as ("dropout", step, layer, shard).

    Two names differ in their numbers, since a spawn key is set apart from the seed before hashing.
    """
    sequence = SeedSequence(seed, spawn_key=(_NUMBERS[purpose], *keys))
    return Generator(PCG64(sequence))
