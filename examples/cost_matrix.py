"""Errors that cost more than others: tumours told apart, with and without a cost matrix.

Start `chainrule up` in another terminal, then: python examples/cost_matrix.py
"""
# ruff: noqa: T201 an example prints

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np

import chainrule

try:
    from sklearn.datasets import load_breast_cancer
except ModuleNotFoundError:
    sys.exit("the measurements come with a package: pip install scikit-learn")

CLASSES = ["benign", "malignant"]  # ascending, as the service numbers them
COSTS = [[0, 1], [20, 0]]  # cost[true][predicted]: a tumour that is missed costs 20 false alarms

found = load_breast_cancer()
columns = ["mean radius", "mean texture", "mean smoothness"]  # few, so that the classes overlap
numbers = found.data[:, [list(found.feature_names).index(name) for name in columns]]
labels = [str(found.target_names[number]) for number in found.target]
rows = [
    {**dict(zip(columns, map(float, row), strict=True)), "diagnosis": label}
    for row, label in zip(numbers, labels, strict=True)
]
order = np.random.default_rng(0).permutation(len(rows))
kept, learnt = ([rows[i] for i in part] for part in (order[:200], order[200:]))

network = {
    "name": "tumours",
    "layers": [
        {"kind": "dense", "units": 8, "activation": "tanh"},
        {"kind": "dense", "units": "auto"},
    ],
}
training = {"optimizer": {"kind": "adam", "learning_rate": 0.01}, "epochs": 40, "seed": 0}
data = {"target": "diagnosis", "split": {"validation": 0.0, "test": 0.0}}

with chainrule.Client() as client, tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "tumours.csv"
    with file.open("w", newline="") as out:
        table = csv.DictWriter(out, fieldnames=[*columns, "diagnosis"])
        table.writeheader()
        table.writerows(learnt)
    dataset = client.upload(file)
    print(f"{len(kept)} tumours kept aside:")
    for title, more in (("no costs", {}), ("cost matrix", {"class_weights": COSTS})):
        job = client.train(dataset, network, {**training, **more}, data=data, name=title).wait()
        if job.state != "succeeded":
            sys.exit(job.summary())
        told = job.predict(kept)["predictions"]
        pairs = [
            (CLASSES.index(row["diagnosis"]), CLASSES.index(answer))
            for row, answer in zip(kept, told, strict=True)
        ]
        missed, alarms = pairs.count((1, 0)), pairs.count((0, 1))
        cost = sum(COSTS[true][predicted] for true, predicted in pairs)
        print(f"{title:12} missed {missed:2}  false alarms {alarms:2}  total cost {cost}")
