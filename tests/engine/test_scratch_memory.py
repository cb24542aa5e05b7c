"""A step allocates no array after the first ones: all its memory is the tape's, used again.

Python's own small objects come and go, 9 to 14 kB of them at once; a hidden layer's output has 32.
"""

from __future__ import annotations

import tracemalloc
from itertools import islice

import numpy as np
import pytest

from chainrule import kernels
from chainrule.fitting import TrainingLoop
from chainrule.layers.dense import Dense
from chainrule.network import Network

BATCH, STEPS, WARM_UP = 32, 300, 20
ROWS = BATCH * (STEPS + WARM_UP + 1)  # one epoch: its end looks whether all weights are finite
SMALL = 16_000  # bytes
DENSE = {"kind": "dense", "units": 256, "activation": "relu"}
NETWORKS = {
    "MLP": ((64,), [DENSE]),
    "CNN": (
        (16, 16, 2),
        [
            {"kind": "conv2d", "filters": 8, "kernel_size": 3, "activation": "relu"},
            {"kind": "max_pool2d"},
            {"kind": "flatten"},
            DENSE,
        ],
    ),
    "LSTM": ((12, 8), [{"kind": "lstm", "units": 32}, DENSE]),
}


@pytest.fixture(autouse=True)
def _compiled():
    if not kernels.in_use().startswith("native"):
        pytest.skip("the references in numpy make arrays as they go")


def peak_and_growth(name, steps=STEPS):
    """Return what a step holds for a moment beyond what stays, and what stays after all (bytes)."""
    shape, layers = NETWORKS[name]
    layers = [*layers, {"kind": "dense", "units": 3}]
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, *shape), np.float32), rng.integers(0, 3, ROWS)
    training = {"loss": "softmax_cross_entropy", "epochs": 1, "batch_size": BATCH}
    training["optimizer"] = {"kind": "adam"}
    net = Network({"input": {"shape": [*shape]}, "layers": layers}, seed=0)
    reports = TrainingLoop(net, rows, training).run()
    tracemalloc.start()
    try:
        for _ in islice(reports, WARM_UP):
            pass
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in islice(reports, steps):
            pass
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before, after - before


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_allocates_no_array_after_the_first(name):
    peak, growth = peak_and_growth(name)
    assert peak < SMALL
    assert growth < SMALL


@pytest.mark.parametrize("name", NETWORKS)
def test_one_array_of_a_batch_would_be_seen(name, monkeypatch):
    """As if a layer made its output anew: 32 rows of 256 single-precision numbers, 32 kB."""
    forward = Dense.forward

    def wasteful(self, x, tape):
        made = np.empty((len(x), self.kernel.shape[-1]), np.float32)
        y, backward = forward(self, x, tape)
        assert made.shape == y.shape
        return y, backward

    monkeypatch.setattr(Dense, "forward", wasteful)
    peak, _ = peak_and_growth(name, steps=3)
    assert peak >= SMALL
