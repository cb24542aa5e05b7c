"""Requests that the OpenAPI document shows: complete, and good but for the ids."""

from __future__ import annotations

from typing import Any

__all__ = ["ARCHITECTURE", "BATCH", "JOB", "PREDICTION", "UPLOAD"]

ARCHITECTURE: dict[str, Any] = {
    "name": "classifier",
    "layers": [
        {"kind": "dense", "units": 16, "activation": "relu"},
        {"kind": "dropout", "rate": 0.1},
        {"kind": "dense", "units": "auto"},
    ],
}
JOB: dict[str, Any] = {
    "name": "iris",
    "dataset_id": "ds_01930a6f4c1e7b2a9d5e8f3047c6b1a2",
    "architecture": ARCHITECTURE,
    "data": {"target": "species"},
    "training": {"optimizer": {"kind": "adam", "learning_rate": 0.01}, "epochs": 100},
}
PREDICTION: dict[str, Any] = {
    "rows": [{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}]
}
BATCH: dict[str, Any] = {"dataset_id": "ds_01930a6f4c1e7b2a9d5e8f3047c6b1a2", "format": "csv"}
UPLOAD: dict[str, Any] = {
    "name": "clicks",
    "format": "csv",
    "types": {"zip": "categorical"},
    "bytes": 2000000000,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
