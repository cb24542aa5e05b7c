"""Digits through eight numbers and back: a convolutional autoencoder beside PCA.

Start `chainrule up` in another terminal, then: python examples/digits_autoencoder.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import sys
import time
from importlib.resources import files

import numpy as np

import chainrule

CODE = 8  # numbers that a picture of 64 cells is squeezed into

with (files("chainrule") / "data" / "digits.csv").open() as table:
    cells = np.loadtxt(table, delimiter=",", skiprows=1)[:, :64] / 16  # column 64 is the digit
images = cells.reshape(-1, 8, 8, 1).astype(np.float32)
order = np.random.default_rng(0).permutation(len(images))
kept, learnt = images[order[:360]], images[order[360:]]

conv = {"kernel_size": 3, "padding": "same"}
network = {
    "name": "autoencoder",
    "layers": [
        {"kind": "conv2d", "filters": 16, "activation": "gelu", **conv},
        {"kind": "conv2d", "filters": 32, "activation": "gelu", "strides": 2, **conv},
        {"kind": "flatten"},
        {"kind": "dense", "units": CODE, "name": "code"},
        {"kind": "dense", "units": 4 * 4 * 32, "activation": "gelu"},
        {"kind": "reshape", "target_shape": [4, 4, 32]},
        {"kind": "conv2d_transpose", "filters": 16, "activation": "gelu", "strides": 2, **conv},
        {"kind": "conv2d", "filters": 1, **conv},
    ],
}
training = {
    "optimizer": {"kind": "adam", "learning_rate": 0.005},
    "schedule": "one_cycle",
    "epochs": 30,
    "seed": 0,
}
data = {"task": "reconstruction", "split": {"validation": 0.0, "test": 0.0}}

with chainrule.Client() as client:
    dataset = client.upload({"images": learnt}, name="digits as images")
    began = time.monotonic()
    job = client.train(dataset, network, training, data=data, name="autoencoder").wait()
    if job.state != "succeeded":
        sys.exit(job.summary())
    print(f"trained in {time.monotonic() - began:.0f} s")
    remade = np.array(job.predict(inputs=kept)["predictions"])

# PCA of the same rows: the best that any linear network with a code of this size can do with them.
flat = learnt.reshape(len(learnt), -1)
mean = flat.mean(axis=0)
axes = np.linalg.svd(flat - mean, full_matrices=False)[2][:CODE]
projected = (kept.reshape(len(kept), -1) - mean) @ axes.T @ axes + mean

ours = float(np.square(remade - kept).mean())
pca = float(np.square(projected - kept.reshape(len(kept), -1)).mean())
print(f"mean squared error of {len(kept)} digits kept aside, codes of {CODE} numbers:")
print(f"PCA {pca:.5f}")
print(f"autoencoder {ours:.5f}, {1 - ours / pca:.0%} below PCA")
