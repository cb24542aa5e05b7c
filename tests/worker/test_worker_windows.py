"""Jobs on windows of a table, and predictions with their models, by real trainers."""

import csv
import io
import os
import signal

import numpy as np
import pytest

import chainrule
from service.actions import datasets, predictions
from service.actions.requests import PredictionRequest
from service.settings import Settings
from tests import training_jobs
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
SHOPS = ["Bonn", "Köln", "Ulm"]
NETWORK = [{"kind": "lstm", "units": 8}, {"kind": "dense", "units": "auto"}]
WINDOW = {"length": 6, "group": "shop", "order_by": "day"}
DATA = {
    "target": "sales",
    "window": WINDOW,
    "split": {"validation": 0.2, "test": 0.2},
}


def sales(days=60):
    """A table of three shops, a row for each day of each; the rows of a shop are not together."""
    rng = np.random.default_rng(5)
    day, shop = np.arange(3.0 * days) // 3, np.arange(3 * days, dtype=np.int32) % 3
    tensors = {
        "day": day,
        "shop": shop,
        "price": rng.normal(5, 1, 3 * days),
        "sales": np.sin(day + shop) + rng.normal(0, 0.1, 3 * days),
    }
    columns = [{"name": n, "type": "number", "missing": 0, "unique": days} for n in tensors]
    columns[1] |= {"type": "categorical", "categories": SHOPS, "unique": 3}
    return tensors, {"kind": "table", "rows": 3 * days, "columns": columns, "warnings": []}


def submit(database, **training):
    dataset_id = training_jobs.store(database, *sales())
    return training_jobs.submit(database, dataset_id, layers=NETWORK, data=DATA, **training)


def answered(slots, model_id, dataset_id):
    """Predict a dataset in a job; return the predictions of its file."""
    database = slots.database
    job = predictions.submit(
        database,
        training_jobs.SilentBell(),
        Settings.from_env({"HOME": "/nonexistent"}),
        tenant=training_jobs.TENANT,
        model_id=model_id,
        request=PredictionRequest(dataset_id=dataset_id),
    )
    done = slots.run(job.id)
    assert done.state == "succeeded", done.error
    with database.read() as session:
        row = datasets.get(session, training_jobs.TENANT, done.result["dataset_id"])
    file = b"".join(datasets.content(database, row)).decode()
    lines = [*csv.DictReader(io.StringIO(file))]
    return [one["group"] for one in lines], [float(one["prediction"]) for one in lines]


def test_a_job_counts_windows_and_its_model_forecasts_each_group(slots, database):
    job_id = submit(database, epochs=3, batch_size=16)
    job = slots.run(job_id)
    assert job.state == "succeeded", job.error
    # Of each shop's 60 days 36 train, and 12 each are kept aside: n - 6 windows of n days.
    assert job.recipe["rows"] == {"train": 90, "validation": 18, "test": 18, "dropped": 54}
    assert job.steps == 3 * 6  # batches of 16 windows
    assert job.config["data"]["split"]["kind"] == "time"
    assert job.config["data"]["task"] == "forecast"
    assert set(job.metrics["test"]) == {"loss", "mae", "mse", "r2"}
    model, bundle = training_jobs.model(database, job_id)
    tensors, schema = sales()
    # Rows of Ulm come first here: so does its forecast.
    order = np.argsort(-tensors["shop"], kind="stable")
    rows = [
        {**{n: tensors[n][i] for n in ("day", "price", "sales")}, "shop": SHOPS[tensors["shop"][i]]}
        for i in order
    ]
    answer = chainrule.load(bundle).predict(rows)
    assert answer["groups"] == [*SHOPS[::-1]]
    told = answer["predictions"]
    alone = [
        chainrule.load(bundle).predict([r for r in rows if r["shop"] == shop][-6:])["predictions"]
        for shop in SHOPS[::-1]
    ]
    np.testing.assert_allclose(told, np.ravel(alone), rtol=1e-6)
    shuffled = training_jobs.store(database, {n: t[order] for n, t in tensors.items()}, schema)
    groups, found = answered(slots, model.id, shuffled)
    assert groups == answer["groups"]
    np.testing.assert_allclose(found, told, rtol=1e-6)


def test_a_dataset_with_too_few_rows_for_a_window_is_refused(slots, database):
    model_id = slots.run(submit(database, epochs=1)).model_id
    few = training_jobs.store(database, *sales(days=5))
    with pytest.raises(chainrule.SpecError, match="the longest has 5 rows, a window takes 6"):
        answered(slots, model_id, few)


def test_killed_trainers_cost_no_bit(slots, database):
    training = {"epochs": 400, "batch_size": 8}
    whole = slots.run(submit(database, **training))
    job_id = submit(database, **training)

    def begun():
        slots.dispatch.poll()  # the slot may not be free yet
        return training_jobs.read(database, job_id).step > 0

    eventually(begun, every_s=0.05)
    os.kill(eventually(lambda: slots.trainer).pid, signal.SIGKILL)
    again = slots.end_of(job_id)
    assert (again.state, again.attempt) == ("succeeded", 2)
    assert training_jobs.epochs(database, job_id) == training_jobs.epochs(database, whole.id)
    wanted, found = (training_jobs.model(database, one.id)[1] for one in (whole, again))
    assert found == wanted


def test_the_plan_of_a_job_takes_rows_once_however_long_its_windows_are(database):
    tensors, schema = sales(days=20_000)
    dataset_id = training_jobs.store(database, tensors, schema)
    sizes = {}
    for length in (8, 800):
        job_id = training_jobs.submit(
            database,
            dataset_id,
            layers=[{"kind": "global_max_pool1d"}, {"kind": "dense", "units": 1}],
            data={**DATA, "window": {**WINDOW, "length": length}},
            batch_size=1,
        )
        sizes[length] = training_jobs.read(database, job_id).memory_bytes
    # The windows of 800 rows would be 60,000 x 800 x 2 numbers of 4 bytes, twice over.
    assert sizes[800] - sizes[8] < 0.1 * 60_000 * 800 * 2 * 4
