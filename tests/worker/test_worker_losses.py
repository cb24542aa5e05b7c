"""Jobs whose loss is none of the three usual ones, from the request to the model's predictions."""

import numpy as np
import pytest

from chainrule import bundle
from tests import training_jobs

pytestmark = pytest.mark.timeout(240)


def arrays(**tensors):
    """Arrays as a prepared dataset."""
    entries = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    rows = len(next(iter(tensors.values())))
    return tensors, {"kind": "arrays", "rows": rows, "arrays": entries, "warnings": []}


def run(slots, database, dataset, units, data, **training):
    """Run a job with a hidden layer to its end; return it and its model."""
    layers = [
        {"kind": "dense", "units": units, "activation": "tanh"},
        {"kind": "dense", "units": "auto"},
    ]
    job_id = training_jobs.submit(
        database, training_jobs.store(database, *dataset), layers=layers, data=data, **training
    )
    job = slots.run(job_id)
    assert (job.state, job.error) == ("succeeded", None)
    return job, bundle.load(training_jobs.model(database, job_id)[1])


def test_an_autoencoder_of_digits_gives_back_its_inputs(slots, database):
    tensors, _ = training_jobs.digits()
    pixels = [name for name in tensors if name != "digit"]
    images = (np.stack([tensors[name] for name in pixels], axis=1) / 16).astype(np.float32)
    data = {"inputs": "images", "task": "reconstruction"}
    job, model = run(
        slots, database, arrays(images=images), 24, data, epochs=15, optimizer={
            "kind": "adam", "learning_rate": 0.01
        },
    )  # fmt: skip
    assert job.config["data"]["target"] is None
    mean_only = float(images.var(axis=0).mean())
    assert job.metrics["test"]["mse"] < mean_only / 3
    answer = np.array(model.predict(images[:50])["predictions"])
    assert answer.shape == (50, 64)
    assert np.square(answer - images[:50]).mean() < mean_only / 3


def test_a_huber_regression_withstands_rows_that_are_wrong_and_one_that_counts_nothing(
    slots, database
):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, 1)).astype(np.float32)
    y = 2 * x[:, 0]
    y[::10] += 100.0
    weights = np.ones(300, np.float32)
    weights[5:30:10] = 0.0
    data = {"inputs": "x", "target": "y", "sample_weight": "w", "split": {"test": 0.0}}
    loss = {"kind": "huber", "delta": 0.1}
    job, model = run(
        slots, database, arrays(x=x, y=y, w=weights), 8, data, loss=loss, epochs=60, optimizer={
            "kind": "adam", "learning_rate": 0.02
        },
    )  # fmt: skip
    assert job.config["training"]["loss"] == loss
    at = np.array([[-0.5], [0.0], [0.5]])
    assert np.abs(np.array(model.predict(at)["predictions"]) - 2 * at[:, 0]).max() < 0.3


def test_costly_errors_are_avoided(slots, database):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((600, 1)).astype(np.float32)
    y = (x[:, 0] + rng.standard_normal(600) > 0).astype(np.int64)
    data = {"inputs": "x", "target": "y"}
    missed = []
    for costs in ([[0, 1], [1, 0]], [[0, 1], [10, 0]]):
        _, model = run(slots, database, arrays(x=x, y=y), 4, data, epochs=20, class_weights=costs)
        told = np.array(model.predict(x)["predictions"])
        missed.append(float(np.mean(told[y == 1] == 0)))
    assert missed[1] < 0.1 < missed[0]
