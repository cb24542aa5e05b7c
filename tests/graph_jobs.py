"""Jobs of networks with several inputs and outputs, for tests of the service and of the worker."""

from __future__ import annotations

from typing import Any

import numpy as np

PAIR_LAYERS: list[dict[str, Any]] = [
    {"kind": "dense", "units": 8, "activation": "tanh", "name": "twin", "inputs": ["left"]},
    {"kind": "shared", "layer": "twin", "name": "other", "inputs": ["right"]},
    {"kind": "multiply", "inputs": ["twin", "other"]},
    {"kind": "dense", "units": 8, "activation": "relu", "name": "seen"},
    {"kind": "dense", "units": "auto", "name": "same"},
    {"kind": "dense", "units": "auto", "name": "far", "inputs": ["seen"]},
]
SIDES: dict[str, Any] = {"layers": PAIR_LAYERS, "outputs": ["same", "far"]}


def pairs(rows: int = 240, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Pairs of points: whether both are on the same side of zero, and their distance."""
    rng = np.random.default_rng(seed)
    left, right = rng.uniform(-1, 1, (2, rows, 2)).astype(np.float32)
    same = (np.sign(left[:, 0]) == np.sign(right[:, 0])).astype(np.int64)
    far = np.linalg.norm(left - right, axis=1).astype(np.float32)
    return {"left": left, "right": right, "same": same, "far": far}


def pair_job(**changes: Any) -> dict[str, Any]:
    """Return the parts of a job on pairs, but for its dataset."""
    return {
        "data": {"inputs": ["left", "right"], "target": ["same", "far"]},
        "architecture": SIDES,
        "training": {
            "losses": {"far": {"kind": "huber", "weight": 0.5}},
            "epochs": 3,
            "batch_size": 16,
            "seed": 2,
        },
        **changes,
    }
