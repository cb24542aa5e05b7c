import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from tests.processes import clean_environment, group, of_group
from tests.waiting import eventually


class Up:
    """``python -m worker.up`` in a session of its own, and a client of its HTTP."""

    def __init__(self, data_dir, log, arguments=(), **settings):
        self.data_dir = data_dir
        self.log = log
        self._settings = {"DATA_DIR": data_dir, "PORT": 0, "TRAINERS": 1} | settings
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.up", *arguments],
                env=clean_environment(**self._settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.lines = self.process.stdout
        self.url = ""

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        """Wait until it says so, and return it."""
        line = self.lines.readline()
        assert line.startswith("listening on "), self.log.read_text()
        self.url = line.split()[2]
        assert self.lines.readline() == "ready\n", self.log.read_text()
        return self

    @property
    def key(self):
        return (self.data_dir / "api-key").read_text().strip()

    def call(self, method, path, body=None, content_type="application/json"):
        """Return (status, document) of one request."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {self.key}")
        if data is not None:
            request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def get(self, path):
        status, document = self.call("GET", path)
        assert status == 200, document
        return document

    def answers(self):
        """Whether database, broker and worker are all ok."""
        try:
            status, document = self.call("GET", "/readyz")
        except OSError:
            return False
        return status == 200 and set(document.values()) == {"ok"}

    def child(self, word):
        """The pid of the one child of ``up`` whose command line has a word, once there is one."""
        return eventually(lambda: next(iter(of_group(self.pid, word)), None))

    def end(self, number=signal.SIGTERM, *, whole_group=False):
        """Ask for the end; return the exit code and the seconds that it took."""
        asked_at = time.monotonic()
        (os.killpg if whole_group else os.kill)(self.pid, number)
        code = self.process.wait(60)
        return code, time.monotonic() - asked_at

    def destroy(self):
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.lines.close()
        eventually(lambda: not group(self.pid))


@pytest.fixture
def start(tmp_path):
    """Start ``up``; nothing of it is left after the test."""
    with _starting(tmp_path) as begin:
        yield begin


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """An ``up`` for tests that leave it as they found it: a start takes seconds."""
    with _starting(tmp_path_factory.mktemp("running")) as begin:
        yield begin().ready()


@contextmanager
def _starting(folder):
    started = []

    def begin(name="data", arguments=(), **settings):
        started.append(Up(folder / name, folder / "log", arguments, **settings))
        return started[-1]

    try:
        yield begin
    finally:
        for up in started:
            up.destroy()
