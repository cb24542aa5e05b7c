"""What is played at each fault: a request or a job from beginning to end, and what must hold.

A scene says for which places it is there. Clients send their requests under a name until they are
answered; a process that has gone is started again. Each scene checks that what it asked for is
there once, and returns what must be the same in every run: hashes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import select, text

from service.actions import datasets, jobs, keys, predictions
from service.actions.datasets import Intake
from service.actions.requests import PredictionRequest
from service.ids import new_id
from service.store import blobs, transitions
from service.store.tables import (
    ApiKey,
    Architecture,
    Chunk,
    Dataset,
    IdempotencyKey,
    Job,
    Model,
    Part,
    Upload,
    UploadPart,
)
from tests import training_jobs

CSV = "text/csv"
PART = "application/octet-stream"
LARGE = 1_100_000  # bytes: parsed by a job, and in two chunks
BLOCK_ROWS = 600  # of the predictions of 1,797 digits
JOB = {
    "data": {"target": "digit", "task": "classification"},
    "architecture": {"layers": training_jobs.LAYERS},
    "training": {"epochs": 1, "seed": 3},
}
SHORT = {"epochs": 100, "batch_size": 8}  # long enough for units, heartbeats and progress
LONGER = 150  # epochs: long enough to be met while it runs


def table(stage, size=0):
    """Return a CSV that nobody has uploaded."""
    number = stage.number()
    rows = [f"{number},{number + 1}" for _ in range(max(3, size // (2 * len(str(number)) + 2) + 1))]
    return "\n".join(["a,b", *rows, ""]).encode()


@cache
def digit():
    """Return a row of the digits, by column."""
    names, first = (files("chainrule") / "data" / "digits.csv").read_text().splitlines()[:2]
    row = dict(zip(names.split(","), map(float, first.split(",")), strict=True))
    del row["digit"]
    return row


# Requests.


def uploaded_once(stage, data, view):
    """Check that there is one dataset of these bytes, and that the answer tells of it."""
    sha256 = hashlib.sha256(data).hexdigest()
    with stage.database.read() as session:
        rows = list(session.scalars(select(Dataset).where(Dataset.sha256 == sha256)))
        assert [row.id for row in rows] == [view["id"]], rows
        kept = b"".join(blobs.stream_within(session, rows[0].blob))
    assert kept == data
    return rows[0]


def answered_once(stage, path, body, media_type="application/json"):
    """Ask, and ask again under the same name: the same is answered.  Returns: the answer."""
    key = f"key-{stage.number()}"
    view = stage.insist("POST", path, body, media_type, key)
    assert stage.insist("POST", path, body, media_type, key) == view
    assert stage.count(IdempotencyKey, IdempotencyKey.key == key) == 1
    return view


def dataset(stage):
    data = table(stage)
    view = answered_once(stage, f"/v1/datasets?name=n{stage.number()}", data, CSV)
    assert uploaded_once(stage, data, view).state == "ready"
    # The same bytes, as another request: the same dataset.
    assert answered_once(stage, "/v1/datasets", data, CSV)["id"] == view["id"]
    uploaded_once(stage, data, view)


def large_dataset(stage):
    data = table(stage, LARGE)
    view = answered_once(stage, "/v1/datasets", data, CSV)
    to_be_parsed(stage, data, view)


def to_be_parsed(stage, data, view):
    """Check that a job was queued with a large dataset; end it."""
    assert uploaded_once(stage, data, view).state == "parsing"
    with stage.database.read() as session:
        found = session.scalars(select(Job.id).where(Job.dataset_id == view["id"])).all()
    assert found == [view["job_id"]]
    ends_cancelled(stage, view["job_id"])


def ends_cancelled(stage, job_id):
    ended = answered_once(stage, f"/v1/jobs/{job_id}/cancel", None)
    assert ended["state"] == "cancelled"
    assert training_jobs.history(stage.database, job_id)[-1] == "cancelled"


def begun_upload(stage, data):
    """Begin an upload and send its only part.  Returns: where it is."""
    request = {"name": "parts", "format": "csv", "bytes": len(data)}
    view = answered_once(stage, "/v1/uploads", request)
    assert stage.count(Upload, Upload.id == view["id"]) == 1
    place = f"/v1/uploads/{view['id']}"
    for _ in range(2):
        stage.insist("PUT", f"{place}/parts/1", data, PART)
    assert stage.count(UploadPart, UploadPart.upload_id == view["id"]) == 1
    return place


def upload(stage):
    sent(stage, table(stage))


def sent(stage, data):
    """Send a file in parts.  Returns: what is said of its dataset."""
    place = begun_upload(stage, data)
    view = answered_once(stage, f"{place}/complete", None)
    # Once it is complete, another request to complete it finds what was made.
    assert answered_once(stage, f"{place}/complete", None)["id"] == view["id"]
    uploaded_once(stage, data, view)
    return view


def large_upload(stage):
    data = table(stage, LARGE)
    to_be_parsed(stage, data, sent(stage, data))


def upload_given_up(stage):
    place = begun_upload(stage, table(stage))
    gone(stage, place, Upload)


def gone(stage, place, kind):
    """Delete what is at an address, once."""
    stage.insist("DELETE", place)
    assert stage.count(kind, kind.id == place.rpartition("/")[2]) == 0


def parsed_again(stage):
    """The same bytes with other types are another dataset, and one only."""
    data = table(stage)
    first = stage.insist("POST", "/v1/datasets", data, CSV)
    types = quote(json.dumps({"a": "categorical"}))
    view = answered_once(stage, f"/v1/datasets/{first['id']}/parse?types={types}", None)
    sha256 = hashlib.sha256(data).hexdigest()
    with stage.database.read() as session:
        found = session.scalars(select(Dataset.id).where(Dataset.sha256 == sha256)).all()
    assert sorted(found) == sorted([first["id"], view["id"]])


def deleted_dataset(stage):
    view = stage.insist("POST", "/v1/datasets", table(stage), CSV)
    gone(stage, f"/v1/datasets/{view['id']}", Dataset)


def architecture(stage):
    name = f"a{stage.number()}"
    body = {"name": name, "layers": [{"kind": "dense", "units": 2}]}
    view = answered_once(stage, "/v1/architectures", body)
    assert stage.count(Architecture, Architecture.name == name) == 1
    gone(stage, f"/v1/architectures/{view['id']}", Architecture)


def job(stage):
    """Queue, pause, resume, cancel and delete.  The worker does not run meanwhile."""
    stage.worker.end()
    name = f"j{stage.number()}"
    body = {"name": name, "dataset_id": stage.digits(), **JOB}
    view = answered_once(stage, "/v1/jobs", body)
    assert stage.count(Job, Job.name == name) == 1
    place = f"/v1/jobs/{view['id']}"
    for wish, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert answered_once(stage, f"{place}/{wish}", None)["state"] == state
    history = training_jobs.history(stage.database, view["id"])
    assert history == ["queued", "paused", "queued", "cancelled"], history
    gone(stage, place, Job)


def prediction(stage):
    path = f"/v1/models/{stage.model().id}/predict"
    answer = answered_once(stage, path, {"rows": [digit()]})
    return str(answer["predictions"])


def batch_prediction(stage):
    stage.worker.end()
    name = f"b{stage.number()}"
    path = f"/v1/models/{stage.model().id}/predictions"
    view = answered_once(stage, path, {"name": name, "dataset_id": stage.digits()})
    assert stage.count(Job, Job.name == name) == 1
    ends_cancelled(stage, view["id"])


def deleted_model(stage):
    own = {"seq": None, "id": new_id("mdl"), "job_id": None, "evaluation": None}
    names = [column.name for column in Model.__table__.columns if column.name not in own]
    columns = own | {name: getattr(stage.model(), name) for name in names}
    stage.database.transact(lambda uow: uow.session.add(Model(**columns)))
    gone(stage, f"/v1/models/{columns['id']}", Model)


def start_of_api(stage, fault=""):
    """The configured key is there once the API answers, and once only."""
    digest = hashlib.sha256(stage.settings["API_KEY"].encode()).hexdigest()
    stage.database.transact(
        lambda uow: uow.session.execute(
            text("DELETE FROM api_keys WHERE sha256 = :digest"), {"digest": digest}
        )
    )
    stage.api.start(fault)
    stage.insist("GET", "/v1/jobs?limit=1")
    assert stage.count(ApiKey, ApiKey.sha256 == digest) == 1


def key(stage, fault=""):
    """``chainrule keys create`` until it says a secret; then ``revoke``."""
    stage.keys.start(fault)
    code, said = stage.keys.finish()
    tries = 1
    while code:  # it died, or said that it failed: nobody has the secret of what it may have made
        stage.keys.start()
        code, said = stage.keys.finish()
        tries += 1
    made = json.loads(said)
    with stage.database.read() as session:
        assert keys.authenticate(session, made["secret"])
    named = stage.count(ApiKey, ApiKey.name == "of-the-test")
    assert 1 <= named <= tries
    stage.execute("DELETE FROM api_keys WHERE name = 'of-the-test'")


def revoked_key(stage, fault=""):
    made, secret = stage.database.transact(lambda uow: keys.create(uow, f"k{stage.number()}"))
    revoke = type(stage.keys)(stage, "service.keys", "--json", "revoke", made.id)
    code = None
    while code != 0:
        revoke.start(fault)
        code, _ = revoke.finish()
        fault = ""
    revoke.end()
    with stage.database.read() as session:
        assert keys.authenticate(session, secret) is None
        stage_row = session.get(ApiKey, made.id)
    assert stage_row.revoked_at is not None


# Jobs.


def submit(stage, **training):
    return training_jobs.submit(
        stage.database, stage.digits(), bell=stage.bell, **(SHORT | training)
    )


def forget(stage, job_id):
    """Delete a job and what it has made, so that the next one stages the same bytes anew."""
    stage.execute("DELETE FROM models WHERE job_id = :id", id=job_id)
    stage.database.transact(lambda uow: jobs.delete(uow, "default", job_id))
    blobs.collect(stage.database, older_than_s=-1.0)


def trained(stage, job_id):
    """Wait until a job has trained, and return the hash of its weights."""
    stage.ended(job_id)
    assert stage.count(Model, Model.job_id == job_id) == 1
    sha256 = training_jobs.model(stage.database, job_id)[0].weights_sha256
    measured = [row[0] for row in training_jobs.epochs(stage.database, job_id)]
    assert measured == list(range(1, 1 + len(measured)))
    forget(stage, job_id)
    return sha256


def training(stage):
    return trained(stage, submit(stage))


def running(stage, job_id):
    """Wait until a job has made progress, unless it has ended before anybody saw it."""
    stage.until(lambda: training_jobs.read(stage.database, job_id).step > 0)


def paused(stage):
    job_id = submit(stage, epochs=LONGER)
    running(stage, job_id)
    training_jobs.pause(stage.database, job_id)
    stage.until(lambda: training_jobs.read(stage.database, job_id).state == "paused")
    training_jobs.resume(stage.database, job_id)
    return trained(stage, job_id)


def crashed(stage):
    job_id = submit(stage, epochs=LONGER)
    running(stage, job_id)
    for pid in stage.worker.trainers():
        os.kill(pid, signal.SIGKILL)
    return trained(stage, job_id)


def full_disk(stage):
    """The trainer finds the disk full, whatever else its supervisor meets."""
    return trained(stage, submit(stage))


def reaped(stage, fault=""):
    job_id = submit(stage, epochs=LONGER)
    running(stage, job_id)
    stage.worker.start(fault)
    return trained(stage, job_id)


def start_and_end(stage, fault=""):
    """A worker is known once it has started, and forgotten once it has ended."""

    def known():
        return stage.execute("SELECT id FROM workers WHERE id = 'w1'")

    stage.worker.end()
    stage.execute("DELETE FROM workers")  # what a killed one has left
    stage.worker.start(fault)
    stage.until(known)
    stage.worker.revive()
    stage.worker.terminate()  # whatever it meets then, this is its end
    stage.execute("DELETE FROM workers")
    stage.worker.start()
    stage.until(known)
    assert stage.worker.terminate() == 0
    assert not known()


def data_corrupt(stage):
    """A job whose data is damaged fails, with the reason."""
    tensors, schema = training_jobs.noise(50, 4)
    tensors["inputs"][0, 0] = stage.number()
    dataset_id = training_jobs.store(stage.database, tensors, schema)
    with stage.database.read() as session:
        row = datasets.get(session, "default", dataset_id)
        datasets.tensors(session, row, stage.log.parent)  # planned with what was there
        chunk = row.blob
    damaged = b"damaged"
    stage.execute("UPDATE chunks SET data = :data WHERE sha256 = :sha", data=damaged, sha=chunk)
    data = {"inputs": "inputs", "target": "targets"}
    layers = [{"kind": "dense", "units": 1}]
    job_id = training_jobs.submit(
        stage.database, dataset_id, layers=layers, data=data, bell=stage.bell
    )
    found = stage.ended(job_id, "failed")
    assert found.error["code"] == "data_corrupt"


def queued_file(stage, data):
    """Upload a file that a job is to parse.  Returns: the dataset's id and the job's."""
    path = stage.log.with_name("file.csv")
    path.write_bytes(data)
    intake = Intake(stage.database, None, stage.bell, path.parent, 0)
    row, _ = datasets.create(intake, datasets.Upload("default", "file", "csv"), path)
    with stage.database.read() as session:
        return row.id, session.scalar(select(Job.id).where(Job.dataset_id == row.id))


def read_dataset(stage, dataset_id):
    with stage.database.read() as session:
        return datasets.get(session, "default", dataset_id)


def parsing(stage):
    dataset_id, job_id = queued_file(stage, table(stage))
    assert stage.ended(job_id).step > 0
    row = read_dataset(stage, dataset_id)
    assert (row.state, row.rows) == ("ready", 3)


def broken_file(stage):
    dataset_id, job_id = queued_file(stage, b"a,b\n1\x00,2\n" + table(stage))
    failed_file(stage, dataset_id, job_id)


def unforeseen_file(stage):
    """The parser meets what nobody foresaw: here, types that are none."""
    staged, job_id = blobs.stage(stage.database, table(stage)), new_id("job")
    new = transitions.NewDataset(staged, None, "file", "csv", None, None)
    config = {"name": "file", "format": "csv", "types": [1], "max_seconds": 60.0}

    def queue(uow):
        row, _ = transitions.store_dataset(uow.session, "default", new)
        transitions.enqueue_parsing(uow.session, row, job_id, config, datasets.PARSING_BYTES)
        return row.id

    dataset_id = stage.database.transact(queue)
    stage.bell.ring(job_id)
    failed_file(stage, dataset_id, job_id)


def failed_file(stage, dataset_id, job_id):
    found = stage.ended(job_id, "failed")
    row = read_dataset(stage, dataset_id)
    assert (row.state, row.error) == ("failed", found.error)
    assert found.error["code"] == "data_invalid"


def predicting(stage):
    """Predict every digit, in some blocks.  Returns: the hash of the result."""
    request = PredictionRequest(dataset_id=stage.digits(), format="parquet")
    with stage.database.read() as session:
        plan = predictions.plan(session, "default", stage.model().id, request, stage.plain)
    plan = dataclasses.replace(plan, config={**plan.config, "block_rows": BLOCK_ROWS})
    stage.database.transact(lambda uow: jobs.enqueue(uow, plan, stage.bell))
    found = stage.ended(plan.job_id)
    assert stage.count(Part, Part.job_id == plan.job_id) == 0
    row = read_dataset(stage, found.result["dataset_id"])
    assert (row.state, row.rows) == ("ready", 1797)
    sha256 = row.sha256
    stage.database.transact(lambda uow: datasets.delete(uow, "default", row.id))
    forget(stage, plan.job_id)
    return sha256


def upkeep(stage):
    """What nobody needs any more goes."""
    number = stage.number()
    stale = Upload(
        id=new_id("upl"),
        tenant_id="default",
        name="stale",
        format="csv",
        types="{}",
        bytes=1,
        part_bytes=1,
        created_at=0.0,
        used_at=0.0,
    )
    answer = IdempotencyKey(
        tenant_id="default",
        key=f"stale-{number}",
        request_sha256="",
        nonce="",
        status=200,
        headers={},
        body=b"",
        created_at=0.0,
    )
    chunk = Chunk(sha256=f"stale-{number}", staged_at=0.0, data=b"")
    stage.database.transact(lambda uow: uow.session.add_all([stale, answer, chunk]))
    upload_id = stale.id
    stage.until(
        lambda: (
            not stage.count(Upload, Upload.id == upload_id)
            and not stage.count(IdempotencyKey, IdempotencyKey.key == f"stale-{number}")
            and not stage.count(Chunk, Chunk.sha256 == f"stale-{number}")
        )
    )


class Scene(NamedTuple):
    """What is played, by which process, for which places; ``says``, ``hears``: of its trainer."""

    play: Any
    process: str
    places: set
    says: tuple = ()
    hears: tuple = ()
    starts: bool = False  # the fault is there from the process's start
    given: str = ""  # what its trainer runs into besides


BELL = "service.broker.bell.Bell._send"
ATTEMPT = "worker.attempt.Attempt"
PARSING = "worker.parsing.ParsingAttempt"
PREDICTING = "worker.predicting.PredictionAttempt"
DATA, UPLOADS, API = "service.actions.datasets", "service.actions.uploads", "service.api"
CLAIM = "worker.supervisor.Supervisor.run"
SCENES = [
    Scene(start_of_api, "api", {"service.actions.keys.ensure_key"}, starts=True),
    Scene(
        dataset,
        "api",
        {f"{DATA}.{name}" for name in ("create", "_parse", "_known")} | {"datasets.create_dataset"},
    ),
    Scene(large_dataset, "api", {f"{DATA}.create", f"{DATA}._enqueue", BELL}),
    Scene(
        upload,
        "api",
        {f"{API}.upload_parts.create_upload", f"{UPLOADS}.put", f"{UPLOADS}.complete"}
        | {f"{DATA}._parse"}
        | {f"uploads.{name}" for name in ("create_upload", "put_part", "complete_upload")},
    ),
    Scene(large_upload, "api", {f"{DATA}._enqueue"}),
    Scene(
        upload_given_up,
        "api",
        {f"{API}.upload_parts.delete_upload", "uploads.delete_upload"},
    ),
    Scene(deleted_dataset, "api", {f"{API}.datasets.delete_dataset", "datasets.delete_dataset"}),
    Scene(parsed_again, "api", {f"{DATA}._parse", "datasets.parse_dataset"}),
    Scene(
        architecture,
        "api",
        {f"{API}.architectures.{name}_architecture" for name in ("create", "delete")}
        | {f"architectures.{name}_architecture" for name in ("create", "delete")},
    ),
    Scene(
        job,
        "api",
        {"service.actions.jobs.submit", BELL, "jobs.create_job"}
        | {f"{API}.jobs.{name}_job" for name in ("pause", "resume", "cancel", "delete")}
        | {f"jobs.{name}_job" for name in ("pause", "resume", "cancel", "delete")},
    ),
    Scene(prediction, "api", {f"{API}.idempotency.answered", "models.predict"}),
    Scene(
        batch_prediction,
        "api",
        {"service.actions.predictions.submit", "models.create_prediction"},
    ),
    Scene(deleted_model, "api", {f"{API}.models.delete_model", "models.delete_model"}),
    Scene(key, "keys", {"service.keys._create"}, starts=True),
    Scene(revoked_key, "keys", {"service.keys._revoke"}, starts=True),
    Scene(
        training,
        "worker",
        {CLAIM, "worker.app.Worker._listen", "training"}
        | {f"{ATTEMPT}.{n}" for n in ("_on_started", "_on_unit", "_on_done", "_heartbeat")}
        | {"started", "unit", "progress", "done"},
        says=("started", "progress", "unit", "done"),
        hears=("committed",),
    ),
    Scene(paused, "worker", {f"{ATTEMPT}._end_stopped", "stopped"}, ("stopped",), hears=("stop",)),
    Scene(crashed, "worker", {f"{ATTEMPT}._crash"}),
    Scene(full_disk, "worker", {f"{ATTEMPT}._hold_back", "full"}, given="say@unit:1:space"),
    Scene(reaped, "worker", {"service.actions.recovery._reap"}, starts=True),
    Scene(
        start_and_end,
        "worker",
        {"worker.app.Worker._beat", "worker.app.Worker._unregister"},
        starts=True,
    ),
    Scene(data_corrupt, "worker", {f"{ATTEMPT}._begin"}),
    Scene(
        parsing,
        "worker",
        {f"{PARSING}._heartbeat", f"{PARSING}._on_done", "ready", "done", "parsing", CLAIM},
    ),
    Scene(broken_file, "worker", {f"{ATTEMPT}._on_failed", "failed"}),
    Scene(unforeseen_file, "worker", {f"{PARSING}._on_broken", "broken"}),
    Scene(
        predicting,
        "worker",
        {f"{PREDICTING}._on_unit", f"{PREDICTING}._on_done", CLAIM, "prediction"}
        | {"service.actions.results.assemble", "service.actions.results._parquet"}
        | {"started", "unit", "progress", "done"},
        says=("started", "progress", "unit", "done"),
        hears=("committed",),
    ),
    Scene(
        upkeep,
        "worker",
        {"service.actions.recovery.Recovery.tick", "service.store.blobs.collect"}
        | {"service.actions.once.purge", "service.actions.uploads.purge"},
    ),
]
