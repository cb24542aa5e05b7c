"""The embedded service as its user meets it: ``make bench-service``.

Starts a stack of its own on a temporary directory and measures it over HTTP. The bars are the
project's own (``peer``: "bar"); a GET is set against an empty route of the same server.
"""

from __future__ import annotations

import http.client
import re
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import starts
from benchmarks.report import Case, write
from chainrule.cli.layers import architecture_of
from chainrule.cli.stack import Stack

if TYPE_CHECKING:
    from chainrule.client import Client, Dataset, Job

JOBS = 21
POLL_S = 0.005
BETWEEN_JOBS_S = 0.6  # a new spare trainer gets warm in 0.1 to 0.4 s
BURSTS, BURST = 20, 100
IDLE_S = 5.0
BARS = {"first epoch": 150.0, "succeeded": 1000.0, "memory": 350.0, **starts.BARS}
TRAINING = {
    "loss": "softmax_cross_entropy",
    "optimizer": {"kind": "adam"},
    "epochs": 20,
    "batch_size": 64,
    "seed": 1,
}


def main() -> None:
    """Measure memory at rest, jobs, then reads."""
    with (
        tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder,
        Stack(Path(folder)) as stack,
        stack.client() as client,
    ):
        time.sleep(IDLE_S)
        memory = pss_mb(stack.process.pid)
        with as_file(files("chainrule") / "data" / "digits.csv") as path:
            dataset = client.upload(path)
        _job(client, dataset)  # the first imports and caches what all later ones share
        times = [_job(client, dataset) for _ in range(JOBS)]
        job = next(client.jobs())
        full, unchanged, empty = _rates(stack, job)
    first, whole = (median(column) for column in zip(*times, strict=True))
    kind = "digits 64-128-64-10, 20 epochs, batch 64"
    cases = [
        _against_bar("POST job -> first epoch visible", first, "first epoch", "ms"),
        _against_bar(f"POST -> succeeded, {kind}", whole, "succeeded", "ms"),
        Case("GET /v1/jobs/{id}", 1, full, empty, "GET /healthz", "1/s", full / empty),
        Case(
            "the same, unchanged (304)",
            1,
            unchanged,
            empty,
            "GET /healthz",
            "1/s",
            unchanged / empty,
        ),
        _against_bar("memory of the idle stack (PSS)", memory, "memory", "MB"),
        *_starts(),
    ]
    write("service", cases)
    spread = sorted(t[0] for t in times)
    print(f"first epoch: {spread[0]:.0f} to {spread[-1]:.0f} ms over {JOBS} jobs; rate aim 0.7")


def _starts() -> list[Case]:
    """Return what it takes to start, each in a process of its own."""
    found = {"import chainrule, numpy being there": ("import", starts.import_ms())}
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        job = starts.job(Path(folder))
        found["a waiting trainer's first step learnt"] = ("warm", starts.warm_ms(job))
        found["the same of a trainer not yet started"] = ("cold", starts.cold_ms(job))
    return [_against_bar(name, ms, bar, "ms") for name, (bar, ms) in found.items()]


def _against_bar(case: str, ours: float, bar: str, unit: str) -> Case:
    return Case(case, 1, ours, BARS[bar], "bar", unit, BARS[bar] / ours)


def _job(client: Client, dataset: Dataset) -> tuple[float, float]:
    """Run a job; return when its first epoch was seen and when its success was (ms after POST)."""
    time.sleep(BETWEEN_JOBS_S)
    started = time.perf_counter()
    job = client.train(dataset, architecture_of("128 relu, 64 relu"), TRAINING, data=DATA)
    first = 0.0
    while not job.done:
        time.sleep(POLL_S)
        job.refresh()
        if not first and job.view["progress"]["epoch"] >= 1:
            first = time.perf_counter() - started
    whole = time.perf_counter() - started
    if job.state != "succeeded":
        raise SystemExit(f"{job.id}: {job.summary()}")
    return 1000 * (first or whole), 1000 * whole


DATA = {"target": "digit", "task": "classification"}


def _rates(stack: Stack, job: Job) -> list[float]:
    """Return requests per second, in turns: of a job, of an unchanged job, of an empty route."""
    host = re.sub(r"^http://", "", stack.url)
    connection = http.client.HTTPConnection(host)
    key = {"Authorization": f"Bearer {stack.key}"}
    connection.request("GET", job.path, headers=key)
    answer = connection.getresponse()
    answer.read()
    tag = {"If-None-Match": answer.headers["ETag"]}
    kinds = [(job.path, key, 200), (job.path, key | tag, 304), ("/healthz", {}, 200)]
    rates: list[list[float]] = [[] for _ in kinds]
    for _ in range(BURSTS):
        for (path, headers, status), taken in zip(kinds, rates, strict=True):
            started = time.perf_counter()
            for _ in range(BURST):
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != status:
                    raise SystemExit(f"GET {path}: {answer.status}")
            taken.append(BURST / (time.perf_counter() - started))
    connection.close()
    return [median(taken) for taken in rates]


def pss_mb(session: int) -> float:
    """Return the memory of all processes of a session, shared pages divided among them (MB)."""
    total_kb = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text("utf-8").rpartition(")")[2].split()
            if int(fields[3]) == session:
                rollup = (status.parent / "smaps_rollup").read_text("utf-8")
                total_kb += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total_kb * 1024 / 1e6


if __name__ == "__main__":
    main()
