"""Cross-validation jobs by real trainers: beside jobs of each fold alone, and killed on the way."""

import statistics

import numpy as np
import pytest

import chainrule
from tests import training_jobs
from tests.waiting import eventually
from tests.worker.test_worker_supervisor import flip_byte

pytestmark = pytest.mark.timeout(240)
FOLDS = 3
DATA = {"target": "digit", "split": {"kind": "k_fold", "folds": FOLDS, "test": 0.2}}
NETWORK = [{"kind": "dense", "units": 16, "activation": "relu"}, {"kind": "dense", "units": "auto"}]


def submit(database, split=None, *, tensors=None, schema=None, data=DATA, **training):
    if tensors is None:
        tensors, schema = training_jobs.digits()
    dataset_id = training_jobs.store(database, tensors, schema)
    data = data | {"split": data["split"] | (split or {})}
    return training_jobs.submit(database, dataset_id, layers=NETWORK, data=data, **training)


def reached(database, job_id, *, epoch):
    """Wait until the job has committed so many epochs."""

    def look():
        job = training_jobs.read(database, job_id)
        assert job.state in {"queued", "running"}, "it was too fast"
        return job.epoch >= epoch

    eventually(look)


def test_a_job_is_the_jobs_of_its_folds_and_one_more(slots, database):
    job_id = submit(database, epochs=2)
    job = slots.run(job_id)
    assert job.state == "succeeded", job.error
    found = job.metrics["cross_validation"]
    alone = [slots.run(submit(database, {"fold": n}, epochs=2)) for n in range(1, FOLDS + 1)]
    rows = [one.recipe["rows"] for one in alone]
    assert sum(row["validation"] for row in rows) == job.recipe["rows"]["train"]
    assert {row["test"] for row in rows} == {job.recipe["rows"]["test"]} == {359}
    for fold, one in zip(found["folds"], alone, strict=True):
        assert fold["validation"] == one.metrics["validation"]
        assert fold["train"] == one.metrics["train"]
    for name, mean in found["mean"].items():
        values = [one.metrics["validation"][name] for one in alone]
        assert mean == job.metrics["validation"][name] == statistics.fmean(values)
        error = statistics.stdev(values) / FOLDS**0.5
        assert found["standard_error"][name] == pytest.approx(error, rel=1e-12)
    assert job.epoch == job.epochs == 2 * (FOLDS + 1)
    assert job.step == job.steps == sum(one.steps for one in alone) + 2 * 45  # of 1,438 rows by 32
    epochs = training_jobs.epochs(database, job_id)
    assert [row[0] for row in epochs] == list(range(1, 9))
    assert [row[3] is None for row in epochs] == [False] * 6 + [True] * 2
    training_jobs.check_units(database, job_id)


def test_the_model_is_of_all_rows_but_the_test(slots, database):
    job = slots.run(job_id := submit(database, epochs=2))
    tensors, schema = training_jobs.digits()
    model, bundle = training_jobs.model(database, job_id)
    kept = chainrule.load(bundle).recipe.indices(tensors)
    # The same rows kept aside by a column of their own.
    tensors["aside"] = np.zeros(len(tensors["digit"]))
    tensors["aside"][kept.test] = 1
    schema["columns"].append({"name": "aside", "type": "number", "missing": 0})
    data = {"target": "digit", "split": {"kind": "column", "column": "aside", "test": [1]}}
    other = slots.run(submit(database, tensors=tensors, schema=schema, data=data, epochs=2))
    assert other.metrics["test"] == job.metrics["test"]
    with database.read():
        assert training_jobs.model(database, other.id)[0].weights_sha256 == model.weights_sha256


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_killed_paused_and_robbed_of_a_checkpoint_it_ends_with_the_same_bits(slots, database):
    undisturbed = slots.run(submit(database, epochs=700))
    job_id = submit(database, epochs=700)
    slots.begin(job_id)
    reached(database, job_id, epoch=701)  # the second fold
    slots.trainer.kill()
    reached(database, job_id, epoch=1401)  # the third
    training_jobs.pause(database, job_id)
    eventually(lambda: training_jobs.read(database, job_id).state == "paused")
    flip_byte(database, training_jobs.checkpoints(database, job_id)[-1].blob)
    training_jobs.resume(database, job_id)
    job = slots.run(job_id)
    assert (job.state, job.error) == ("succeeded", None)
    assert job.attempt > 1
    assert job.metrics == undisturbed.metrics
    training_jobs.check_units(database, job_id)
    ours, theirs = (training_jobs.model(database, one)[0] for one in (job_id, undisturbed.id))
    assert ours.weights_sha256 == theirs.weights_sha256


def test_early_stopping_leaves_steps_out_and_the_job_is_whole(slots, database):
    stopping = {"patience": 1, "restore_best": True}
    optimizer = {"kind": "adam", "learning_rate": 0.03}
    job_id = submit(database, epochs=25, early_stopping=stopping, optimizer=optimizer)
    job = slots.run(job_id)
    assert job.state == "succeeded", job.error
    kept = [fold["epoch"] for fold in job.metrics["cross_validation"]["folds"]]
    epochs = training_jobs.epochs(database, job_id)
    assert max(kept) < 24
    assert len([row for row in epochs if row[0] > 75]) == round(statistics.fmean(kept))
    assert [row[0] for row in epochs] == sorted({row[0] for row in epochs})
    training_jobs.check_units(database, job_id)


def test_messy_columns_keep_their_features_and_learn_their_numbers_anew(slots, database):
    """A category and a hole that one fold's training rows have none of."""
    rng = np.random.default_rng(2)
    rows = 30
    colour = np.zeros(rows, np.int32)
    colour[7] = 1
    size = rng.normal(size=rows)
    size[11] = np.nan
    tensors = {"colour": colour, "size": size, "price": rng.normal(50, 9, rows)}
    columns = [
        {"name": "colour", "type": "categorical", "missing": 0, "categories": ["blue", "red"]},
        {"name": "size", "type": "number", "missing": 1},
        {"name": "price", "type": "number", "missing": 0},
    ]
    schema = {"kind": "table", "rows": rows, "columns": columns, "warnings": []}
    data = {
        "target": "price",
        "split": {"kind": "k_fold", "folds": 5, "test": 0},
        "preprocessing": {"number": {"indicator": True, "missing": "median"}},
    }
    job = slots.run(submit(database, tensors=tensors, schema=schema, data=data, epochs=1))
    assert job.state == "succeeded", job.error
    assert job.metrics["test"] is None
    assert len(job.metrics["cross_validation"]["folds"]) == 5
    assert job.config["architecture"]["input"] == {"shape": [4]}
