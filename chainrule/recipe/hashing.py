"""64 bits of a word or a number: the same on every machine, in every process and year."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["hash_numbers", "hash_text", "mixed"]


def hash_text(text: str) -> int:
    """Return the first 64 bits of a text's SHA-256, as a little-endian whole number."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def hash_numbers(values: Array) -> Array:
    """Return 64 bits for each number, by those of its float64; all NaN are one."""
    numbers = values.astype(np.float64) + 0.0  # no -0.0
    numbers[np.isnan(numbers)] = np.nan
    return mixed(numbers.view(np.uint64))


def mixed(bits: Array) -> Array:
    """Spread 64 bits over 64 bits.  Source: SplitMix64, Steele et al. (2014), figure 8."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    spread: Array = bits ^ (bits >> np.uint64(31))
    return spread
