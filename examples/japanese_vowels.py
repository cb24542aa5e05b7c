"""Who says /ae/?  Nine speakers told apart by sequences of 7 to 29 steps, with an LSTM.

Start `chainrule up` in another terminal, then: python examples/japanese_vowels.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import sys
import time

import numpy as np

import chainrule

try:
    from sktime.datasets import load_japanese_vowels
except ModuleNotFoundError:
    sys.exit("the recordings come with a package: pip install sktime")

STEPS, FEATURES = 29, 12  # of the longest recording


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the recordings of the official train or test part, and their speakers from 0 to 8.

    Shapes: (recordings, STEPS, FEATURES), zeros after the end of a shorter one; (recordings,).
    """
    table, speakers = load_japanese_vowels(split=part, return_type="nested_univ")
    padded = np.zeros((len(table), STEPS, FEATURES), np.float32)
    for row, recording in zip(padded, table.to_numpy(), strict=True):
        steps = np.stack(list(recording), axis=1)
        row[: len(steps)] = steps
    return padded, np.asarray(speakers).astype(np.int64) - 1


network = {
    "name": "vowels",
    "layers": [
        {"kind": "masking"},  # the layers below skip the steps that are all zeros
        {"kind": "bidirectional", "layer": {"kind": "lstm", "units": 48}},
        {"kind": "dropout", "rate": 0.3},
        {"kind": "dense", "units": "auto"},
    ],
}
training = {
    "loss": {"kind": "softmax_cross_entropy", "label_smoothing": 0.1},
    "optimizer": {"kind": "adam", "learning_rate": 0.01},
    "schedule": "one_cycle",
    "ema_momentum": 0.98,  # the model is a moving average of the weights
    "epochs": 30,
    "seed": 0,
}
# All 270 recordings of the train part are learnt from: the official test part has 370 others.
data = {"task": "classification", "split": {"validation": 0.0, "test": 0.0}}

with chainrule.Client() as client:
    dataset = client.upload(load("train"), name="japanese vowels")
    began = time.monotonic()
    job = client.train(dataset, network, training, data=data, name="vowels").wait()
    if job.state != "succeeded":
        sys.exit(job.summary())
    print(f"trained in {time.monotonic() - began:.0f} s")
    recordings, speakers = load("test")
    told = job.predict(inputs=recordings)["predictions"]

print(f"accuracy of the {len(speakers)} official test recordings {np.mean(told == speakers):.4f}")
