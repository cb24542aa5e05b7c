"""The golden set: messy tables made by hand, and what a recipe is to make of them.

The library, the API and ONNX are held to the same tables, each by its own test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.tables import parsed

__all__ = ["EVERY", "TABLES", "WIDE", "cells", "columns", "onnx_cells"]

DAYS = [
    "2024-02-29",
    "1969-12-31T23:59:59.5",
    None,
    "2000-01-01 00:00",
    "2024-12-31T08:30:00+02:00",
]
DAYS += ["0001-01-01", "9999-12-31T23:59:59Z", "3059-01-01T00:00:00.000081"]
CITIES = ["Köln", "Bonn", None, "köln", "Bonn", 'a "quoted", one', "Bonn", "Ulm\nan der Donau"]
PRICES = [0.1, -0.0, 1e150, None, 5e-324, -7.25, 123456.789, 0.1]
COUNTS = [0, 3, None, -2, 2**53 - 1, 3, 3, 10]
ZIPS = [1067, 53111, None, 1067, 99999, 53111, 1067, None]
SMALL = [0.1, -0.25, 3.0, None, 7.5, -7.25, 123.5, 0.1]
FLAGS = ["true", "false", "true", None, "false", "true", "true", "false"]
ODD = [
    "=1+1",
    "-",
    "naN",
    "1e5x",
    "\uff10",
    "İ",
    "\u00e9",
    "e\u0301",
]  # words, whatever they look like
SIZES = ["S", "XL", None, "M", "M", "L", "S", "XL"]
CLOSE = [1e16, 1e16 + 2, None, 1e16 + 4, 1e16, 1e16 + 2, 1e16 + 6, 1e16]
SKEWED = [0, 0, 0, 0, 0, 0, 1e12, None]


def category(**options):
    return {"category": options}


def number(**options):
    return {"number": options}


def columns(**options):
    return {"columns": options}


EVERY = {"price": SMALL, "count": COUNTS, "city": CITIES, "day": DAYS, "zip": ZIPS}
TABLES: dict[str, tuple[Any, Any]] = {
    "defaults": (EVERY, {}),
    "huge-and-tiny": ({"a": PRICES, "b": COUNTS}, {}),
    "min-max": (EVERY, number(scaling="min_max", missing="median", indicator=True)),
    "robust": (EVERY, number(scaling="robust", missing="mode")),
    "logarithms": (EVERY, number(scaling="log1p", missing={"kind": "constant", "value": -3.5})),
    "unscaled": ({"a": SMALL, "b": ZIPS}, number(scaling="none", indicator=True)),
    "dropped-numbers": (EVERY, number(missing="drop")),
    "words-mode": ({"k": CITIES, "a": SMALL}, category(missing="mode")),
    "words-missing": ({"k": CITIES, "a": SMALL}, category(missing="category")),
    "words-constant": ({"k": CITIES}, category(missing={"kind": "constant", "value": "none"})),
    "words-dropped": ({"k": CITIES, "a": SMALL}, category(missing="drop")),
    "ordinal": ({"k": CITIES, "a": SMALL}, category(encoding="ordinal", missing="category")),
    "ordinal-in-order": (
        {"size": SIZES},
        columns(
            size={
                "kind": "category",
                "encoding": {"kind": "ordinal", "order": ["S", "M", "L", "XL"]},
            }
        ),
    ),
    "embedding": ({"k": CITIES}, category(encoding="embedding")),
    "rare": ({"k": CITIES}, category(rare={"min_count": 2}, missing="category")),
    "rare-unknown": ({"k": CITIES}, category(rare={"min_share": 0.2}, unknown="bucket")),
    "rare-all": ({"k": ODD, "a": SMALL}, category(rare={"min_count": 3}, unknown="bucket")),
    "hashed": ({"k": CITIES, "a": SMALL}, category(encoding={"kind": "hash", "buckets": 4})),
    "numbers-as-categories": (
        EVERY,
        columns(
            zip="category",
            price={"kind": "category", "rare": {"min_count": 2}, "unknown": "bucket"},
        ),
    ),
    "numbers-hashed": ({"zip": ZIPS}, columns(zip={"kind": "category", "encoding": "hash"})),
    "dates-as-categories": ({"day": DAYS}, columns(day={"kind": "category", "missing": "mode"})),
    "dates-as-numbers": ({"day": DAYS, "a": SMALL}, columns(day="number")),
    "numbers-as-dates": ({"s": [0, 86400, None, 1e9, -5, 1e300, 1.5, 2e9]}, columns(s="datetime")),
    "dates-one-hot": ({"day": DAYS}, {"datetime": {"cyclic": False, "indicator": True}}),
    "dates-filled": (
        {"day": DAYS},
        {"datetime": {"missing": "median", "parts": ["year", "weekday"]}},
    ),
    "dates-dropped": ({"day": DAYS, "a": SMALL}, {"datetime": {"missing": "drop"}}),
    "only-missing": ({"a": [None] * 8, "b": SMALL}, number(indicator=True)),
    "flags": ({"flag": FLAGS, "a": SMALL}, category(missing="category", encoding="ordinal")),
    "odd-words": ({"k": ODD}, {}),
    "names": ({'a "b", c': SMALL, "straße 1": CITIES, "x.y[0]": COUNTS}, {}),
    "constant": ({"a": [7.5] * 8, "k": ["same"] * 8, "b": SMALL}, number(indicator=True)),
    "digits-lost": ({"a": CLOSE}, number(scaling="robust", missing="median")),
    "skewed": ({"a": SKEWED, "b": ZIPS}, number(scaling="min_max", missing="mode")),
    "each-its-own": (
        EVERY,
        {
            "number": {"scaling": "none"},
            "columns": {
                "price": {"kind": "number", "scaling": "log1p", "indicator": True},
                "zip": {"kind": "category", "encoding": {"kind": "hash", "buckets": 3}},
                "day": {"kind": "datetime", "parts": ["hour", "minute"], "cyclic": False},
                "city": {"kind": "category", "rare": {"min_count": 2}, "missing": "mode"},
            },
        },
    ),
}

WIDE = {"huge-and-tiny"}  # numbers that no float32 is


def cells(table, *, text):
    """Return a table's rows as a client has them: null where missing, all else as text or typed."""

    def cell(value):
        return f" {value}\t" if text and value is not None else value

    return [
        {name: cell(value) for name, value in zip(table, row, strict=True)}
        for row in zip(*table.values(), strict=True)
    ]


def onnx_cells(column, values):
    """Return cells as an ONNX file takes them: text, or float64 with NaN; dates are seconds."""
    if column.source == "category":
        return np.array([["" if value is None else value] for value in values], dtype=object)
    tensor = parsed({"a": values})[0]["a"]
    return np.asarray(tensor, np.float64)[:, None]
