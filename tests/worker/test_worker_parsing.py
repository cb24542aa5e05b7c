"""Large files by real parsers under a supervisor in this process, on both engines."""

import hashlib
import os
import resource
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load

from service.actions import datasets
from service.store import blobs
from service.store.tables import Blob, Chunk, Job
from tests import training_jobs
from tests.processes import process
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
TABLE = b"age,town,digit\n" + b"".join(
    b"%d,%s,%d\n" % (n, [b"York", b"Bath", b""][n % 3], n % 2) for n in range(40)
)


@pytest.fixture
def upload(database, parser, tmp_path):
    """Store a file as the API does; every file is a large one, unless ``inline``."""

    def upload(data=TABLE, *, inline=False):
        path = tmp_path / "upload"
        path.write_bytes(data)
        limit = len(data) if inline else 0
        intake = datasets.Intake(database, parser, training_jobs.SilentBell(), tmp_path, limit)
        return datasets.create(intake, datasets.Upload(training_jobs.TENANT, "t", "csv"), path)[0]

    return upload


def job_of(database, dataset):
    with database.read() as session:
        return datasets.parsing_jobs(session, [dataset])[dataset.id].id


def read(database, dataset):
    with database.read() as session:
        return datasets.get(session, training_jobs.TENANT, dataset.id)


def prepared(database, dataset):
    with database.read() as session:
        return blobs.read(session, dataset.prepared)


def test_a_large_file_is_the_dataset_that_a_small_one_is(slots, database, upload, settings, parser):
    dataset = upload()
    assert (dataset.state, dataset.rows, dataset.schema) == ("parsing", None, None)
    job = slots.run(job_of(database, dataset))
    assert (job.state, job.error, job.attempt) == ("succeeded", None, 1)
    assert (job.step, job.steps) == (len(TABLE), len(TABLE))
    assert training_jobs.history(database, job.id) == ["queued", "running", "succeeded"]
    done = read(database, dataset)
    training_jobs.execute(database, "UPDATE datasets SET sha256 = id")
    small = upload(inline=True)
    assert (done.state, done.error) == ("ready", None)
    assert (done.rows, done.schema, done.prepared) == (40, small.schema, small.prepared)
    assert load(prepared(database, done))["age"].tolist() == list(range(40))
    assert b"".join(datasets.content(database, done)) == TABLE
    assert blobs.collect(database, older_than_s=-1.0) == 0, "nothing was left behind"
    assert not list(settings.cache_dir.glob("*.part"))


def test_what_is_parsed_is_at_hand_for_whoever_trains_next(slots, database, upload, settings):
    dataset = upload()
    slots.run(job_of(database, dataset))
    done = read(database, dataset)
    cached = settings.cache_dir / f"{done.prepared}.safetensors"
    assert hashlib.sha256(cached.read_bytes()).hexdigest() == done.prepared
    with database.read() as session:
        (chunk,) = blobs.chunks(session, done.prepared)
    data = {"target": "digit", "task": "classification"}
    job_id = training_jobs.submit(database, dataset.id, data=data, epochs=1)
    training_jobs.execute(database, "UPDATE chunks SET data = :b WHERE sha256 = :c", b=b"", c=chunk)
    job = slots.run(job_id)
    assert (job.state, job.error) == ("succeeded", None), "its data came from the file"


def test_a_file_that_is_no_good_fails_job_and_dataset_with_the_place(slots, database, upload):
    dataset = upload(b"a,b\n1,2\n3\n")
    job = slots.run(job_of(database, dataset))
    wanted = {
        "code": "data_invalid",
        "detail": "file: line 3: has 1 field, the header has 2",
        "errors": [{"pointer": "/file", "detail": "line 3: has 1 field, the header has 2"}],
    }
    assert (job.state, job.attempt, job.error) == ("failed", 1, wanted)
    dataset = read(database, dataset)
    assert (dataset.state, dataset.error, dataset.prepared) == ("failed", wanted, None)


def begin(slots, job_id):
    """Begin an attempt; return its parser, which has only just been started."""
    before = slots.trainer
    slots.begin(job_id)
    return eventually(lambda: slots.trainer is not before and slots.trainer, every_s=0.001)


def test_a_file_that_kills_its_parser_three_times_has_failed(slots, database, upload):
    dataset = upload()
    job_id = job_of(database, dataset)
    killed = set()

    def look():
        slots.dispatch.poll()
        parser = slots.trainer
        if parser is not None and parser.pid not in killed:
            killed.add(parser.pid)
            os.kill(parser.pid, signal.SIGSEGV)
        return training_jobs.is_final(database, job_id)

    eventually(look)
    job = training_jobs.read(database, job_id)
    assert (job.state, job.attempt, job.crashes) == ("failed", 3, 3)
    assert job.error["detail"] == "the parser died of SIGSEGV"
    dataset = read(database, dataset)
    assert (dataset.state, dataset.error) == ("failed", job.error)


def test_a_killed_parser_is_followed_by_another_with_the_same_bytes(slots, database, upload):
    dataset = upload()
    job_id = job_of(database, dataset)
    begin(slots, job_id).kill()
    job = slots.end_of(job_id)
    assert (job.state, job.attempt, job.error) == ("succeeded", 2, None)
    training_jobs.execute(database, "UPDATE datasets SET sha256 = id")
    assert read(database, dataset).prepared == upload(inline=True).prepared


def test_a_cancelled_parsing_leaves_a_failed_dataset_and_its_file_alone(
    slots, database, upload, scene, settings
):
    dataset = upload()
    parser = begin(slots, job_of(database, dataset))
    training_jobs.cancel(database, job_of(database, dataset))
    job = slots.end_of(job_of(database, dataset))
    assert (job.state, job.crashes) == ("cancelled", 0)
    dataset = read(database, dataset)
    assert (dataset.state, dataset.error["code"]) == ("failed", "cancelled")
    assert not parser.alive
    assert (scene.count(Blob), scene.count(Chunk)) == (1, 1)
    assert b"".join(datasets.content(database, dataset)) == TABLE
    assert not list(settings.cache_dir.glob("*.part"))


def test_a_failed_dataset_is_parsed_when_its_bytes_come_again(slots, database, upload):
    dataset = upload()
    first = job_of(database, dataset)
    training_jobs.cancel(database, first)
    again = upload()
    assert (again.id, again.state, again.error) == (dataset.id, "parsing", None)
    assert job_of(database, again) != first
    assert slots.run(job_of(database, again)).state == "succeeded"
    assert read(database, dataset).state == "ready"
    assert upload().state == "ready"


def test_a_failed_dataset_is_made_ready_by_a_small_upload(database, upload):
    dataset = upload()
    training_jobs.cancel(database, job_of(database, dataset))
    again = upload(inline=True)
    assert (again.id, again.state, again.rows, again.error) == (dataset.id, "ready", 40, None)


def test_a_paused_parsing_begins_anew_when_it_is_resumed(slots, database, upload):
    dataset = upload()
    job_id = job_of(database, dataset)
    parser = begin(slots, job_id)
    training_jobs.pause(database, job_id)
    eventually(lambda: training_jobs.read(database, job_id).state == "paused")
    eventually(lambda: not parser.alive)
    assert read(database, dataset).state == "parsing"
    training_jobs.resume(database, job_id)
    job = slots.run(job_id)
    assert (job.state, job.attempt, job.crashes) == ("succeeded", 2, 0)


def test_a_worker_told_to_end_gives_a_file_back_uncounted(slots, database, upload, new_slots):
    dataset = upload()
    job_id = job_of(database, dataset)
    begin(slots, job_id)
    slots.stop()
    job = training_jobs.read(database, job_id)
    assert (job.state, job.crashes, read(database, dataset).state) == ("queued", 0, "parsing")
    assert new_slots().run(job_id).state == "succeeded"


def test_a_file_that_takes_too_long_has_failed(slots, database, upload, monkeypatch):
    monkeypatch.setattr(datasets, "PARSING_S", 0.05)
    dataset = upload()
    job = slots.run(job_of(database, dataset))
    assert (job.state, job.attempt, job.error["code"]) == ("failed", 1, "deadline")
    assert read(database, dataset).error == job.error


def test_the_time_that_a_file_may_take_grows_with_it(database, upload):
    dataset = upload()
    config = training_jobs.read(database, job_of(database, dataset)).config
    assert config == {
        "name": "t",
        "dataset_id": dataset.id,
        "format": "csv",
        "types": {},
        "max_seconds": round(60 + len(TABLE) / 2e6, 3),
    }


def test_a_damaged_file_fails_the_job(slots, database, upload):
    dataset = upload()
    training_jobs.execute(database, "UPDATE chunks SET data = :b", b=b"")
    job = slots.run(job_of(database, dataset))
    assert (job.state, job.error["code"]) == ("failed", "data_corrupt")
    assert read(database, dataset).error == job.error


def test_the_parser_may_take_as_much_memory_as_the_job_says(slots, database, upload):
    dataset = upload()
    parser = begin(slots, job_of(database, dataset))

    def limit():
        lines = (Path("/proc") / str(parser.pid) / "limits").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith("Max data size")]
        return line.split()[3]

    unlimited = resource.getrlimit(resource.RLIMIT_DATA)[0]
    assert unlimited == resource.RLIM_INFINITY
    eventually(lambda: limit() == "600000000", every_s=0.001)
    slots.end_of(job_of(database, dataset))


def test_a_slot_keeps_its_trainer_while_it_parses(slots, database, upload):
    data = {"target": "digit", "task": "classification"}
    dataset = upload()
    slots.run(job_of(database, dataset))
    job = slots.run(training_jobs.submit(database, dataset.id, data=data, epochs=1))
    assert job.state == "succeeded", job.error


def test_a_worker_that_is_killed_over_a_file_is_followed_by_another(
    database, database_url, upload, tmp_path
):
    dataset = upload(b"a,b\n" + b"1.5,2\n" * 300_000)
    job_id = job_of(database, dataset)
    settings = {"DATABASE_URL": database_url, "DATA_DIR": tmp_path / "w", "TRAINERS": 1}
    settings |= {"REDIS_URL": "redis://127.0.0.1:1/0"}

    def worker():
        return process("worker", "--id", "one", log=tmp_path / "log", **settings)

    def job():
        return training_jobs.read(database, job_id)

    with worker() as first:
        eventually(lambda: job().state == "running", every_s=0.001)
        first.kill()
        first.wait()
    assert (job().state, read(database, dataset).state) == ("running", "parsing")
    with worker():
        eventually(lambda: job().state == "succeeded", within_s=120)
    assert job().attempt >= 2
    done = read(database, dataset)
    assert (done.state, done.rows) == ("ready", 300_000)
    assert load(prepared(database, done))["a"].tolist() == [1.5] * 300_000
    with database.read() as session:
        assert session.get(Job, job().seq).crashes >= 1
