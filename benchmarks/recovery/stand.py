"""What is struck: an API, workers and a broker as processes, and the jobs that they are to do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import redis
from sqlalchemy import func, select

from service.errors import UnavailableError
from service.store import migrate
from service.store.database import Database
from service.store.tables import JobEvent, Step, Worker
from tests.processes import of_group, process
from tests.services import Api
from tests.waiting import eventually
from worker import valkey

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

__all__ = ["ENDLESS", "FOREVER_S", "Stand", "digits_job", "repeated"]

FOREVER_S = 120.0
LOOK_S = 0.005
ENDLESS = 1_000_000  # epochs
LAYERS = [
    {"kind": "dense", "units": 128, "activation": "relu"},
    {"kind": "dropout", "rate": 0.2},
    {"kind": "dense", "units": 64, "activation": "relu"},
    {"kind": "dense", "units": 10},
]


def digits_job(dataset_id: str, **training: Any) -> dict[str, Any]:
    """Return a job that learns the digits: an epoch takes some milliseconds."""
    return {
        "dataset_id": dataset_id,
        "data": {"target": "digit", "task": "classification"},
        "architecture": {"layers": LAYERS},
        "training": {"epochs": 1, "batch_size": 64, "seed": 1} | training,
    }


class Stand:
    """One API and one broker; any number of workers, each in a session of its own: a host."""

    def __init__(self, stack: ExitStack, folder: Path, database_url: str | None = None) -> None:
        self._folder = folder
        self._stack = stack
        self._url = database_url or f"sqlite:///{folder / 'chainrule.db'}"
        migrate.upgrade(self._url)
        self._broker_url = valkey.socket_url(folder)
        self._broker: subprocess.Popen[bytes] | None = None
        stack.callback(self.kill_broker)
        self.start_broker()
        self.database = Database(self._url)
        stack.callback(self.database.dispose)
        self.api = Api(stack, folder, self._url, self._broker_url).start()
        self.dataset_id = self._upload()

    # Processes.

    def start_worker(self, name: str, trainers: int = 1) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it waits for jobs."""
        settings = {
            "DATA_DIR": self._folder / name,
            "DATABASE_URL": self._url,
            "REDIS_URL": self._broker_url,
            "TRAINERS": trainers,
        }
        log = self._folder / f"{name}.log"
        running = self._stack.enter_context(process("worker", log=log, **settings))
        ready = trainers  # one trainer waits in each slot
        eventually(lambda: self._knows(running.pid), within_s=FOREVER_S)
        eventually(
            lambda: len(of_group(running.pid, "worker.trainer")) >= ready, within_s=FOREVER_S
        )
        return running

    @staticmethod
    def stop_worker(worker: subprocess.Popen[bytes]) -> None:
        """End a worker in good order."""
        worker.send_signal(signal.SIGTERM)
        worker.wait(FOREVER_S)

    @staticmethod
    def kill_host(worker: subprocess.Popen[bytes]) -> float:
        """Kill a worker with all that belongs to it; return when (wall clock)."""
        at = time.time()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        return at

    @staticmethod
    def kill_trainer(worker: subprocess.Popen[bytes]) -> float:
        """Kill the one trainer of a worker; return when (wall clock)."""
        pid = eventually(lambda: next(iter(of_group(worker.pid, "worker.trainer")), None))
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        return at

    def start_broker(self) -> None:
        """Start the broker, with nothing in it."""
        server = valkey.find_server()
        assert server is not None, "there is no valkey or redis server here"
        self._broker = subprocess.Popen(valkey.command(server, self._folder))
        eventually(self._broker_answers, within_s=FOREVER_S)

    def kill_broker(self) -> None:
        """Kill the broker, if there is one."""
        if self._broker is not None:
            self._broker.send_signal(signal.SIGCONT)
            self._broker.kill()
            self._broker.wait()
            self._broker = None

    def stall_broker(self) -> None:
        """Have the broker take connections and answer nothing."""
        self._broker.send_signal(signal.SIGSTOP)

    def flush_broker(self) -> None:
        """Have the broker forget everything."""
        self._redis().flushall()

    def messages(self) -> int:
        """Count the messages that nobody has fetched yet."""
        return self._redis().llen("chainrule")

    # Jobs.

    def submit(self, **training: Any) -> str:
        """Queue a job."""
        status, _, job = self.api.call("POST", "/v1/jobs", digits_job(self.dataset_id, **training))
        assert status == 202, job
        return job["id"]

    def cancel(self, job_id: str) -> None:
        """End a job, and wait until it has ended."""
        self.api.insist("POST", f"/v1/jobs/{job_id}/cancel")
        eventually(
            lambda: self.api.call("GET", f"/v1/jobs/{job_id}")[2]["ended_at"], within_s=FOREVER_S
        )

    def running_since(self, job_id: str, attempt: int = 1) -> float:
        """Wait for an attempt at a job; return when it began (wall clock)."""
        mine = (JobEvent.job_id == job_id, JobEvent.attempt >= attempt)
        return self._await(
            select(func.min(JobEvent.at)).where(*mine, JobEvent.to_state == "running")
        )

    def learning_since(self, job_id: str, attempt: int, after: float = 0.0) -> float:
        """Wait for the first unit of an attempt or a later one; return when it was committed.

        ``after``: only units from then on count.
        """
        mine = (Step.job_id == job_id, Step.attempt >= attempt, Step.at > after)
        return self._await(select(func.min(Step.at)).where(*mine))

    def attempt(self, job_id: str) -> int:
        """Return the number of the last attempt that has learnt something."""
        with self.database.read() as session:
            found = select(func.max(Step.attempt)).where(Step.job_id == job_id)
            return session.scalar(found) or 0

    def owner(self, job_id: str) -> int:
        """Return the process id of the worker that made the first attempt at a job."""
        mine = (JobEvent.job_id == job_id, JobEvent.attempt == 1, JobEvent.to_state == "running")
        with self.database.read() as session:
            who = session.scalar(select(JobEvent.who).where(*mine))
            return session.get(Worker, who.rpartition(":")[0]).info["pid"]

    # How it is done.

    def _await(self, statement: Any) -> float:
        def look() -> float | None:
            try:
                with self.database.read() as session:
                    return session.scalar(statement)
            except UnavailableError:
                return None

        return eventually(look, within_s=FOREVER_S, every_s=LOOK_S)

    def _knows(self, pid: int) -> bool:
        with self.database.read() as session:
            return any(worker.info["pid"] == pid for worker in session.scalars(select(Worker)))

    def _redis(self) -> Any:
        return redis.Redis(unix_socket_path=str(self._folder / valkey.SOCKET), socket_timeout=5.0)

    def _broker_answers(self) -> bool:
        try:
            return self._redis().ping()
        except redis.RedisError:
            return False

    def _upload(self) -> str:
        data = (files("chainrule") / "data" / "digits.csv").read_bytes()
        status, _, dataset = self.api.call(
            "POST", "/v1/datasets?name=digits", data, **{"Content-Type": "text/csv"}
        )
        assert status == 201, dataset
        return dataset["id"]


def repeated(times: int, tell: Callable[[str], None], what: str) -> Any:
    """Yield 1, 2, … ``times``, and say now and then how far it is."""
    told_at = time.monotonic()
    for number in range(1, times + 1):
        yield number
        if time.monotonic() - told_at > 10.0 and number < times:
            told_at = time.monotonic()
            tell(f"{what}: {number} of {times}")
