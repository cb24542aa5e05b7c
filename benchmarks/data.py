"""A large CSV from its upload to a trained network: ``make bench-data``.

The file is uploaded to a stack of its own, parsed, and learnt from for one epoch, while twice a
second the private memory (RssAnon + RssShmem) of every process of the stack is looked at. Before
and after, polars alone reads the same file in a process of its own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from benchmarks.memory.children import alone
from benchmarks.processes import Memory
from benchmarks.report import Case, save, show_means
from chainrule.cli.layers import architecture_of
from chainrule.cli.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

MB = 10**6
SAMPLE_S = 0.5
PRIVATE_MB, PARSE_RATIO = 600.0, 3.0  # the bars
DEFAULT_MB = 2000
NUMBERS = 8
WORDS = ("amber", "blue", "coral", "dune", "ebony", "fern")
BLOCK_ROWS = 100_000
TRAINING = {"epochs": 1, "batch_size": 1024, "seed": 1}
ANSWER_S, WAIT_S = 900.0, 7200.0


class Run:
    """A stack that is asked, watched and timed."""

    def __init__(self, stack: Stack, memory: Memory) -> None:
        self._stack = stack
        self._memory = memory
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time something, and have the memory noted as its own."""
        self._memory.phase = name
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        print(f"{name}: {self.seconds[name]:.1f} s", flush=True)

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Make a request, whose body may be a file; return the answer's JSON."""
        host = re.sub(r"^http://", "", self._stack.url)
        connection = http.client.HTTPConnection(host, timeout=ANSWER_S, blocksize=1 << 20)
        headers = {"Authorization": f"Bearer {self._stack.key}", "Content-Type": kind}
        if isinstance(body, Path):
            headers["Content-Length"] = str(body.stat().st_size)
            with body.open("rb") as file:
                connection.request(method, path, file, headers)
        else:
            connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        connection.close()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {document}")
        return document

    def wait(self, path: str, while_in: tuple[str, ...]) -> Any:
        """Look at something until its state is another one; return it."""
        deadline = time.monotonic() + WAIT_S
        while (found := self.ask("GET", path))["state"] in while_in:
            if time.monotonic() > deadline:
                raise SystemExit(f"{path} is {found['state']} after {WAIT_S:.0f} s")
            time.sleep(SAMPLE_S)
        return found


def main() -> int:
    """Measure it all; the status says whether each bar holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data")
    parser.add_argument("--mb", type=int, default=DEFAULT_MB, help="the size of the CSV")
    size = parser.parse_args().mb * MB
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        cases, facts = _measure(Path(folder), size)
    for case in cases:
        print(f"{case.case:<50}{case.ours:>10.1f} {case.unit:<3} (bar: {case.theirs:.1f})")
    if size == DEFAULT_MB * MB:
        save("data", cases, **facts)
    else:
        show_means(cases)
    return 1 if any(case.ratio < 1 for case in cases) else 0


def _measure(folder: Path, size: int) -> tuple[list[Case], dict[str, Any]]:
    path = folder / "table.csv"
    rows = _make(path, size)
    print(f"{rows:,} rows, {path.stat().st_size / MB:,.0f} MB")
    alone_s = [alone(_read, path)]
    with (
        Stack(folder, {"CHAINRULE_TRAINERS": "1"}) as stack,
        Memory(stack.process.pid, SAMPLE_S) as memory,
    ):
        run = Run(stack, memory)
        job = _train(run, path)
        disk = sum(one.stat().st_size for one in stack.data_dir.rglob("*") if one.is_file())
    alone_s.append(alone(_read, path))
    metrics = job["metrics"]["test"]
    print(f"polars alone: {alone_s[0]:.1f} s before, {alone_s[1]:.1f} s after; test: {metrics}")
    for phase, peaks in memory.by_phase.items():
        print(f"{phase}: " + ", ".join(f"{role} {peak:.0f} MB" for role, peak in peaks.items()))
    what = f"{rows / 1e6:.1f}M rows, {size // MB} MB of CSV"
    bar = PARSE_RATIO * min(alone_s)
    parsing = run.seconds["parsing"]
    cases = [
        Case(f"{what}: private memory, {role}", 1, peak, PRIVATE_MB, "bar", "MB", PRIVATE_MB / peak)
        for role, peak in sorted(memory.peaks.items())
    ]
    if parsing > SAMPLE_S:  # a small file is parsed by the request that brings it
        cases.append(Case(f"{what}: parsing", 1, parsing, bar, "3 x polars", "s", bar / parsing))
    facts = {
        "rows": rows,
        "seconds": {**_rounded(run.seconds), "polars alone": round(min(alone_s), 1)},
        "peaks": {phase: _rounded(peaks) for phase, peaks in memory.by_phase.items()},
        "disk_mb": round(disk / MB),
        "test": metrics,
    }
    return cases, facts


def _train(run: Run, path: Path) -> Any:
    """Upload, parse and learn; return the job."""
    with run.phase("upload"):
        dataset = run.ask("POST", "/v1/datasets?name=table", path, "text/csv")
    with run.phase("parsing"):
        dataset = run.wait(f"/v1/datasets/{dataset['id']}", ("parsing",))
    if dataset["state"] != "ready":
        raise SystemExit(f"the dataset: {dataset}")
    request = {
        "dataset_id": dataset["id"],
        "architecture": architecture_of("32 relu, 16 relu"),
        "data": {"target": "target"},
        "training": TRAINING,
    }
    with run.phase("planning"):
        job = run.ask("POST", "/v1/jobs", request)
    with run.phase("training"):
        job = run.wait(f"/v1/jobs/{job['id']}", ("queued", "running"))
    if job["state"] != "succeeded":
        raise SystemExit(f"the job: {job['error']}")
    return job


def _make(path: Path, size: int) -> int:
    """Write a table of about so many bytes and return its rows.

    The target is a curve of the numbers and the word, with some noise; a few values are missing.
    """
    rng = np.random.default_rng(5)
    slopes, levels = rng.normal(size=NUMBERS), rng.normal(size=len(WORDS))
    rows = 0
    with path.open("wb") as file:
        while file.tell() < size:
            x = rng.normal(size=(BLOCK_ROWS, NUMBERS)).round(6)
            word = rng.integers(0, len(WORDS), BLOCK_ROWS)
            target = np.tanh(x @ slopes) + levels[word] + 0.1 * rng.normal(size=BLOCK_ROWS)
            x[rng.random(BLOCK_ROWS) < 0.01, 0] = np.nan
            columns: dict[str, Any] = {f"x{i}": x[:, i] for i in range(NUMBERS)}
            columns["word"] = np.array(WORDS)[word]
            columns["target"] = target.round(6)
            block = pl.DataFrame(columns, nan_to_null=True)
            block.write_csv(file, include_header=rows == 0)
            rows += BLOCK_ROWS
    return rows


def _read(path: Path) -> float:
    """Return how long polars takes to read a file."""
    started = time.perf_counter()
    pl.read_csv(path)
    return time.perf_counter() - started


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(figure, 1) for name, figure in figures.items()}


if __name__ == "__main__":
    raise SystemExit(main())
