"""What must be true when a chaos run is over, read from the database alone."""

from __future__ import annotations

import json
import threading
import time

from sqlalchemy import select, text

from service.store.tables import FINAL, EpochMetrics, Job, JobEvent, Model, Step


class History:
    """What happened when, as JSON lines."""

    def __init__(self, path):
        self._file = path.open("w")
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.events = []

    def note(self, what, **facts):
        event = {"at": round(time.monotonic() - self._began, 3), "what": what, **facts}
        with self._lock:
            self.events.append(event)
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()


class Report:
    """The jobs of a run against the bits of the undisturbed ones."""

    def __init__(self, database, history, kinds, reference):
        self.problems = []
        self.attempts = self.units = 0
        self.states = dict.fromkeys(FINAL, 0)
        self.identical = 0
        self._history = history
        with database.read() as session:
            self._session = session
            jobs = {job.id: job for job in session.scalars(select(Job))}
            for job_id in kinds:
                self._require(job_id in jobs, f"{job_id} was acknowledged and is not there")
            names = [job.name for job in jobs.values()]
            for name in {name for name in names if names.count(name) > 1}:
                self.problems.append(f"one request made several jobs: {name}")
            for job in jobs.values():
                self._check(job)
                kind = job.name.partition(" ")[2]
                if job.state == "succeeded":
                    bits = fingerprint(session, job.id)
                    self.identical += bits == reference[kind]
                    self._require(bits == reference[kind], f"{job.id} ({kind}) has other bits")
            if session.get_bind().dialect.name == "sqlite":
                found = session.execute(text("PRAGMA integrity_check")).scalars().all()
                self._require(found == ["ok"], f"integrity_check: {found}")
            for event in history.events:
                if event["what"] == "ended":
                    state = jobs[event["job"]].state
                    self._require(state == event["state"], f"{event} is {state} now")
            self.recoveries = self._recoveries()

    def _require(self, holds, what):
        if not holds:
            self.problems.append(what)

    def _check(self, job):
        self._require(job.state in FINAL, f"{job.id} has not ended: {job.state}")
        self._require(job.state != "failed", f"{job.id} failed: {job.error}")
        self.states[job.state] = self.states.get(job.state, 0) + 1
        done = 0
        units = select(Step).where(Step.job_id == job.id).order_by(Step.step)
        for unit in self._session.scalars(units):
            self.units += 1
            follows = unit.prev == done < unit.step
            self._require(follows, f"{job.id}: {unit.prev} to {unit.step} after {done}")
            done = unit.step
        self._require(done == job.step, f"{job.id}: units end at {done}, the job at {job.step}")
        self._check_history(job)

    def _check_history(self, job):
        events = list(
            self._session.scalars(
                select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.seq)
            )
        )
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

    def _recoveries(self):
        """How long jobs that were struck waited for their next attempt: {by what: seconds}."""
        claims = select(JobEvent.job_id, JobEvent.at).where(
            JobEvent.to_state == "running", JobEvent.from_state == "queued"
        )
        rows = self._session.execute(claims.order_by(JobEvent.at)).all()
        found = {}
        for event in self._history.events:
            if event["what"] == "nemesis" and event["done"]:
                at = event["killed_at"]
                for job in event["jobs"]:
                    later = [row.at - at for row in rows if row.job_id == job and row.at > at]
                    if later:
                        found.setdefault(event["target"], []).append(later[0])
        return found


def fingerprint(session, job_id):
    """The bits of a job: the hash of its weights, and what its epochs measured."""
    weights = session.scalar(select(Model.weights_sha256).where(Model.job_id == job_id))
    epochs = select(EpochMetrics).where(EpochMetrics.job_id == job_id)
    measured = [
        (row.epoch, row.step, row.train, row.validation)
        for row in session.scalars(epochs.order_by(EpochMetrics.epoch))
    ]
    return weights, measured
