"""Training jobs for tests, put into a database by hand: no HTTP, no parser."""

import atexit
import csv
import shutil
import tempfile
from importlib.resources import files

import numpy as np
from safetensors.numpy import save
from sqlalchemy import select, text

from service.actions import jobs, models
from service.actions.requests import JobRequest
from service.broker.bell import Bell
from service.ids import new_id
from service.settings import Settings
from service.store import blobs
from service.store.tables import Checkpoint, Dataset, EpochMetrics, Job, JobEvent, Model, Step

TENANT = "default"
FOLDER = tempfile.mkdtemp(prefix="chainrule-tests-")  # of an API that is not there
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
FEW_EPOCHS = 250  # of the slow job: some seconds
LAYERS = [
    {"kind": "dense", "units": 128, "activation": "relu"},
    {"kind": "dense", "units": 64, "activation": "relu"},
    {"kind": "dense", "units": "auto"},
]


class SilentBell(Bell):
    """A doorbell that nobody hears; the poller finds the jobs."""

    def __init__(self):
        pass

    def ring(self, job_id):
        pass


def digits():
    """The 1,797 digits as a prepared table: 64 pixels and a label."""
    with (files("chainrule") / "data" / "digits.csv").open() as file:
        names, *rows = csv.reader(file)
    values = np.array(rows, float)
    tensors = {n: np.ascontiguousarray(values[:, i]) for i, n in enumerate(names)}
    tensors["digit"] = tensors["digit"].astype(np.int32)
    columns = [{"name": n, "type": "number", "missing": 0} for n in names[:-1]]
    labels = [str(label) for label in range(10)]
    columns.append({"name": "digit", "type": "categorical", "missing": 0, "categories": labels})
    return tensors, {"kind": "table", "rows": len(rows), "columns": columns, "warnings": []}


def noise(rows, width):
    """Arrays that take long to learn: as many numbers as you like."""
    rng = np.random.default_rng(7)
    tensors = {
        "inputs": rng.standard_normal((rows, width)).astype(np.float32),
        "targets": rng.standard_normal((rows, 1)).astype(np.float32),
    }
    arrays = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    return tensors, {"kind": "arrays", "rows": rows, "arrays": arrays, "warnings": []}


def store(database, tensors, schema):
    """Store a dataset and return its id."""
    data = save(tensors)
    staged = blobs.stage(database, data)
    row = {
        "id": new_id("ds"),
        "tenant_id": TENANT,
        "name": "by hand",
        "format": "csv",
        "state": "ready",
        "rows": schema["rows"],
        "bytes": staged.bytes,
        "sha256": staged.sha256,
        "blob": staged.sha256,
        "prepared": staged.sha256,
        "schema": schema,
        "created_at": 0.0,
    }

    def insert(uow):
        same = (Dataset.sha256 == staged.sha256, Dataset.tenant_id == TENANT)
        known = uow.session.scalar(select(Dataset.id).where(*same))
        if known:
            return known
        blobs.attach(uow.session, staged)
        uow.session.add(Dataset(**row))
        return row["id"]

    return database.transact(insert)


def submit(database, dataset_id, *, layers=None, data=None, bell=None, **training):
    """Queue a job and return its id."""
    request = {
        "dataset_id": dataset_id,
        "architecture": {"layers": layers or LAYERS},
        "data": {"target": "digit"} if data is None else data,
        "training": {"seed": 3, "epochs": 20, "batch_size": 32} | training,
    }
    return submit_request(database, request, bell)


def submit_request(database, document, bell=None):
    """Queue the job of a whole request and return its id."""
    request = JobRequest.model_validate(document)
    settings = Settings.from_env({"CHAINRULE_DATA_DIR": FOLDER})
    submitted = jobs.submit(
        database, bell or SilentBell(), settings, tenant=TENANT, request=request
    )
    return submitted.id


def submit_digits(database, **training):
    return submit(database, store(database, *digits()), **training)


def submit_slow(database, *, epochs=200_000, **training):
    """Queue a job that goes on for as long as a test wants it to: many short batches."""
    return submit(
        database,
        store(database, *noise(4_000, 256)),
        layers=[
            {"kind": "dense", "units": 256, "activation": "tanh"},
            {"kind": "dense", "units": 1},
        ],
        data={"inputs": "inputs", "target": "targets"},
        epochs=epochs,
        **training,
    )


def submit_warm(database, source, **training):
    """Queue a job of some seconds that begins with a model, or a checkpoint of a job."""
    return submit_slow(database, epochs=FEW_EPOCHS, warm_start=source, **training)


def read(database, job_id):
    with database.read() as session:
        return jobs.get(session, TENANT, job_id)


def cancel(database, job_id):
    return database.transact(lambda uow: jobs.cancel(uow, TENANT, job_id))


def pause(database, job_id):
    return database.transact(lambda uow: jobs.pause(uow, TENANT, job_id))


def resume(database, job_id):
    return database.transact(lambda uow: jobs.resume(uow, SilentBell(), TENANT, job_id))


def steps(database, job_id):
    """The committed units as (prev, step), in order."""
    with database.read() as session:
        rows = session.scalars(select(Step).where(Step.job_id == job_id).order_by(Step.step))
        return [(row.prev, row.step) for row in rows]


def epochs(database, job_id):
    """What each epoch measured, less what depends on the clock."""
    with database.read() as session:
        rows = select(EpochMetrics).where(EpochMetrics.job_id == job_id)
        rows = session.scalars(rows.order_by(EpochMetrics.epoch))
        return [(row.epoch, row.step, row.train, row.validation) for row in rows]


def checkpoints(database, job_id):
    with database.read() as session:
        rows = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step)
        return list(session.scalars(rows))


def checkpoint(database, job_id, step):
    with database.read() as session:
        return jobs.checkpoint_bytes(session, job_id, step)


def history(database, job_id):
    """The changes of state, as words."""
    with database.read() as session:
        rows = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        return [row.to_state for row in session.scalars(rows) if row.to_state != row.from_state]


def details(database, job_id):
    """What was noted with the changes of state."""
    with database.read() as session:
        rows = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        return [row.detail for row in session.scalars(rows) if row.detail]


def receipts(database, job_id):
    """What the job's history says of each resume."""
    return [d["restored"] for d in details(database, job_id) if "restored" in d]


def model(database, job_id):
    """The model's row, and its bundle."""
    with database.read() as session:
        row = session.scalar(select(Model).where(Model.job_id == job_id))
        return row, models.download(session, row)


def check_units(database, job_id):
    """Every batch was committed once: no gap, no overlap."""
    job = read(database, job_id)
    done = 0
    for prev, step in steps(database, job_id):
        assert prev == done
        assert step > prev
        done = step
    assert done == job.step


def is_final(database, job_id):
    return read(database, job_id).state in {"succeeded", "failed", "cancelled"}


def execute(database, sql, **values):
    """Run one statement as somebody who knows nothing of transitions; return its rows, if any."""

    def act(uow):
        result = uow.session.execute(text(sql), values)
        return result.all() if result.returns_rows else []

    return database.transact(act)


def prepared_of(job_id):
    """The query for the blob that a job's trainer reads."""
    return select(Dataset.prepared).join(Job, Job.dataset_id == Dataset.id).where(Job.id == job_id)
