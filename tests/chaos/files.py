"""The files that a chaos run uploads: each number makes other bytes, always the same ones."""

from __future__ import annotations

import io
from functools import cache
from importlib.resources import files

import numpy as np

PIXELS = 64
ROWS = 36_864  # of 64 numbers: more than one part, and some blocks of a prediction
TABLE_ROWS = {"small table": 1_000, "table": 24_000}  # parsed by the API, and by a job
TOWNS = ("Aarhus", "Bergen", "Cork", "Delft", "Évora")


def digits():
    """The digits in three shapes, as an NPZ file."""
    text = (files("chainrule") / "data" / "digits.csv").read_text()
    table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1)
    pixels = (table[:, :-1] / 16).astype(np.float32)
    arrays = {
        "pixels": pixels,
        "image": pixels.reshape(-1, 8, 8, 1),
        "rows": pixels.reshape(-1, 8, 8),
        "digit": table[:, -1].astype(np.int64),
    }
    return _npz(arrays)


def file(kind, number):
    """A file of a kind, as (format, bytes)."""
    if kind == "arrays in parts":
        pixels = _noise().copy()
        pixels[-1] = number
        return "npz", _npz({"pixels": pixels})
    return "csv", _table(number, TABLE_ROWS[kind])


def _table(number, rows):
    """Numbers with gaps, words, and days."""
    rng = np.random.default_rng(number)
    values = rng.normal(number, 10.0, (rows, 4)).round(4)
    towns, days = rng.integers(0, len(TOWNS), rows), rng.integers(1, 29, rows)
    missing = rng.random(rows) < 0.05
    lines = ["size,weight,price,age,town,since"]
    for row, town, day, gap in zip(values.tolist(), towns, days, missing, strict=True):
        numbers = ",".join(map(str, row[:3]))
        age = "" if gap else row[3]
        lines.append(f"{numbers},{age},{TOWNS[town]},2024-05-{day:02d}")
    return ("\n".join(lines) + "\n").encode()


@cache
def _noise():
    return np.random.default_rng(7).random((ROWS, PIXELS), np.float32)


def _npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
