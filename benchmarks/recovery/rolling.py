"""API and workers replaced one after the other, while clients ask for all kinds of things."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from benchmarks.recovery.stand import FOREVER_S, digits_job
from service.actions import keys
from service.store import migrate
from service.store.database import Database
from service.store.tables import Job, JobEvent, Model, Worker
from tests.processes import clean_environment
from tests.waiting import eventually
from worker import valkey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Outcome", "roll"]

KEY = "cr_the-key-of-the-rollers"
AT_ONCE = 3  # jobs under way
EPOCHS = 400  # of each: a few seconds
JSON = {"Content-Type": "application/json"}


class Outcome:
    """What was seen in a run.  ``failures``: what was answered otherwise than it should be."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.seconds: list[float] = []  # of each request
        self.jobs = self.attempts = self.crashes = 0
        self.weights: set[str] = set()
        self.unfinished: list[str] = []


class Deployment:
    """One socket that this process holds; behind it two APIs; two workers; a broker."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.database_url = f"sqlite:///{folder / 'chainrule.db'}"
        migrate.upgrade(self.database_url)
        self.database = Database(self.database_url)
        stack.callback(self.database.dispose)
        self.database.transact(lambda uow: keys.register(uow, KEY, "rolling"))
        self.listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        server = valkey.find_server()
        assert server is not None, "there is no valkey or redis server here"
        self._kept(valkey.command(server, folder))
        self._number = 0

    def start_api(self) -> subprocess.Popen[bytes]:
        """Start an API on the socket, and wait until it serves."""
        fd = self.listening.fileno()
        api, log = self._start("service", "--fd", str(fd), pass_fds=[fd])
        eventually(lambda: b"serving on" in log.read_bytes(), within_s=FOREVER_S)
        return api

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it is known."""
        worker, _ = self._start("worker")
        eventually(lambda: self._knows(worker.pid), within_s=FOREVER_S)
        return worker

    def replace(self, old: subprocess.Popen[bytes], start: Callable[[], Any]) -> Any:
        """Start a new process and end an old one; return the new one.  Units: seconds."""
        new = start()
        old.send_signal(signal.SIGTERM)
        code = old.wait(FOREVER_S)
        assert code == 0, f"a process that was told to end ended with {code}"
        return new

    def _start(self, module: str, *arguments: str, pass_fds=()) -> Any:
        self._number += 1
        log = self._folder / f"{module}-{self._number}.log"
        settings = {
            "DATA_DIR": self._folder / module,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": valkey.socket_url(self._folder),
            "TRAINERS": 1,
        }
        with log.open("wb") as file:
            return self._kept(
                [sys.executable, "-m", module, *arguments],
                env=clean_environment(**settings),
                pass_fds=pass_fds,
                stderr=file,
            ), log

    def _kept(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        running = subprocess.Popen(command, **options)
        self._stack.callback(running.wait)
        self._stack.callback(running.kill)
        return running

    def _knows(self, pid: int) -> bool:
        with self.database.read() as session:
            return any(worker.info["pid"] == pid for worker in session.scalars(select(Worker)))


class Caller:
    """A client on one connection, kept for as long as the server keeps it.  Never asks twice."""

    def __init__(self, address: tuple[str, int], outcome: Outcome) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=60)
        self._outcome = outcome

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the answer's document, or None after noting a failure."""
        if isinstance(body, dict):
            body, headers = json.dumps(body), JSON | headers
        began = time.perf_counter()
        try:
            sent = {"Authorization": f"Bearer {KEY}"} | headers
            self._connection.request(method, path, body, sent)
            answer = self._connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._outcome.failures.append(f"{method} {path}: {error!r}")
            self._connection.close()
            return None
        self._outcome.seconds.append(time.perf_counter() - began)
        if answer.status not in (200, 201, 202):
            self._outcome.failures.append(f"{method} {path}: {answer.status} {data[:200]!r}")
            return None
        return json.loads(data)

    def close(self) -> None:
        """Give up the connection."""
        self._connection.close()


class Load:
    """Clients that submit, poll, wait, predict and knock, each on a thread and connection."""

    def __init__(self, deployment: Deployment, outcome: Outcome, epochs: int) -> None:
        self._address = deployment.listening.getsockname()
        self._outcome = outcome
        self._ending = threading.Event()
        self._live: dict[str, str] = {}  # {id: state as last seen}
        self.jobs: list[str] = []
        caller = self._caller()
        data = (files("chainrule") / "data" / "digits.csv").read_bytes()
        dataset = caller.call(
            "POST", "/v1/datasets?name=digits", data, **{"Content-Type": "text/csv"}
        )
        assert dataset, outcome.failures
        self._document = digits_job(dataset["id"], epochs=epochs)
        self._rows = {"rows": [{f"p{n}": 3.0 for n in range(64)}]}
        self._model = self._first_model(caller)
        kinds = (self._submit, self._poll, self._hold, self._predict, self._knock)
        self._threads = [threading.Thread(target=self._go, args=(kind,)) for kind in kinds]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Submit no more, and wait until all jobs have ended."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        caller = self._caller()
        eventually(lambda: not self._look(caller), within_s=10 * FOREVER_S, every_s=0.1)
        self._outcome.unfinished = list(self._live)
        caller.close()

    def _first_model(self, caller: Caller) -> str:
        """Train in peace; return the path of the model."""
        self._ask_for_a_job(caller)
        eventually(lambda: not self._look(caller), within_s=FOREVER_S, every_s=0.05)
        model = caller.call("GET", f"/v1/jobs/{self.jobs[0]}")["model_id"]
        caller.close()
        return f"/v1/models/{model}"

    def _go(self, ask: Callable[[Caller], float]) -> None:
        caller = self._caller()
        while not self._ending.is_set():
            time.sleep(ask(caller))
        caller.close()

    def _caller(self) -> Caller:
        return Caller(self._address, self._outcome)

    def _ask_for_a_job(self, caller: Caller) -> None:
        job = caller.call("POST", "/v1/jobs", self._document)
        if job is not None:
            self._live[job["id"]] = job["state"]
            self.jobs.append(job["id"])

    def _look(self, caller: Caller) -> list[str]:
        """Look at the jobs under way; return those that still are."""
        for job_id in list(self._live):
            job = caller.call("GET", f"/v1/jobs/{job_id}")
            if job is not None and job["ended_at"]:
                del self._live[job_id]
        return list(self._live)

    # Each asks something, and returns how long to wait before the next time.

    def _submit(self, caller: Caller) -> float:
        if len(self._live) < AT_ONCE:
            self._ask_for_a_job(caller)
        return 0.1

    def _poll(self, caller: Caller) -> float:
        self._look(caller)
        return 0.05

    def _hold(self, caller: Caller) -> float:
        for job_id in list(self._live)[-1:]:
            caller.call("GET", f"/v1/jobs/{job_id}", Prefer="wait=5")
        return 0.05

    def _predict(self, caller: Caller) -> float:
        caller.call("POST", f"{self._model}/predict", self._rows)
        return 0.05

    def _knock(self, caller: Caller) -> float:
        caller.close()  # a connection of its own for each request
        caller.call("GET", "/healthz")
        return 0.03


def roll(
    folder: Path,
    restarts: int,
    tell: Callable[[str], None],
    *,
    of_each: int = 2,
    epochs: int = EPOCHS,
) -> Outcome:
    """Replace an API, a worker, the next API, the next worker and so on.

    ``of_each``: how many APIs and how many workers there are. ``epochs``: of each job that is asked
    for meanwhile.
    """
    outcome = Outcome()
    with ExitStack() as stack:
        deployment = Deployment(stack, folder)
        apis = [deployment.start_api() for _ in range(of_each)]
        workers = [deployment.start_worker() for _ in range(of_each)]
        load = Load(deployment, outcome, epochs)
        load.start()
        try:
            told_at = time.monotonic()
            for number in range(restarts):
                kind, start = ((apis, deployment.start_api), (workers, deployment.start_worker))[
                    number % 2
                ]
                kind.append(deployment.replace(kind.pop(0), start))
                if time.monotonic() - told_at > 10.0:
                    told_at = time.monotonic()
                    tell(f"{number + 1} of {restarts} restarts; {len(outcome.seconds)} requests")
        finally:
            load.stop()
        _look_back(deployment, load, outcome)
    return outcome


def _look_back(deployment: Deployment, load: Load, outcome: Outcome) -> None:
    """Note what the database says of the jobs."""
    with deployment.database.read() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        outcome.jobs, outcome.attempts = len(jobs), sum(job.attempt for job in jobs.values())
        outcome.unfinished += [
            job_id
            for job_id in load.jobs
            if job_id not in jobs or jobs[job_id].state != "succeeded"
        ]
        details = session.scalars(select(JobEvent.detail).where(JobEvent.from_state == "running"))
        outcome.crashes = sum("code" in (detail or ()) for detail in details)
        outcome.weights = set(session.scalars(select(Model.weights_sha256)))
