"""The wall clock jumps under an API and a worker at work (F10): hours and years, both ways."""

from __future__ import annotations

import mmap
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import training_jobs
from tests.api_testing import flowers, network
from tests.processes import process
from tests.services import Api
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
SOURCE = Path(__file__).parent / "shifted_clock.c"
HOUR, YEAR = 3600, 365 * 86400
JUMPS = [HOUR, -HOUR, 10 * YEAR, -10 * YEAR, 0]


class Clock:
    """The wall clock of the processes that are started under it."""

    def __init__(self, folder):
        self.library, place = folder / "clock.so", folder / "shift"
        compiler = shutil.which("cc")
        if compiler is None or not sys.platform.startswith("linux"):
            pytest.skip("F10: to shift the clock of a process takes Linux and a C compiler")
        if not sysconfig.get_config_var("HAVE_SEM_CLOCKWAIT"):
            pytest.skip("F10: this Python waits by the wall clock")
        build = [compiler, "-shared", "-fPIC", "-O1", "-o", str(self.library), str(SOURCE)]
        subprocess.run(build, check=True)
        place.write_bytes(bytes(8))
        with place.open("r+b") as file:
            self._shift = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(self.library), "SHIFTED_CLOCK": str(place)}

    def jump_to(self, seconds):
        self._shift[:] = seconds.to_bytes(8, sys.byteorder, signed=True)


@pytest.fixture
def clock(tmp_path, monkeypatch):
    made = Clock(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)  # of what is started; this process has its clock already
    return made


def test_no_attempt_is_lost_and_no_job_is_stuck_whatever_the_clock_says(
    clock, database, database_url, tmp_path
):
    long_id = training_jobs.submit_slow(database)
    with ExitStack() as stack:
        api = Api(stack, tmp_path, database_url).start()
        settings = {"DATA_DIR": tmp_path / "w", "DATABASE_URL": database_url, "TRAINERS": 2}
        stack.enter_context(process("worker", log=tmp_path / "log", **settings))
        _, _, dataset = api.insist(
            "POST", "/v1/datasets", flowers(), **{"Content-Type": "text/csv"}
        )
        request = {"dataset_id": dataset["id"], "data": {"target": "species"}}
        request |= {"architecture": network("auto"), "training": {"epochs": 1}}
        eventually(lambda: training_jobs.read(database, long_id).step)
        sent = []
        for seconds in JUMPS:
            clock.jump_to(seconds)
            status, _, job = api.call("POST", "/v1/jobs", {**request, "name": str(seconds)})
            assert status == 202, job
            sent.append(job["id"])
            shown = read(api, job["id"])["created_at"]
            check_year(shown, seconds)
            eventually(lambda job=job: read(api, job["id"])["ended_at"])
            assert read(api, job["id"])["state"] == "succeeded"
        # Held in the future: a job that was given back when the clock was ten years ahead.
        clock.jump_to(10 * YEAR)
        ask(api, long_id, "pause", "paused")
        clock.jump_to(-10 * YEAR)
        ask(api, long_id, "resume", "queued", "running")
        eventually(lambda: training_jobs.read(database, long_id).attempt == 2)
        step = training_jobs.read(database, long_id).step
        eventually(lambda: training_jobs.read(database, long_id).step > step)
        items = api.call("GET", "/v1/jobs?limit=100")[2]["items"]
        assert [job["id"] for job in items] == [*reversed(sent), long_id], "by number, not by time"
        eventually(lambda: api.call("GET", "/readyz")[2]["worker"] == "ok")
        ask(api, long_id, "cancel", "cancelled")
    for job_id in (*sent, long_id):
        job = training_jobs.read(database, job_id)
        assert (job.attempt, job.crashes) == (2 if job_id == long_id else 1, 0)
        assert "code" not in {
            name for each in training_jobs.details(database, job_id) for name in each
        }
        training_jobs.check_units(database, job_id)


def read(api, job_id):
    status, _, job = api.call("GET", f"/v1/jobs/{job_id}")
    assert status == 200, job
    return job


def ask(api, job_id, what, *states):
    status, _, job = api.call("POST", f"/v1/jobs/{job_id}/{what}")
    assert status == 200, job
    eventually(lambda: read(api, job_id)["state"] in states)


def check_year(shown, seconds):
    """The process does see the clock that the test has set."""
    wanted = time.gmtime(time.time() + seconds).tm_year
    assert abs(int(shown[:4]) - wanted) <= 1
    assert (abs(seconds) < YEAR) == (abs(int(shown[:4]) - time.gmtime().tm_year) < 2)
