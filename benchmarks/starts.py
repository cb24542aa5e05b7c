"""How long until the first step: of a trainer that waits, of one not started, of an import.

A trainer is spoken to as its supervisor does. Its job is of one step, so that the unit that it
reports first tells of this step: certificate, initial checkpoint and metrics are in the time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from chainrule.recipe import Recipe
from chainrule.spec import DataSpec
from worker.frames import Frame
from worker.process import TrainerProcess

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BARS", "cold_ms", "import_ms", "job", "warm_ms"]

BARS = {"import": 150.0, "warm": 30.0, "cold": 400.0}
_RUNS = 11
_ROWS, _WAIT_S = 64, 60.0
_IMPORT = """
import time, numpy
started = time.perf_counter()
import chainrule
print(1000 * (time.perf_counter() - started))
"""


def import_ms() -> float:
    """Return how long a new process imports chainrule, numpy being imported."""
    command = [sys.executable, "-c", _IMPORT]
    return median(float(subprocess.check_output(command)) for _ in range(_RUNS))


def job(folder: Path) -> dict[str, Any]:
    """Return the message that starts a job of one step; its dataset lies in a folder."""
    rng = np.random.default_rng(0)
    tensors = {f"p{n}": rng.standard_normal(_ROWS) for n in range(64)}
    columns = [{"name": name, "type": "number", "missing": 0} for name in tensors]
    tensors["target"] = rng.integers(0, 10, _ROWS).astype(np.int32)
    classes = [str(label) for label in range(10)]
    columns.append({"name": "target", "type": "categorical", "missing": 0, "categories": classes})
    schema = {"kind": "table", "rows": _ROWS, "columns": columns, "warnings": []}
    data = DataSpec.model_validate({"target": "target"})
    recipe, _ = Recipe.fit(tensors, schema, data, seed=1)
    path = folder / "prepared.safetensors"
    path.write_bytes(save(tensors))
    layers = [{"kind": "dense", "units": n, "activation": "relu"} for n in (128, 64)]
    architecture = {"input": {"shape": [64]}, "layers": [*layers, {"kind": "dense", "units": 10}]}
    loss = {"kind": "softmax_cross_entropy"}
    return {
        "config": {
            "architecture": architecture,
            "training": {"loss": loss, "epochs": 1, "batch_size": _ROWS, "seed": 1},
        },
        "recipe": recipe.to_json(),
        "dataset": str(path),
        "memory_bytes": 1 << 30,
        "certificate": None,
        **dict.fromkeys(("last", "replay", "warm_start")),
    }


def warm_ms(message: dict[str, Any]) -> float:
    """Return the time from a job's message to its first step's, in a trainer that waits."""
    return median(_first_step_ms(message, waits=True) for _ in range(_RUNS))


def cold_ms(message: dict[str, Any]) -> float:
    """Return the same from the trainer's start."""
    return median(_first_step_ms(message, waits=False) for _ in range(_RUNS))


def _first_step_ms(message: dict[str, Any], *, waits: bool) -> float:
    started = time.perf_counter()
    trainer = TrainerProcess()
    try:
        if waits:
            _await(trainer, "ready")
            started = time.perf_counter()
        trainer.send("train", **message)
        first = _await(trainer, "started")
        trainer.send("committed", step=first.header["step"], cost_s=0.0)
        _await(trainer, "unit")
        return 1000 * (time.perf_counter() - started)
    finally:
        trainer.kill()
        trainer.end()


def _await(trainer: TrainerProcess, kind: str) -> Frame:
    while isinstance(event := trainer.next(_WAIT_S), Frame):
        if event.kind == kind:
            return event
        if event.kind == "failed":
            raise SystemExit(f"the trainer: {event.header['error']}")
    raise SystemExit(f"the trainer ended before it said {kind!r}")
