"""``python -m tests.chaos.fault_points``: fail at every point, in every way, and lose nothing.

For each point of ``service.faults`` and each action, N = 1, 2, … until a run no longer comes by
that often (SQLite's own method: sqlite.org/testing.html). A process that was killed is started
again, as ``up`` would. Real processes, one fault a run; the job must end with the undisturbed bits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

from service import faults
from service.store import migrate
from service.store.database import Database
from tests import training_jobs
from tests.chaos.calls import KEY, Http, Unknown
from tests.processes import process

NO_REDIS = "redis://127.0.0.1:1/0"
LIMIT_S = 120.0
JOB = {
    "data": {"target": "digit", "task": "classification"},
    "architecture": {"layers": training_jobs.LAYERS},
    "training": {"epochs": 3, "seed": 3, "batch_size": 64},
}


class Run:
    """One process with one fault, over a database of its own."""

    def __init__(self, stack, folder, template, redis_url):
        path = folder / "chainrule.db"
        path.write_bytes(template.read_bytes())
        self.database = Database(f"sqlite:///{path}")
        stack.callback(self.database.dispose)
        self.log = folder / "log"
        self._stack = stack
        self._settings = {
            "DATA_DIR": folder,
            "DATABASE_URL": self.database.url,
            "REDIS_URL": redis_url,
            "API_KEY": KEY,
            "TRAINERS": 1,
            "TESTING": 1,
        }

    def start(self, module, *arguments, **settings):
        together = self._settings | settings
        return self._stack.enter_context(process(module, *arguments, log=self.log, **together))

    def reached(self):
        """Whether the process came by its fault."""
        return self.log.exists() and b"fault: " in self.log.read_bytes()


def of_worker(run, fault):
    """Have a worker train a job with a fault.  Returns: the hash of the weights."""
    job_id = training_jobs.submit_digits(run.database, epochs=3, batch_size=64)
    running = run.start("worker", "--id", "w1", FAULT=fault)
    ends = time.monotonic() + LIMIT_S
    while not training_jobs.is_final(run.database, job_id):
        assert time.monotonic() < ends, f"{fault}: the job does not end\n{run.log.read_text()}"
        if running.poll() is not None:
            running = run.start("worker", "--id", "w1")
        time.sleep(0.02)
    job = training_jobs.read(run.database, job_id)
    assert (job.state, job.error) == ("succeeded", None), (fault, job.error)
    training_jobs.check_units(run.database, job_id)
    return training_jobs.model(run.database, job_id)[0].weights_sha256


def of_api(run, fault):
    """Have an API take in a dataset and a job with a fault.  Returns: what it kept of them."""
    port = Http.free_port()
    place = {"HOST": "127.0.0.1", "PORT": port}
    state = {"api": run.start("service", FAULT=fault, **place)}
    http = Http(f"http://127.0.0.1:{port}")

    def insist(call):
        """Call until there is an answer, as a client would; start the API again if it is gone."""
        ends = time.monotonic() + LIMIT_S
        while time.monotonic() < ends:
            if state["api"].poll() is not None:
                state["api"] = run.start("service", **place)
            try:
                return call()
            except (Unknown, OSError):
                time.sleep(0.05)
        raise AssertionError(f"{fault}: no answer\n{run.log.read_text()}")

    insist(lambda: http.call("GET", "/healthz"))
    data = (files("chainrule") / "data" / "digits.csv").read_bytes()
    path = "/v1/datasets?name=digits"
    dataset = insist(lambda: http.call("POST", path, data, "text/csv"))
    assert dataset["rows"] == 1797
    job = insist(lambda: http.call("POST", "/v1/jobs", {"dataset_id": dataset["id"], **JOB}))
    cancelled = insist(lambda: http.call("POST", f"/v1/jobs/{job['id']}/cancel"))
    assert cancelled["state"] == "cancelled", (fault, cancelled)
    found = training_jobs.read(run.database, job["id"])
    history = training_jobs.history(run.database, job["id"])
    assert (found.state, history) == ("cancelled", ["queued", "cancelled"]), (fault, history)
    datasets = insist(lambda: http.call("GET", "/v1/datasets"))["items"]
    assert [d["id"] for d in datasets] == [dataset["id"]], (fault, datasets)
    return dataset["sha256"]


SCENES = {"worker": of_worker, "API": of_api}


def main(arguments):
    """Try all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fault_points", description=__doc__)
    parser.add_argument("--points", nargs="*", default=list(faults.POINTS))
    parser.add_argument("--actions", nargs="*", default=list(faults.ACTIONS))
    parser.add_argument("--scenes", nargs="*", default=list(SCENES), help="worker, API")
    parser.add_argument("--most", type=int, default=40, help="the largest N")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        return _try_all(Path(name), given)


def _try_all(folder, given):
    template = folder / "template.db"
    migrate.upgrade(f"sqlite:///{template}")
    failures, runs = 0, 0
    for scene in given.scenes:
        wanted, _ = try_one(folder, template, scene, None)
        for point in given.points:
            reached = Counter()
            for action in given.actions:
                for number in range(1, given.most + 1):
                    fault = f"{point}:{number}:{action}"
                    runs += 1
                    try:
                        found, came_by = try_one(folder, template, scene, fault)
                        assert found == wanted, f"{fault}: other bits"
                    except AssertionError as error:
                        failures += 1
                        came_by = True
                        print(f"{scene} {fault} FAILED: {error}"[:2000], flush=True)
                    if not came_by:
                        break
                    reached[action] += 1
            told = ", ".join(f"{action} {reached[action]}" for action in given.actions)
            print(f"{scene:7} {point:11} reached: {told}", flush=True)
    print(f"{runs} runs, {failures} failed")
    return int(failures > 0)


def try_one(folder, template, scene, fault):
    """Play a scene with a fault.  Returns: what came of it, and whether the point was reached."""
    with tempfile.TemporaryDirectory(dir=folder) as name, ExitStack() as stack:
        run = Run(stack, Path(name), template, NO_REDIS)
        found = SCENES[scene](run, fault or "")
        return found, run.reached()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
