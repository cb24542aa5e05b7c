"""Where faults are played: a database, a broker, an API and a worker, each failing on demand."""

from __future__ import annotations

import itertools
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

from sqlalchemy import func, select

from service.broker.app import make_celery
from service.broker.bell import Bell
from service.settings import Settings
from service.store import migrate
from service.store.database import Database
from tests import training_jobs
from tests.chaos.calls import KEY, Http, Refused, Unknown
from tests.conftest import LOCAL_POSTGRES, _create, _drop, _own_redis
from tests.processes import clean_environment, group, of_group
from tests.waiting import eventually

LIMIT_S = 300.0  # on a machine that does much else besides


class Forks:
    """``tests.chaos.faulty``, which has imported all there is, and forks."""

    def __init__(self, log):
        self._log = log
        with log.open("ab") as file:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.faulty"],
                env=clean_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
                text=True,
            )
        self._started = queue.SimpleQueue()
        self._ended = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def fork(self, module, environ, out):
        """Begin a process.  Returns: its pid, and the connection to it."""
        name = secrets.token_hex(8)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"\0{name}")
            listening.listen(1)
            listening.settimeout(LIMIT_S)
            request = {"module": module, "environ": environ, "control": name}
            request |= {"out": str(out), "log": str(self._log)}
            self._parent.stdin.write(json.dumps(request) + "\n")
            self._parent.stdin.flush()
            pid = self._started.get(timeout=LIMIT_S)
            connection, _ = listening.accept()
        connection.settimeout(LIMIT_S)
        with connection:
            return pid, connection.makefile("rw")

    def code(self, pid):
        """Return a process's exit code, or None as long as it runs."""
        return self._ended.get(pid)

    def close(self):
        self._parent.stdin.close()
        self._parent.wait(LIMIT_S)
        self._listener.join()
        self._parent.stdout.close()

    def _listen(self):
        for line in self._parent.stdout:
            told = json.loads(line)
            if "started" in told:
                self._ended.pop(told["started"], None)
                self._started.put(told["started"])
            else:
                self._ended[told["ended"]] = told["code"]


class Process:
    """One of our modules as a process, started again whenever it has gone."""

    def __init__(self, stage, module, *arguments):
        self._stage = stage
        self._module = [module, *arguments]
        self._out = stage.log.with_name("out")
        self.pid = self._told = None

    @property
    def alive(self):
        return self.pid is not None and self._stage.forks.code(self.pid) is None

    def start(self, fault=""):
        """Start it, with a fault that it may run into as it starts."""
        self.end()
        self._out.write_bytes(b"")
        settings = self._stage.settings | ({"FAULT": fault} if fault else {})
        out = self._out if self._module[0] == "service.keys" else self._stage.log
        environ = clean_environment(**settings)
        self.pid, self._told = self._stage.forks.fork(self._module, environ, out)
        return self

    def revive(self):
        """Start it again if it has gone, as ``up`` would."""
        if not self.alive:
            self.start()

    def arm(self, fault):
        """Have it run into a fault from now on.  Returns: which points it has reached so far."""
        while True:
            self.revive()
            with suppress(OSError):  # it is dying right now
                self._told.write(f"{fault}\n")
                self._told.flush()
                if answer := self._told.readline():
                    return json.loads(answer)
            self.end()

    def trainers(self):
        return of_group(self.pid, "worker.trainer")

    def terminate(self):
        """Ask it to end.  Returns: its exit code."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        return self.finish()[0]

    def finish(self):
        """Wait for its end.  Returns: its exit code, and what it has said."""
        eventually(lambda: not self.alive, within_s=LIMIT_S)
        return self._stage.forks.code(self.pid), self._out.read_bytes()

    def end(self):
        if self.pid is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        eventually(lambda: not self.alive and not group(self.pid), within_s=LIMIT_S)
        with suppress(OSError):
            self._told.close()
        self.pid = None


class Stage:
    """What all scenes of a run share.  Numbers and names are never used twice."""

    def __init__(self, folder, database_url, redis_url):
        self.log = folder / "log"
        self.log.touch()
        self.forks = Forks(self.log)
        self.database = Database(database_url)
        port = Http.free_port()
        self.http = Http(f"http://127.0.0.1:{port}")
        self.settings = {
            "DATA_DIR": folder,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "HOST": "127.0.0.1",
            "PORT": port,
            "API_KEY": KEY,
            "TRAINERS": 1,
            "MAX_UPLOAD_MIB": 2,
            "PARSE_INLINE_MIB": 1,
            "TESTING": 1,
        }
        self.plain = Settings.from_env({f"CHAINRULE_{k}": str(v) for k, v in self.settings.items()})
        self.bell = Bell(make_celery(self.plain))
        self.api = Process(self, "service")
        self.worker = Process(self, "worker", "--id", "w1")
        self.keys = Process(self, "service.keys", "--json", "create", "of-the-test")
        self._numbers = itertools.count(1)
        self._read = 0  # of the log
        self._digits = self._model = None

    def close(self):
        for process in (self.api, self.worker, self.keys):
            process.end()
        self.forks.close()
        self.bell.close()
        self.database.dispose()

    def prepare(self, process):
        """Disarm all, and leave a worker alone with its jobs: an API would do some of its work."""
        if process == "worker":
            self.api.end()
        for each in (self.api, self.worker):
            if each.alive:
                each.arm("")

    def number(self):
        """Return a number that nobody has had."""
        return next(self._numbers)

    def insist(self, method, path, body=None, content_type="application/json", key=None):
        """Make a request under one name until it is answered; start the API when it has gone."""
        named = {"Idempotency_Key": key or f"key-{self.number()}"} if method != "GET" else {}
        ends = time.monotonic() + LIMIT_S
        while True:
            self.api.revive()
            try:
                return self.http.call(method, path, body, content_type, **named)
            except Unknown:
                if time.monotonic() > ends:
                    raise
            except Refused as refused:
                if "under way" not in str(refused):
                    raise
            time.sleep(0.02)

    def until(self, condition):
        """Wait for what the worker is to do; start it again when it has gone."""

        def holds():
            self.worker.revive()
            return condition()

        return eventually(holds, within_s=LIMIT_S, every_s=0.03)

    def ended(self, job_id, state="succeeded"):
        """Wait for a job's end, which must be this one, with all its units."""
        self.until(lambda: training_jobs.is_final(self.database, job_id))
        job = training_jobs.read(self.database, job_id)
        assert job.state == state, (job.state, job.error)
        if job.kind != "parsing":
            training_jobs.check_units(self.database, job_id)
        history = training_jobs.history(self.database, job_id)
        assert history.count(state) == 1, history
        assert history.count("running") >= job.attempt, history
        return job

    def count(self, table, *where):
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(table).where(*where))

    def execute(self, sql, **values):
        return training_jobs.execute(self.database, sql, **values)

    def digits(self):
        """Return the dataset of digits."""
        if self._digits is None:
            self._digits = training_jobs.store(self.database, *training_jobs.digits())
        return self._digits

    def model(self):
        """Return a trained model: its row."""
        if self._model is None:
            job_id = training_jobs.submit(self.database, self.digits(), epochs=1, bell=self.bell)
            self.ended(job_id)
            self._model = training_jobs.model(self.database, job_id)[0]
        return self._model

    def unread_log(self):
        """Return what the processes have said since the last call."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            said = file.read()
            self._read = file.tell()
        return said.decode(errors="replace")


@contextmanager
def staged(folder, engine):
    """Yield a stage on an engine, with a broker of its own."""
    with _own_redis(folder) as (redis_url, _), database_of(folder, engine) as url:
        stage = Stage(folder, url, redis_url)
        try:
            yield stage
        finally:
            stage.close()


@contextmanager
def database_of(folder, engine):
    """Yield the address of an empty, migrated database."""
    if engine == "sqlite":
        url = f"sqlite:///{folder / 'chainrule.db'}"
        migrate.upgrade(url)
        yield url
        return
    server = os.environ.get("CHAINRULE_TEST_DATABASE_URL", LOCAL_POSTGRES)
    url = _create(server)
    try:
        migrate.upgrade(url)
        yield url
    finally:
        _drop(server, url)
