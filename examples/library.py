"""Train and use a network with the library alone: no service, no network, nothing but numpy.

python examples/library.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import chainrule

# Two interleaved spirals: the classic that no linear model can tell apart.
rng = np.random.default_rng(0)
turn = np.sqrt(rng.random(600)) * 3 * np.pi
label = rng.integers(0, 2, 600)
x = np.stack([turn * np.cos(turn + np.pi * label), turn * np.sin(turn + np.pi * label)], axis=1)
x = (x / 3).astype(np.float32)

spec = {
    "input": {"shape": [2]},
    "layers": [
        {"kind": "dense", "units": 32, "activation": "tanh"},
        {"kind": "dense", "units": 32, "activation": "tanh"},
        {"kind": "dense", "units": 2},
    ],
}
training = {
    "loss": "softmax_cross_entropy",
    "optimizer": {"kind": "adam", "learning_rate": 0.01},
    "epochs": 200,
}

print("gradients against finite differences, largest relative error of each layer:")
print(chainrule.check_gradients(spec))

net = chainrule.Network(spec, seed=1)
learnt, kept = (x[:500], label[:500]), (x[500:], label[500:])
for report in chainrule.fit(net, learnt, training, validation=kept):
    if report.epoch % 40 == 0 and report.validation:
        print(f"epoch {report.epoch:3}  validation accuracy {report.validation['accuracy']:.3f}")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "spirals.zip"
    net.save(path)
    print("saved and loaded:", chainrule.load(path).predict(x[:3]))
