"""What must be true when a chaos run is over, read from the database alone."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter

from sqlalchemy import func, select, text

from service.parsing import Parser
from service.store import blobs
from service.store.tables import (
    FINAL,
    Checkpoint,
    Dataset,
    EpochMetrics,
    Job,
    JobEvent,
    Model,
    Step,
)
from tests.chaos import files
from tests.chaos.workload import PREDICTION

KEPT_CHECKPOINTS = 3  # the best and the last two


class History:
    """What happened when, as JSON lines."""

    def __init__(self, path):
        self._path = path
        self._path.write_text("")
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.events = []

    def note(self, what, **facts):
        event = {"at": round(time.monotonic() - self._began, 3), "what": what, **facts}
        with self._lock:
            self.events.append(event)
            with self._path.open("a") as file:
                file.write(json.dumps(event) + "\n")


class Report:
    """The jobs and datasets of a run against what the undisturbed ones have left."""

    def __init__(self, database, history, client, reference, folder):
        self.problems = []
        self.attempts = self.units = 0
        self.states = dict.fromkeys(FINAL, 0)
        self.identical = {}
        self._database = database
        self._history = history
        self._client = client
        self._reference = reference
        with database.read() as session:
            self._session = session
            self._jobs = {job.id: job for job in session.scalars(select(Job))}
            self._check_acknowledged()
            for job in self._jobs.values():
                self._check_job(job)
            self._check_datasets(folder)
            self._check_answers()
            if session.get_bind().dialect.name == "sqlite":
                found = session.execute(text("PRAGMA integrity_check")).scalars().all()
                self._require(found == ["ok"], f"integrity_check: {found}")
            self.recoveries = self._recoveries()

    def _require(self, holds, what):
        if not holds:
            self.problems.append(what)

    def _check_acknowledged(self):
        for job_id in self._client.jobs:
            there = job_id in self._jobs
            self._require(there, f"{job_id} was acknowledged and is not there")
        names = Counter(job.name for job in self._jobs.values() if job.kind != "parsing")
        for name in self._session.scalars(select(Dataset.name)):
            names[name] += not name.endswith(PREDICTION)  # whose results are alike: one dataset
        for name in (name for name, count in names.items() if count > 1):
            self.problems.append(f"one request made several: {name}")
        for job_id in self._client.cancelling & self._jobs.keys():
            self._require(self._jobs[job_id].cancel, f"{job_id}: its cancellation is forgotten")

    def _check_job(self, job):
        self._require(job.state in FINAL, f"{job.id} has not ended: {job.state}")
        self._require(job.state != "failed", f"{job.id} failed: {job.error}")
        unasked = job.state == "cancelled" and job.id not in self._client.asked
        self._require(not unasked, f"{job.id} was cancelled, and nobody had asked")
        self.states[job.state] = self.states.get(job.state, 0) + 1
        self._check_history(job)
        if job.kind != "parsing":
            self._check_units(job)
        kind = self._client.jobs.get(job.id)
        if job.state == "succeeded" and kind is not None:
            self._compare(job.id, kind, fingerprint(self._session, job), self._reference[kind])

    def _compare(self, thing, kind, found, expected):
        self.identical[kind] = self.identical.get(kind, 0) + (found == expected)
        self._require(found == expected, f"{thing} ({kind}) has other bits")

    def _check_units(self, job):
        done = attempt = 0
        units = select(Step).where(Step.job_id == job.id).order_by(Step.step)
        for unit in self._session.scalars(units):
            self.units += 1
            follows = unit.prev == done < unit.step
            self._require(follows, f"{job.id}: {unit.prev} to {unit.step} after {done}")
            told = f"{job.id}: a unit of attempt {unit.attempt} after one of {attempt}"
            self._require(attempt <= unit.attempt <= job.attempt, told)
            done, attempt = unit.step, unit.attempt
        self._require(done == job.step, f"{job.id}: units end at {done}, the job at {job.step}")
        wanted = select(func.count(), func.max(Checkpoint.step))
        kept, newest = self._session.execute(wanted.where(Checkpoint.job_id == job.id)).one()
        self._require(kept <= KEPT_CHECKPOINTS, f"{job.id} has {kept} checkpoints")
        if job.kind == "training" and done:
            self._require(newest == done, f"{job.id}: the newest checkpoint is of {newest}")

    def _check_history(self, job):
        wanted = select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.seq)
        events = list(self._session.scalars(wanted))
        state = None
        for event in events:
            told = f"{job.id}: {event.from_state} to {event.to_state} after {state}"
            self._require(event.from_state == state and state not in FINAL, told)
            state = event.to_state
        self._require(state == job.state, f"{job.id} is {job.state}, its history says {state}")
        claims = [e for e in events if (e.from_state, e.to_state) == ("queued", "running")]
        numbers = [claim.attempt for claim in claims]
        self._require(numbers == list(range(1, job.attempt + 1)), f"{job.id}: attempts {numbers}")
        owners = {claim.who for claim in claims}
        self._require(len(owners) == len(claims), f"{job.id}: one owner for two attempts")
        self.attempts += len(claims)

    def _check_datasets(self, folder):
        """What was acknowledged is there, is what was sent, and is parsed as it is in peace."""
        parser = Parser()
        for dataset_id, (kind, number) in self._client.datasets.items():
            row = self._session.scalar(select(Dataset).where(Dataset.id == dataset_id))
            if row is None:
                self.problems.append(f"{dataset_id} was acknowledged and is not there")
            elif row.state == "ready":
                format_, data = files.file(kind, number)
                path = folder / f"{dataset_id}.{format_}"
                path.write_bytes(data)
                stored = b"".join(blobs.stream(self._database, row.blob))
                self._require(stored == data, f"{dataset_id} is not the file that was sent")
                parsed = parser.parse(path, format_)
                with parsed.prepared.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                expected = (sha256, parsed.rows, parsed.schema)
                self._compare(dataset_id, kind, (row.prepared, row.rows, row.schema), expected)
                path.unlink()
                parsed.prepared.unlink()
            else:
                asked = self._cancelled_parsing(dataset_id)
                told = f"{dataset_id} is {row.state}: {row.error}"
                self._require(asked and row.state == "failed", told)
        parser.close()

    def _cancelled_parsing(self, dataset_id):
        return any(
            job.dataset_id == dataset_id and job.kind == "parsing" and job.id in self._client.asked
            for job in self._jobs.values()
        )

    def _check_answers(self):
        """What a client once saw ended is as it was; a failure of ours was told as one (503)."""
        for event in self._history.events:
            if event["what"] == "ended" and event["id"] in self._jobs:
                state = self._jobs[event["id"]].state
                self._require(state == event["state"], f"{event} is {state} now")
            if event["what"] == "ended" and event["id"] in self._client.datasets:
                row = select(Dataset.state).where(Dataset.id == event["id"])
                state = self._session.scalar(row)
                self._require(state == event["state"], f"{event} is {state} now")
            self._require(event.get("status") != 500, f"answered 500: {event}")

    def _recoveries(self):
        """How long jobs that were struck waited for their next attempt: {by what: seconds}."""
        claims = select(JobEvent.job_id, JobEvent.at).where(
            JobEvent.to_state == "running", JobEvent.from_state == "queued"
        )
        rows = self._session.execute(claims.order_by(JobEvent.at)).all()
        found = {}
        for event in self._history.events:
            if event["what"] == "nemesis":
                at = event["struck_at"]
                for job in event["jobs"]:
                    later = [row.at - at for row in rows if row.job_id == job and row.at > at]
                    if later:
                        found.setdefault(event["target"], []).append(later[0])
        return found


def fingerprint(session, job):
    """The bits that a job has left: its weights and what its epochs measured, or its dataset."""
    if job.kind == "prediction":
        row = session.scalar(select(Dataset).where(Dataset.id == job.result["dataset_id"]))
        return row and (row.sha256, row.prepared, row.rows, row.schema)
    weights = session.scalar(select(Model.weights_sha256).where(Model.job_id == job.id))
    epochs = select(EpochMetrics).where(EpochMetrics.job_id == job.id)
    measured = [
        (row.epoch, row.step, row.train, row.validation)
        for row in session.scalars(epochs.order_by(EpochMetrics.epoch))
    ]
    return weights, measured
