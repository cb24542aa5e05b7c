"""Networks with several inputs and outputs, from the request to the model's predictions."""

import numpy as np
import pytest

from chainrule import bundle
from tests import training_jobs
from tests.graph_jobs import PAIR_LAYERS, pair_job, pairs

pytestmark = pytest.mark.timeout(240)

ADAM = {"kind": "adam", "learning_rate": 0.01}


def run(slots, database, tensors, job):
    """Run a job on arrays to its end; return it and its model."""
    entries = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    rows = len(next(iter(tensors.values())))
    schema = {"kind": "arrays", "rows": rows, "arrays": entries, "warnings": []}
    dataset_id = training_jobs.store(database, tensors, schema)
    job_id = training_jobs.submit_request(database, {"dataset_id": dataset_id, **job})
    done = slots.run(job_id)
    assert (done.state, done.error) == ("succeeded", None)
    return done, bundle.load(training_jobs.model(database, job_id)[1])


def test_a_siamese_network_learns_what_a_pair_has_in_common_and_how_far_it_is_apart(
    slots, database
):
    job = pair_job()
    job["training"] |= {"epochs": 60, "optimizer": ADAM}
    done, model = run(slots, database, pairs(1200), job)
    test = done.metrics["test"]
    assert test["same.accuracy"] > 0.9
    assert test["far.r2"] > 0.8
    certificate = model.manifest["certificate"]
    assert certificate["status"] == "passed"
    assert certificate["loss"] == {"same": "softmax_cross_entropy", "far": "huber"}
    new = pairs(400, seed=1)
    answer = model.predict({name: new[name] for name in ("left", "right")})
    assert np.mean(np.array(answer["predictions"]["same"]) == new["same"]) > 0.9
    assert np.mean(np.abs(np.array(answer["predictions"]["far"]) - new["far"])) < 0.2


def test_the_weight_of_a_loss_decides_what_is_learnt(slots, database):
    tensors = pairs(600)
    errors = {}
    for weight in (1e-6, 1.0):
        job = pair_job()
        job["training"] |= {
            "losses": {"far": {"kind": "mean_squared_error", "weight": weight}},
            "epochs": 20,
            "optimizer": ADAM,
        }
        done, _ = run(slots, database, tensors, job)
        errors[weight] = done.metrics["train"]["far.mse"]
    assert errors[1.0] < errors[1e-6] / 3


def test_one_output_of_two_inputs_is_a_job_like_any_other(slots, database):
    layers = [*PAIR_LAYERS[:4], {"kind": "dense", "units": "auto"}]
    job = {
        "data": {"inputs": {"left": "left", "right": "right"}, "target": "same"},
        "architecture": {"layers": layers},
        "training": {"epochs": 40, "optimizer": ADAM, "class_weights": {"0": 2.0}},
    }
    done, model = run(slots, database, pairs(600), job)
    assert done.metrics["test"]["accuracy"] > 0.85
    assert done.config["training"]["class_weights"] == [2.0, 1.0]
    new = pairs(3, seed=1)
    answer = model.predict({name: new[name] for name in ("left", "right")})
    assert len(answer["predictions"]) == 3
    assert answer["classes"] == [0, 1]
