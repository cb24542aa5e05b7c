"""Datasets in files, as large as asked for, made and read a piece at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.memory.children import mapped_mb, private_mb
from chainrule.fitting import StepReport, TrainingLoop
from chainrule.network import Network

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Training", "train", "write"]

_PIECE_ROWS = 100_000
_CLASSES = 4
_SAMPLES = 64  # of the memory, in a pass


class Training(NamedTuple):
    """Processor seconds and rows of some passes; the most memory that the process had (MB)."""

    seconds: float
    rows: int
    private_mb: float
    mapped_mb: float
    loss: float


def write(folder: Path, rows: int, features: int) -> None:
    """Write x.npy (rows, features), float32, and y.npy (rows,), the class of each row."""
    rng = np.random.default_rng(0)
    piece = rng.standard_normal((_PIECE_ROWS, features), np.float32)
    classes = (piece @ rng.standard_normal((features, _CLASSES), np.float32)).argmax(1)
    for name, values in (("x.npy", piece), ("y.npy", classes.astype(np.uint8))):
        with (folder / name).open("wb") as file:
            form = {"descr": values.dtype.str, "fortran_order": False}
            shape = (rows, *values.shape[1:])
            np.lib.format.write_array_header_1_0(file, {**form, "shape": shape})
            for start in range(0, rows, _PIECE_ROWS):
                file.write(values[: rows - start].tobytes())


def train(folder: Path, layers: list[dict[str, Any]], batch: int, passes: int = 1) -> Training:
    """Train on a folder's rows, shuffled, and return what that took."""
    x, y = (np.load(folder / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    spec = {"input": {"shape": [x.shape[1]]}, "layers": [*layers, {"kind": "dense", "units": 4}]}
    training = {
        "loss": "softmax_cross_entropy",
        "optimizer": {"kind": "adam"},
        "epochs": passes,
        "batch_size": batch,
        "seed": 0,
    }
    loop = TrainingLoop(Network(spec, seed=0), (x, y), training)
    every = max(1, loop.steps // _SAMPLES)
    private, mapped, loss = private_mb(), mapped_mb(), 0.0
    started = time.process_time()
    for report in loop.run():
        if isinstance(report, StepReport):
            if report.step % every == 0:
                private, mapped = max(private, private_mb()), max(mapped, mapped_mb())
        else:
            loss = report.train["loss"]
    return Training(time.process_time() - started, passes * len(x), private, mapped, loss)
