"""Who takes part: clients, workers with their trainers, and recoveries, on the service's own code.

The supervisor (``worker.attempt``), the recovery, the store and the transitions are the real ones;
a trainer is played, with a chain of hashes for weights.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from pathlib import Path

from service.actions import datasets, jobs
from service.actions.plans import Plan
from service.actions.recovery import Recovery, reap_worker
from service.errors import ConflictError, NotFoundError, UnavailableError
from service.store import blobs, transitions
from tests.simulation.world import Violation
from worker.attempt import Attempt, Timing
from worker.frames import Frame
from worker.parsing import ParsingAttempt
from worker.process import Ended, Wake

TTL = 15.0
POLL_S = 5.0
TENANT = "default"
OPERATIONS = ("cancel", "pause", "pause", "resume", "resume", "delete")
FILE = b"a file that is large enough"
TENSORS = b"what it is parsed into"


def weights(job_id, step):
    """What a job's weights are after a step, whoever computes them.  Some jobs are alike."""
    state = job_id.rpartition("-")[2].encode()
    for _ in range(step):
        state = hashlib.sha256(state).digest()
    return f"{step} {hashlib.sha256(state).hexdigest()}".encode()


class Trainer:
    """Plays ``worker.process.TrainerProcess``: says what a trainer may say, whenever it may."""

    def __init__(self, world, claim):
        self._world = world
        self._claim = claim
        self._step = self._sent = claim.step
        self._last = claim.config.get("stops_at")
        self._said_hello = self._stopping = self._said_all = False
        self._woken = self._dead = False
        self._hangs = not world.calm and world.rng.random() < 0.03
        self._begins = False

    def send(self, kind, payload=b"", **fields):
        if kind == "train":
            expected = weights(self._claim.job_id, self._claim.step)
            if payload not in ({b"", expected} if self._claim.step == 0 else {expected}):
                raise Violation(f"attempt {self._claim.attempt} begins with {payload!r}")
            self._begins = not payload
        elif kind == "stop":
            self._stopping = True

    def next(self, timeout_s):
        world = self._world
        until = world.clock.now + max(timeout_s, 0.001)  # however little, time passes
        world.pause()
        if self._woken:
            self._woken = False
            return Wake()
        chance = 1.0 if world.calm else world.rng.random()
        if not self._dead and not world.calm and chance < 0.04:
            self._dead = True
        if self._dead:
            return Ended()
        if self._hangs or self._said_all or chance < 0.25:
            world.clock.now = max(world.clock.now, until)
            return None
        return self._say(chance)

    def wake(self):
        self._woken = True

    def kill(self):
        self._dead = True

    def end(self):
        pass

    def reason(self):
        return {"code": "crashed", "detail": "the trainer died"}

    def _say(self, chance):
        if not self._said_hello:
            self._said_hello = True
            first = weights(self._claim.job_id, 0) if self._begins and chance > 0.6 else b""
            return self._frame("started", first, quiet_s=1.0)
        if chance < 0.27:
            self._said_all = True
            return self._frame("failed", error={"code": "diverged", "detail": "the loss"})
        if self._stopping and (self._step == self._last or chance > 0.6):
            self._said_all = True
            return self._frame("stopped")
        if self._step < self._last:
            self._sent, self._step = self._step, self._step + 1
            data = weights(self._claim.job_id, self._step)
            place = {"prev": self._sent, "step": self._step, "epoch": 0, "loss": 1.0 / self._step}
            return self._frame("unit", data, **place, rows=[], learning_s=0.0, saving_s=0.0)
        self._said_all = True
        data = weights(self._claim.job_id, self._step)
        model = {"fingerprint": "f", "weights_sha256": hashlib.sha256(data).hexdigest()}
        early = self._last < self._claim.steps
        return self._frame("done", data, step=self._step, early=early, metrics={}, model=model)

    def _frame(self, kind, payload=b"", **header):
        self._world.note("its trainer says", kind, header.get("step", ""))
        return Frame({"kind": kind, **header}, payload)


class Parser(Trainer):
    """Plays ``worker.parser_process.ParserProcess``: a whole file, or nothing of it."""

    def send(self, kind, payload=b"", **fields):
        if kind == "stop":
            self.kill()
        else:
            self._prepared = Path(fields["prepared"])

    def _say(self, chance):
        if not self._said_hello:
            self._said_hello = True
            return self._frame("ready")
        if chance < 0.6:
            return self._frame("progress", progress=chance)
        self._said_all = True
        if chance < 0.65:
            return self._frame("failed", error={"code": "data_invalid", "detail": "no table"})
        self._prepared.write_bytes(TENSORS)
        return self._frame("done", rows=1, schema={})


class Scratch:
    """Plays ``FileCache``: where a parser may write."""

    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def scratch(self, name):
        return self.folder / name

    def put(self, path, _sha256):
        return path


class Cast:
    """Everybody in a world."""

    def __init__(self, world):
        self._world = world
        self._database = world.database
        rng = world.rng
        self._polls = rng.random() < 0.5  # else only the bell brings work
        world.broker.up = not self._polls or rng.random() < 0.8
        self._workers = 0
        self.acknowledged = set()
        self.asked = []
        ((self._dataset,),) = self._database.sql("SELECT id FROM datasets")
        self._uploads = rng.random() < 0.2
        self._settings = {"max_seconds": rng.choice([None, None, None, 20.0])}
        steps = rng.choice([1, 1, 2, 2, 2, 3])
        self._config = {"stops_at": max(1, steps - rng.choice([0, 0, 0, 1]))}
        self._steps = steps
        alike = rng.random() < 0.5
        count = 2 if rng.random() < 0.15 else 1
        self.jobs = [f"job_{i}-{0 if alike else i}" for i in range(count)]
        world.spawn("client", "client", self._client)
        for _ in range(2):
            self.start_worker()
        for number in range(rng.choice([1, 2])):
            self.start_recovery(number)

    def start_worker(self, heir_of=None):
        """Start a worker: a new one, or the heir of one that is known to have ended."""
        self._workers += heir_of is None
        name = heir_of or f"w{self._workers}"
        self._world.spawn(name, "worker", lambda me: self._worker(me, reaps=heir_of is not None))

    def start_recovery(self, number):
        self._world.spawn(f"r{number}", "recovery", self._recovery)

    def end(self, process):
        """Tell a worker to end: SIGTERM."""
        process.releasing = True
        if process.attempt is not None:
            process.attempt.release()

    def tidy(self, _me):
        """Resume or cancel what is paused, as its owner would one day."""
        while True:
            self._world.pause(1.0)
            if self._world.rng.random() < 0.1:
                self._ask("delete", self._world.rng.choice(self.jobs))
            for (job_id,) in self._database.sql("SELECT id FROM jobs WHERE state = 'paused'"):
                self._ask(self._world.rng.choice(["resume", "cancel"]), job_id)

    def _client(self, _me):
        rng, world = self._world.rng, self._world
        for job_id in self.jobs:
            plan = self._plan(job_id)
            try:
                self._database.transact(
                    lambda uow, plan=plan: jobs.enqueue(uow, plan, world.broker)
                )
            except UnavailableError:
                return
            self.acknowledged.add(job_id)
        if self._uploads:
            self._upload()
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            world.pause(rng.uniform(0.0, 5.0))
            self._ask(rng.choice(OPERATIONS), rng.choice(self.jobs))
            if self._uploads and rng.random() < 0.3:
                self._upload()

    def _upload(self):
        """Upload a file that a job is to parse, or the same one again."""
        world = self._world
        intake = datasets.Intake(self._database, None, world.broker, Path(), 0)
        upload = datasets.Upload(TENANT, "file", "csv")
        try:
            staged = blobs.stage(self._database, FILE)
            row, fresh = datasets.adopt(intake, upload, staged)
        except (NotFoundError, UnavailableError) as error:
            world.note("uploads", type(error).__name__)
            return
        world.note("uploads", row.id, "fresh" if fresh else "known")
        if fresh:
            newest = "SELECT id FROM jobs WHERE dataset_id = ? ORDER BY seq DESC LIMIT 1"
            ((job_id,),) = self._database.sql(newest, row.id)
            self.acknowledged.add(job_id)
            self.jobs.append(job_id)

    def _ask(self, operation, job_id):
        """Ask for an operation.  A refusal is an answer; a foreign tenant must get no other."""
        tenant = TENANT if self._world.rng.random() < 0.85 else "other"
        try:
            done = self._database.transact(
                lambda uow: self._operate(uow, operation, tenant, job_id)
            )
            answer = done.state if done else "gone"
        except ConflictError:
            answer = "conflict"
        except NotFoundError:
            answer = "not found"
        except UnavailableError:
            answer = "unavailable"
        self._world.note("asks to", operation, job_id, "as", tenant, "->", answer)
        if tenant == "other" and answer not in ("not found", "unavailable"):
            raise Violation(f"{operation} of another tenant's job was answered {answer}")

    def _operate(self, uow, operation, tenant, job_id):
        bell = (self._world.broker,) if operation == "resume" else ()
        return getattr(jobs, operation)(uow, *bell, tenant, job_id)

    def _plan(self, job_id):
        return Plan(
            tenant=TENANT,
            dataset_id=self._dataset,
            architecture_id=None,
            name="job",
            config={"architecture": {}, "training": self._settings, **self._config},
            recipe={},
            summary={},
            rows={},
            epochs=1,
            steps=self._steps,
            memory_bytes=1,
            seconds=1.0,
            job_id=job_id,
        )

    def _worker(self, me, *, reaps):
        world = self._world
        if reaps:
            self._inherit(me)
        while not me.releasing:
            try:
                claim = self._next_claim(me)
                if claim is not None:
                    world.note("claims", claim.job_id, "attempt", claim.attempt)
                    me.attempt = self._attempt(claim)
                    if me.releasing:
                        me.attempt.release()
                    me.attempt.run(lambda claim=claim: self._job(claim))
                    me.attempt = None
            except UnavailableError:
                world.pause(1.0)

    def _attempt(self, claim):
        timing = Timing(3.0, TTL)
        if claim.kind == "parsing":
            parser = Parser(self._world, claim)
            return ParsingAttempt(self._database, claim, parser, timing, Scratch())
        return Attempt(self._database, claim, Trainer(self._world, claim), timing)

    def _inherit(self, me):
        """End what the predecessor left, as a worker does before it takes its first job."""
        me.kind = "heir"
        while me.kind == "heir":
            try:
                reap_worker(self._database, me.name)
                me.kind = "worker"
            except UnavailableError:
                self._world.pause(1.0)

    def _next_claim(self, me):
        world = self._world
        job_id = world.broker.take()
        if job_id is None:
            world.pause(POLL_S)
            if not self._polls:
                return None
            with self._database.read() as session:
                job_id = transitions.next_queued(session, world.clock.time())
        if job_id is None:
            return None
        me.called = True
        try:
            return self._database.transact(
                lambda uow: transitions.claim(
                    uow.session, job_id, worker=me.name, now=world.clock.time()
                )
            )
        finally:
            me.called = False

    def _job(self, claim):
        if claim.checkpoint is None:
            return {}, b""
        with self._database.read() as session:
            return {}, blobs.read(session, claim.checkpoint.blob)

    def _recovery(self, _me):
        world = self._world
        recovery = Recovery(
            self._database, world.broker.ring, ttl_s=TTL, clock=world.clock.monotonic
        )
        while True:
            world.pause(8.0 if world.calm else 1.0)
            try:
                recovery.tick()
            except UnavailableError:
                continue
