"""Dates and times in a column of text, as seconds since 1970-01-01 UTC.

``YYYY-MM-DD``, or that and ``T`` or one space and ``HH:MM[:SS[.f{1,6}]]``, then nothing, ``Z`` or
an offset as ``+HH:MM`` or ``+HHMM``; no zone means UTC.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from chainrule.kernels import Array

__all__ = ["iso_text", "parse_datetimes", "seconds_of"]

_DATE = "dddd-dd-dd"
_TIMES = ("dd:dd", "dd:dd:dd", *(f"dd:dd:dd.{'d' * digits}" for digits in range(1, 7)))
_ZONES = ("", "Z", "+dddd", "+dd:dd")
# By length, each layout with its time's and its zone's.
_LAYOUTS: dict[int, list[tuple[str, str]]] = {len(_DATE): [("", "")]}
for _time, _zone in product(_TIMES, _ZONES):
    _LAYOUTS.setdefault(len(_DATE) + 1 + len(_time) + len(_zone), []).append((_time, _zone))
_MICRO = 1_000_000


def parse_datetimes(texts: pl.Series) -> Array:
    """Return the seconds of texts, NaN where there is none or it is no date.

    The same bits as ``chainrule.recipe.values.read_datetime`` gives.
    """
    found = np.full(len(texts), np.nan)
    lengths = texts.str.len_bytes().fill_null(0).to_numpy()
    for length in np.flatnonzero(np.bincount(lengths[lengths <= max(_LAYOUTS)], minlength=1)):
        layouts = _LAYOUTS.get(int(length), [])
        rows = np.flatnonzero(lengths == length) if layouts else lengths[:0]
        for start in range(0, len(rows), 1 << 16):
            some = rows[start : start + (1 << 16)]
            joined: str = texts.gather(some).str.join("").item()
            letters = np.frombuffer(joined.encode(), np.uint8).reshape(len(some), length).T
            for time, zone in layouts:
                micros, good = _read(np.ascontiguousarray(letters), time, zone)
                found[some[good]] = seconds_of(micros[good])
    return found


def seconds_of(micros: Array) -> Array:
    """Return whole microseconds as seconds."""
    seconds: Array = micros / _MICRO
    return seconds


def iso_text(seconds: float) -> str:
    """Return a time as text in UTC."""
    moment = str(np.datetime64(round(seconds * _MICRO), "us")).removesuffix(".000000")
    return f"{moment}Z"


def _read(letters: Array, time: str, zone: str) -> tuple[Array, Array]:
    """Read texts of one layout: their microseconds, and which are of it.

    Shapes: letters (characters, texts).
    """
    digits = letters - np.uint8(ord("0"))
    good = np.ones(letters.shape[1], bool)
    for place, kind in enumerate(_DATE + (" " if time else "") + time + zone):
        one = letters[place]
        if kind == "d":
            good &= digits[place] <= 9
        elif kind == " ":
            good &= (one == ord(" ")) | (one == ord("T"))
        elif kind == "+":
            good &= (one == ord("+")) | (one == ord("-"))
        else:
            good &= one == ord(kind)

    def number(start: int, count: int) -> Array:
        total = np.zeros(letters.shape[1], np.int64)
        for place in range(start, start + count):
            total = total * 10 + digits[place]
        return total

    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    good &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = (np.clip(year, 1, None) - 1970) * 12 + np.clip(month, 1, 12) - 1
    first, following = (
        some.astype("M8[M]").astype("M8[D]").astype(np.int64) for some in (months, months + 1)
    )
    good &= day <= following - first
    micros = (first + day - 1) * 86_400 * _MICRO
    if time:
        hour, minute = number(11, 2), number(14, 2)
        second = number(17, 2) if len(time) > 5 else np.zeros_like(hour)
        good &= (hour < 24) & (minute < 60) & (second < 60)
        micros += (hour * 3600 + minute * 60 + second) * _MICRO
        fraction = len(time) - len("dd:dd:dd.")
        if fraction > 0:
            micros += number(20, fraction) * 10 ** (6 - fraction)
    if zone.startswith("+"):
        sign_at = len(_DATE) + 1 + len(time)
        hour, minute = number(sign_at + 1, 2), number(sign_at + len(zone) - 2, 2)
        good &= (hour < 24) & (minute < 60)
        offset = (hour * 60 + minute) * 60 * _MICRO
        micros += np.where(letters[sign_at] == ord("+"), -offset, offset)
    return micros, good
