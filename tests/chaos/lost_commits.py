"""``python -m tests.chaos.lost_commits [--times N]``: F8, what the server says to a COMMIT is lost.

Between the service and PostgreSQL stands a proxy that spoils COMMITs: the answer is lost, or is
noise, or the COMMIT itself never arrives. Each operation is first done undisturbed, to count its
COMMITs; then again and again with each of these spoilt in each way. It must have one effect, no
less and no more: requests are those of the fault loop, sent under one name until they are answered,
and a worker's transitions are made by whoever makes them in production.

Half the requests meet a service that tries again by itself, the others one that gives up at once
(503), so that the client does.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import structlog
from sqlalchemy import func, inspect, make_url, select

from service.actions import jobs, keys, workers
from service.app import create_app
from service.ids import new_id
from service.parsing import Parser
from service.settings import Settings
from service.store import blobs, transitions
from service.store.database import Database
from service.store.tables import (
    ApiKey,
    Checkpoint,
    Dataset,
    EpochMetrics,
    JobEvent,
    Model,
    Part,
    Step,
    Worker,
)
from tests import training_jobs
from tests.api_testing import Api, NotingBell, training
from tests.chaos import fault_scenes as scenes
from tests.chaos.fault_stage import database_of
from tests.proxy import CommitProxy
from tests.scene import Scene

FAULTS = ("lose", "garble", "drop")
REQUESTS = (
    scenes.dataset,
    scenes.large_dataset,
    scenes.upload,
    scenes.large_upload,
    scenes.upload_given_up,
    scenes.deleted_dataset,
    scenes.parsed_again,
    scenes.architecture,
    scenes.job,
    scenes.prediction,
    scenes.batch_prediction,
    scenes.deleted_model,
)


class Desk:
    """A service behind a proxy, in this process, and a way around the proxy to look at the rows."""

    def __init__(self, url, folder, parser):
        address = make_url(url)
        self.proxy = CommitProxy(address.host, address.port or 5432)
        behind = address.set(host="127.0.0.1", port=self.proxy.port)
        spoilt = behind.render_as_string(hide_password=False)
        self.database = Database(url)  # around the proxy
        self.patient = Database(spoilt, retry_s=10.0)
        self._hasty = Database(spoilt, retry_s=0.0)
        self.settings = Settings(
            data_dir=folder, database_url=url, max_upload_bytes=2 << 20, parse_inline_bytes=1 << 20
        )
        secret = self.database.transact(lambda uow: keys.create(uow, "test")[1])
        self._apis = [
            Api(
                create_app(self.settings, database, NotingBell(), parser).test_client(),
                self.database,
                NotingBell(),
                self.settings,
                secret,
            )
            for database in (self.patient, self._hasty)
        ]
        self.api = self._apis[0]
        self.worker = SimpleNamespace(end=lambda: None)  # there is none
        self._numbers = itertools.count(1)
        self.refused = 0
        self._model = None

    def close(self):
        self.proxy.close()
        for database in (self.database, self.patient, self._hasty):
            database.dispose()

    def number(self):
        return next(self._numbers)

    def be(self, *, patient):
        self.api = self._apis[0 if patient else 1]

    def insist(self, method, path, body=None, content_type="application/json", key=None):
        """Make a request under one name until it is answered for good.  Returns: what is said."""
        name = {"Idempotency-Key": key or f"key-{self.number()}"} if method != "GET" else {}
        what = {"json": body} if isinstance(body, dict) else {"data": body}
        kind = {} if body is None else {"content_type": content_type}
        while True:
            answer = self.api.call(method, path, headers=name, **what, **kind)
            if answer.status_code != 503:
                break
            self.refused += 1
        assert answer.status_code < 300, answer.text
        return answer.json if answer.data else None

    def count(self, table, *where):
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(table).where(*where))

    def digits(self):
        return training_jobs.store(self.database, *training_jobs.digits())

    def model(self):
        if self._model is None:
            job_id = training_jobs.submit(self.database, self.digits(), epochs=1)
            for _ in training(self._apis[0], job_id):
                pass
            self._model = training_jobs.model(self.database, job_id)[0]
        return self._model

    def scene(self):
        """Return the transitions as a worker makes them, behind the proxy."""
        return Scene(self.patient)

    def rows(self, table, job_id):
        """Return what a table has of a job, in the order of its primary key."""
        wanted = select(table).where(table.job_id == job_id)
        with self.database.read() as session:
            return list(session.scalars(wanted.order_by(*inspect(table).primary_key)))


# What a worker does.  Each begins with a job of its own, made around the proxy.


def claimed(desk, **options):
    return Scene(desk.database).running(**options)


def events(desk, job_id, *expected):
    found = [(e.from_state, e.to_state) for e in desk.rows(JobEvent, job_id)]
    assert found == [(None, "queued"), *expected], found


BEGUN = ("queued", "running")


def claim(desk):
    job_id = Scene(desk.database).job()
    desk.scene().claim(job_id)
    assert training_jobs.read(desk.database, job_id).attempt == 1
    events(desk, job_id, BEGUN)


def heartbeat(desk):
    """A beat that is counted twice is no harm: it is the sign of life that must not be lost."""
    mine = claimed(desk)
    assert desk.scene().act(transitions.heartbeat, mine)
    assert training_jobs.read(desk.database, mine.job_id).hb > 1
    events(desk, mine.job_id, BEGUN)


def checkpoint(desk):
    mine = claimed(desk)
    rows = [
        {"epoch": 0, "step": 5, "train": {"loss": 1.0}, "validation": None, "learning_rate": 0.1}
        | {"seconds": 1.0, "samples_per_s": 1.0}
    ]
    assert desk.scene().commit(mine, 0, 5, rows=rows)
    training_jobs.check_units(desk.database, mine.job_id)
    found = [len(desk.rows(table, mine.job_id)) for table in (Step, Checkpoint, EpochMetrics)]
    assert found == [1, 1, 1], found
    assert training_jobs.read(desk.database, mine.job_id).step == 5


def certificate(desk):
    mine = claimed(desk)
    assert desk.scene().act(transitions.certify, mine, {"status": "passed"})
    with desk.database.read() as session:
        assert jobs.certificate(session, "default", mine.job_id) == {"status": "passed"}


def complete(desk):
    mine = claimed(desk, steps=1)
    Scene(desk.database).commit(mine, 0, 1)
    bundle = f"bundle {desk.number()}".encode()
    assert desk.scene().succeed(mine, 1, bundle=bundle)
    events(desk, mine.job_id, BEGUN, ("running", "succeeded"))
    assert len(desk.rows(Model, mine.job_id)) == 1


def left(transition, state, *arguments, crashes=0):
    """Make the operation that ends an attempt in some way."""

    def operation(desk):
        mine = claimed(desk)
        assert desk.scene().act(transition, mine, *arguments)
        events(desk, mine.job_id, BEGUN, ("running", state))
        found = training_jobs.read(desk.database, mine.job_id)
        assert (found.state, found.crashes, found.owner) == (state, crashes, None)

    operation.__name__ = transition.__name__
    return operation


def ring(desk):
    """Jobs that nobody was told of are told of; twice is no harm."""
    job_id = Scene(desk.database).job()
    training_jobs.execute(desk.database, "UPDATE jobs SET published = 0 WHERE id = :id", id=job_id)
    now = time.time()
    found = desk.patient.transact(lambda uow: transitions.due_for_ring(uow.session, now))
    assert found is not None
    assert training_jobs.read(desk.database, job_id).published == now


def parsed(desk):
    data = f"a\n{desk.number()}\n".encode()
    staged = blobs.stage(desk.database, data)
    new = transitions.NewDataset(staged, None, "file", "csv", None, None)
    job_id = new_id("job")

    def queue(uow):
        row, _ = transitions.store_dataset(uow.session, "default", new)
        transitions.enqueue_parsing(uow.session, row, job_id, {}, 1)
        return row.id

    dataset_id = desk.database.transact(queue)
    mine = Scene(desk.database).claim(job_id)
    patient, ready = desk.patient, {"rows": 1, "schema": {"kind": "table"}}
    assert desk.scene().act(transitions.note_parsed, mine, 2)
    assert blobs.attached(
        patient,
        lambda: blobs.stage(patient, b"tensors of " + data),
        lambda uow, made: transitions.parsed(
            uow.session, job_id, mine.attempt, **ready, prepared=made
        ),
    )
    events(desk, job_id, BEGUN, ("running", "succeeded"))
    with desk.database.read() as session:
        assert session.scalar(select(Dataset.state).where(Dataset.id == dataset_id)) == "ready"


def predicted(desk):
    mine = claimed(desk, steps=2)
    patient, data = desk.patient, f"rows {desk.number()}".encode()

    def part():
        return blobs.attached(
            patient,
            lambda: [blobs.stage(patient, data)],
            lambda uow, streams: transitions.commit_part(
                uow.session, mine.job_id, mine.attempt, prev=0, step=2, streams=streams
            ),
        )

    def deliver():
        def make():
            staged = blobs.stage(patient, b"all " + data)
            return transitions.NewDataset(staged, staged, "result", "csv", 2, {})

        def act(uow, new):
            return transitions.deliver(uow.session, mine.job_id, mine.attempt, new)

        return blobs.attached(patient, make, act)

    assert part()
    assert [(p.step, p.position) for p in desk.rows(Part, mine.job_id)] == [(2, 0)]
    assert deliver()
    events(desk, mine.job_id, BEGUN, ("running", "succeeded"))
    result = training_jobs.read(desk.database, mine.job_id).result["dataset_id"]
    assert desk.count(Dataset, Dataset.id == result) == 1
    assert desk.rows(Part, mine.job_id) == []


def presence(desk):
    """A worker says that it is there, and goes."""
    name = f"w{desk.number()}"
    there = Worker.id == name
    patient = desk.patient
    patient.transact(lambda uow: workers.register(uow, name, trainers=1, info={}))
    patient.transact(lambda uow: workers.beat(uow, name))
    assert desk.count(Worker, there) == 1
    patient.transact(lambda uow: workers.unregister(uow, name))
    assert desk.count(Worker, there) == 0


def key(desk):
    """The operator's commands, which no request makes."""
    name = f"k{desk.number()}"
    made, secret = desk.patient.transact(lambda uow: keys.create(uow, name))
    assert desk.count(ApiKey, ApiKey.name == name) == 1
    with desk.database.read() as session:
        assert keys.authenticate(session, secret).key_id == made.id
    desk.patient.transact(lambda uow: keys.revoke(uow, "default", made.id))
    with desk.database.read() as session:
        assert keys.authenticate(session, secret) is None


REASON = {"code": "crashed", "detail": "a test"}
TRANSITIONS = (
    claim,
    heartbeat,
    checkpoint,
    certificate,
    complete,
    left(transitions.release, "queued"),
    left(transitions.retry, "queued", REASON, crashes=1),
    left(transitions.fail, "failed", REASON),
    left(transitions.reap, "queued", 1, crashes=1),
    ring,
    parsed,
    predicted,
    presence,
    key,
)
SEED = 8


def cases(desk):
    """Do each operation undisturbed.  Returns: each of its COMMITs with each way to spoil it."""
    every = [(operation, patient) for operation in REQUESTS for patient in (True, False)]
    every += [(operation, True) for operation in TRANSITIONS]
    for patient in (True, False):  # what a first connection asks for is no operation's COMMIT
        desk.be(patient=patient)
        scenes.prediction(desk)
    found = []
    for operation, patient in every:
        desk.be(patient=patient)
        before = desk.proxy.commits
        operation(desk)
        commits = range(desk.proxy.commits - before)
        assert commits, f"{operation.__name__} commits nothing"
        found += [(operation, patient, n, fault) for n in commits for fault in FAULTS]
    random.Random(SEED).shuffle(found)  # a part of them is a part of each
    return found


def spoil(desk, operation, patient, nth, fault):
    """Do an operation while one of its COMMITs is spoilt."""
    desk.be(patient=patient)
    before = desk.proxy.spoilt
    desk.proxy.spoil(fault, after=nth)
    operation(desk)
    desk.proxy.spoil(None)
    assert desk.proxy.spoilt == before + 1, "nothing was spoilt"


def main(arguments):
    """Spoil so many; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.lost_commits", description=__doc__)
    parser.add_argument("--times", type=int, default=1000, help="how many COMMITs to spoil")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    begun, failures, done = time.monotonic(), [], Counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database_of(folder, "postgres"))
        files = stack.enter_context(closing(Parser()))
        desk = stack.enter_context(closing(Desk(url, folder, files)))
        every = cases(desk)
        for case in itertools.islice(itertools.cycle(every), given.times):
            operation, patient, nth, fault = case
            try:
                spoil(desk, *case)
            except Exception as error:
                who = "patient" if patient else "hasty"
                what = f"{operation.__name__} ({who}), COMMIT {nth + 1} {fault}"
                failures.append(f"{what}: {error!r}"[:1000])
                print(failures[-1], flush=True)
            done[operation.__name__, fault] += 1
            if done.total() % 100 == 0:
                told = f"{done.total()} COMMITs spoilt, {len(failures)} operations failed"
                print(f"{told}, {time.monotonic() - begun:.0f} s", flush=True)
        refused = desk.refused
    for name in dict.fromkeys(operation.__name__ for operation in (*REQUESTS, *TRANSITIONS)):
        told = ", ".join(f"{fault} {done[name, fault]}" for fault in FAULTS)
        print(f"{name:18} {told}")
    print(
        f"{done.total()} COMMITs spoilt ({len(every)} different cases), {refused} answers of 503, "
        f"{time.monotonic() - begun:.0f} s: {len(failures)} failed"
    )
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
