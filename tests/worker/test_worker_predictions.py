"""Batch predictions by real trainers under a supervisor in this process, on both engines."""

import csv
import io
import itertools
import json
import os
import signal

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load

import chainrule
from service.actions import datasets, predictions
from service.actions.requests import PredictionRequest
from service.settings import Settings
from service.store import blobs
from service.store.tables import Blob, Chunk, Dataset, Part
from tests import training_jobs
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
TABLE = '''age,town,species
21,York,oak
35,"Bath, upper",=ash
48,York,oak
52,Ely,=ash
,Ely,"beech ""red"""
60,,"beech ""red"""
'''
OTHERS = """town,age,id
Ely,33,a
Oslo,21,b
"Bath, upper",,c
,70,d
"""


class Upload:
    """Stores a file as the API does; ``path`` is the last one's."""

    def __init__(self, database, parser, path):
        self.database = database
        self.parser = parser
        self.path = path

    def __call__(self, data):
        self.path.write_bytes(data.encode() if isinstance(data, str) else data)
        bell, folder = training_jobs.SilentBell(), self.path.parent
        intake = datasets.Intake(self.database, self.parser, bell, folder, 2**26)
        upload = datasets.Upload(training_jobs.TENANT, "rows", "csv")
        return datasets.create(intake, upload, self.path)[0]


@pytest.fixture
def upload(database, parser, tmp_path):
    return Upload(database, parser, tmp_path / "upload")


def submit(database, model_id, dataset_id, format_="csv"):
    request = PredictionRequest(dataset_id=dataset_id, format=format_)
    job = predictions.submit(
        database,
        training_jobs.SilentBell(),
        Settings.from_env({"HOME": "/nonexistent"}),
        tenant=training_jobs.TENANT,
        model_id=model_id,
        request=request,
    )
    return job.id


def result(database, job):
    """The dataset that a job has made, and its file."""
    assert job.state == "succeeded", job.error
    with database.read() as session:
        row = datasets.get(session, training_jobs.TENANT, job.result["dataset_id"])
    return row, b"".join(datasets.content(database, row))


def trained(slots, dataset_id, **changes):
    """Train a model for a moment; return its id and the model."""
    job_id = training_jobs.submit(
        slots.database, dataset_id, **{"epochs": 2, "batch_size": 2} | changes
    )
    job = slots.run(job_id)
    assert job.state == "succeeded", job.error
    return job.model_id, chainrule.load(training_jobs.model(slots.database, job_id)[1])


def cells(text):
    return [
        {"age": float(row["age"]) if row["age"] else None, "town": row["town"] or None}
        for row in csv.DictReader(io.StringIO(text))
    ]


@pytest.fixture
def trees(slots, upload):
    data = {"inputs": ["age", "town"], "target": "species", "split": NOTHING_ASIDE}
    return trained(slots, upload(TABLE).id, layers=HEAD, data=data)


HEAD = [{"kind": "dense", "units": "auto"}]
NOTHING_ASIDE = {"validation": 0, "test": 0}


def test_each_row_is_answered_in_order_as_the_model_does(slots, database, upload, trees):
    model_id, model = trees
    here = model.predict(cells(OTHERS))
    job = slots.run(submit(database, model_id, upload(OTHERS).id))
    assert (job.state, job.error, job.step, job.attempt) == ("succeeded", None, 4, 1)
    row, file = result(database, job)
    table = list(csv.DictReader(io.StringIO(file.decode())))
    # A word that a spreadsheet would run as a formula is written as text.
    assert [one["prediction"].removeprefix("'") for one in table] == here["predictions"]
    found = [[float(one[f"probability_{c}"]) for c in here["classes"]] for one in table]
    np.testing.assert_allclose(found, here["probabilities"], rtol=1e-6)
    assert (row.rows, row.format, row.name) == (4, "csv", "network on rows")
    assert training_jobs.history(database, job.id) == ["queued", "running", "succeeded"]


def test_a_result_is_the_dataset_that_its_file_makes_when_it_is_uploaded(
    slots, database, upload, trees, parser
):
    job = slots.run(submit(database, trees[0], upload(OTHERS).id))
    row, file = result(database, job)
    assert upload(file).id == row.id  # the same bytes are the same dataset
    parsed = parser.parse(upload.path, "csv")
    assert row.schema == parsed.schema
    with database.read() as session:
        ours = load(blobs.read(session, row.prepared))
    theirs = load(parsed.prepared.read_bytes())
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        assert ours[name].dtype == values.dtype
        np.testing.assert_array_equal(ours[name], values)


def test_the_formats_say_the_same(slots, database, upload, trees):
    dataset_id = upload(OTHERS).id
    files = {
        name: result(database, slots.run(submit(database, trees[0], dataset_id, name)))[1]
        for name in ("csv", "ndjson", "npy", "parquet")
    }
    table = list(csv.DictReader(io.StringIO(files["csv"].decode())))
    lines = [json.loads(line) for line in files["ndjson"].splitlines()]
    array = np.load(io.BytesIO(files["npy"]), allow_pickle=False)
    assert [list(line) for line in lines] == [list(one) for one in table]
    assert [line["prediction"] for line in lines] == array["prediction"].tolist()
    assert pl.read_parquet(io.BytesIO(files["parquet"])).to_dicts() == lines
    for line, one, probability in zip(lines, table, array["probability"], strict=True):
        _, *numbers = line.values()
        assert numbers == probability.tolist() == [float(text) for text in [*one.values()][1:]]


def test_numbers_come_in_the_units_of_the_target(slots, database, upload):
    lines = "\n".join(f"{x},{1000 + 3 * x}" for x in range(40))
    dataset = upload(f"x,y\n{lines}\n")
    model_id, model = trained(slots, dataset.id, layers=HEAD, data={"target": "y"})
    file = result(database, slots.run(submit(database, model_id, dataset.id)))[1]
    head, *found = file.decode().splitlines()
    assert head == "prediction"
    here = model.predict([{"x": x} for x in range(40)])["predictions"]
    np.testing.assert_allclose(np.array(found, float), here, rtol=1e-6)


def test_arrays_with_steps_and_several_outputs_become_columns(slots, database):
    rng = np.random.default_rng(2)
    tensors: dict[str, np.ndarray] = {
        "x": rng.normal(size=(30, 4, 2)).astype(np.float32),
        "curve": rng.normal(size=(30, 4, 1)).astype(np.float32),
        "class": rng.integers(0, 3, 30),
    }
    arrays = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    schema = {"kind": "arrays", "rows": 30, "arrays": arrays, "warnings": []}
    dataset_id = training_jobs.store(database, tensors, schema)
    architecture = {
        "inputs": {"x": {"shape": [4, 2]}},
        "layers": [
            {"kind": "dense", "units": 1, "name": "curve", "inputs": ["x"]},
            {"kind": "flatten", "name": "flat", "inputs": ["x"]},
            {"kind": "dense", "units": 3, "name": "class"},
        ],
        "outputs": ["curve", "class"],
    }
    document = {
        "dataset_id": dataset_id,
        "architecture": architecture,
        "data": {"inputs": "x", "target": {"curve": "curve", "class": "class"}},
        "training": {"epochs": 1},
    }
    job = slots.run(training_jobs.submit_request(database, document))
    assert job.state == "succeeded", job.error
    model = chainrule.load(training_jobs.model(database, job.id)[1])
    here = model.predict(tensors["x"])
    job = slots.run(submit(database, job.model_id, dataset_id, "npy"))
    row, file = result(database, job)
    array = np.load(io.BytesIO(file), allow_pickle=False)
    assert array["curve.prediction"].shape == (30, 4, 1)
    np.testing.assert_allclose(array["curve.prediction"], here["predictions"]["curve"], rtol=1e-5)
    np.testing.assert_array_equal(array["class.prediction"], here["predictions"]["class"])
    np.testing.assert_allclose(
        array["class.probability"], here["probabilities"]["class"], rtol=1e-5
    )
    assert [column["name"] for column in row.schema["columns"]] == [
        *(f"curve.prediction_{step}_0" for step in range(4)),
        "class.prediction",
        *(f"class.probability_{label}" for label in range(3)),
    ]


# Jobs of many blocks.

ROWS = 100_000


@pytest.fixture
def wide(slots, database):
    """A model, and a dataset of seven blocks for it."""
    few = training_jobs.store(database, *training_jobs.noise(500, 16))
    layers = [{"kind": "dense", "units": 256, "activation": "tanh"}, {"kind": "dense", "units": 1}]
    data = {"inputs": "inputs", "target": "targets"}
    model_id, model = trained(slots, few, layers=layers, data=data, batch_size=64)
    tensors, schema = training_jobs.noise(ROWS, 16)
    return model_id, training_jobs.store(database, tensors, schema), model, tensors


def begun(slots, job_id):
    """Start a job and return it once a block of it is committed."""
    slots.begin(job_id)
    return eventually(
        lambda: (job := training_jobs.read(slots.database, job_id)).step > 0 and job,
        every_s=0.005,
    )


def test_a_killed_trainer_goes_on_from_its_last_block_with_the_same_bytes(slots, database, wide):
    model_id, dataset_id, model, tensors = wide
    undisturbed = result(database, slots.run(submit(database, model_id, dataset_id, "ndjson")))[1]
    wanted = model.predict(tensors["inputs"])["predictions"]
    found = [json.loads(line)["prediction_0"] for line in undisturbed.splitlines()]
    np.testing.assert_allclose(np.array(found)[:, None], wanted, rtol=1e-3, atol=1e-5)
    training_jobs.execute(database, "UPDATE datasets SET sha256 = id WHERE name LIKE 'network%'")
    job_id = submit(database, model_id, dataset_id, "ndjson")
    job = begun(slots, job_id)
    assert job.step < ROWS
    trainer = slots.trainer
    os.kill(trainer.pid, signal.SIGKILL)
    job = slots.end_of(job_id)
    assert (job.state, job.error, job.attempt) == ("succeeded", None, 2)
    training_jobs.check_units(database, job_id)
    second = training_jobs.execute(
        database, "SELECT min(prev) FROM steps WHERE job_id = :j AND attempt = 2", j=job_id
    )
    assert second[0][0] > 0, "it went on from a committed block"
    assert training_jobs.receipts(database, job_id) == [{"step": second[0][0], "bit_exact": True}]
    assert result(database, job)[1] == undisturbed


def test_a_cancelled_prediction_leaves_no_dataset_and_no_bytes(slots, database, wide, scene):
    model_id, dataset_id, *_ = wide
    before = scene.count(Dataset), scene.count(Blob), scene.count(Chunk)
    job_id = submit(database, model_id, dataset_id)
    assert begun(slots, job_id).step < ROWS
    training_jobs.cancel(database, job_id)
    job = slots.end_of(job_id)
    assert (job.state, job.result, job.crashes) == ("cancelled", None, 0)
    assert scene.count(Part) > 0
    blobs.collect(database, older_than_s=-1.0)
    after = scene.count(Dataset), scene.count(Blob), scene.count(Chunk)
    assert (scene.count(Part), after) == (0, before)


def test_a_worker_told_to_end_gives_a_prediction_back_uncounted(slots, database, wide, new_slots):
    model_id, dataset_id, *_ = wide
    job_id = submit(database, model_id, dataset_id)
    begun(slots, job_id)
    slots.stop()
    job = training_jobs.read(database, job_id)
    assert (job.state, 0 < job.step < ROWS) == ("queued", True)
    job = new_slots().run(job_id)
    assert (job.state, job.crashes, job.attempt) == ("succeeded", 0, 2)
    training_jobs.check_units(database, job_id)


def test_a_result_that_is_whole_leaves_no_parts(slots, database, wide, scene):
    job = slots.run(submit(database, *wide[:2], "npy"))
    assert (job.state, scene.count(Part)) == ("succeeded", 0)
    assert blobs.collect(database, older_than_s=-1.0) == 0, "nothing was left behind"
    assert len(result(database, job)[1]) == job.steps * 8 + 128


def test_a_row_that_cannot_be_read_fails_the_job_and_is_named(slots, database, wide):
    model_id, _, _, tensors = wide
    inputs = tensors["inputs"].copy()
    inputs[ROWS - 7, 3] = np.nan
    schema = training_jobs.noise(ROWS, 16)[1]
    dataset_id = training_jobs.store(database, {**tensors, "inputs": inputs}, schema)
    job = slots.run(submit(database, model_id, dataset_id))
    assert (job.state, job.attempt, job.result) == ("failed", 1, None)
    assert (job.error["code"], job.error["row"]) == ("data_invalid", ROWS - 7)
    assert job.error["detail"] == f"rows[{ROWS - 7}]: must be finite numbers"


def test_the_model_of_a_queued_prediction_stays_although_it_is_deleted(slots, database, wide):
    model_id, dataset_id, *_ = wide
    job_id = submit(database, model_id, dataset_id)
    training_jobs.execute(database, "DELETE FROM models")
    blobs.collect(database, older_than_s=-1.0)
    assert slots.run(job_id).state == "succeeded"


def test_a_damaged_dataset_fails_the_job(slots, database, wide):
    model_id, dataset_id, *_ = wide
    job_id = submit(database, model_id, dataset_id)
    with database.read() as session:
        chunk = blobs.chunks(session, session.scalar(training_jobs.prepared_of(job_id)))[1]
    training_jobs.execute(database, "UPDATE chunks SET data = :b WHERE sha256 = :c", b=b"", c=chunk)
    job = slots.run(job_id)
    assert (job.state, job.error["code"]) == ("failed", "data_corrupt")


def test_blocks_are_a_part_of_the_job(database, slots, wide):
    job = training_jobs.read(database, submit(database, *wide[:2]))
    rows = job.config["block_rows"]
    assert rows == 16_384
    slots.run(job.id)
    ends = [step for _, step in training_jobs.steps(database, job.id)]
    assert ends == [*itertools.takewhile(lambda n: n < ROWS, itertools.count(rows, rows)), ROWS]
