"""Parsing a table beside polars alone: ``make bench-parse`` (BENCH="--mib 2000" for a larger one).

The same generated CSV, in turn: our whole parse in its child process, as the service runs it, and
``polars.read_csv`` in a process of its own. Peak private memory is the child's RssAnon + RssShmem.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from benchmarks.report import Case, write
from service.parsing import Parser

ROUNDS = 5
ROWS_A_PIECE = 500_000
SAMPLE_S = 0.01
MOST_TIMES, MEMORY_MB = 3.0, 400.0  # the bars
_POLARS = (
    "import sys, time, polars as pl\n"
    "start = time.perf_counter(); pl.read_csv(sys.argv[1]); print(time.perf_counter() - start)"
)


def main() -> None:
    """Measure both in turn, and our child's memory."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=200, help="size of the file")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        path = Path(folder) / "table.csv"
        rows = generate(path, asked.mib << 20)
        size = path.stat().st_size / 2**20
        ours, theirs, peaks = [], [], []
        for _ in range(asked.rounds):
            seconds, peak = _ours(path, rows)
            ours.append(seconds)
            peaks.append(peak)
            theirs.append(_theirs(path))
    name = f"parse {size:,.0f} MiB, {rows:,} rows of 10 columns"
    times = median(ours) / median(theirs)
    print(f"{times:.2f} times polars alone (at most {MOST_TIMES:g})")
    print(f"peak private memory {max(peaks):.0f} MB (at most {MEMORY_MB:g})")
    cases = [
        Case(name, 1, median(ours), median(theirs), "polars.read_csv", "s", 1 / times),
        Case(
            "private memory of the child",
            1,
            max(peaks),
            MEMORY_MB,
            "the bar",
            "MB",
            MEMORY_MB / max(peaks),
        ),
    ]
    write("parse", cases)


def generate(path: Path, size: int) -> int:
    """Write a CSV of about so many bytes: numbers, whole numbers, words, an id; return its rows."""
    rng = np.random.default_rng(0)
    colours = np.array(["red", "green", "blue", "yellow"])
    cities = np.array([f"city {number}" for number in range(500)])
    rows = 0
    with path.open("wb") as file:
        while file.tell() < size:
            count = min(ROWS_A_PIECE, max(1, (size - file.tell()) // 78))
            table = {"id": np.arange(rows, rows + count)}
            table |= {f"x{i}": rng.normal(size=count).round(6) for i in range(5)}
            table["age"] = rng.integers(0, 100, count)
            table["amount"] = rng.integers(0, 10**6, count)
            table["colour"] = colours[rng.integers(0, len(colours), count)]
            table["city"] = cities[rng.integers(0, len(cities), count)]
            pl.DataFrame(table).write_csv(file, include_header=rows == 0)
            rows += count
    return rows


def _ours(path: Path, rows: int) -> tuple[float, float]:
    """Return seconds, and the most MB of private memory; the child is up before the clock runs."""
    with closing(Parser(deadline_s=3600)) as parser:
        small = path.with_name("small.csv")
        small.write_bytes(b"a\n1\n")
        parser.parse(small, "csv")
        peak, done = [0.0], threading.Event()
        child = parser._child  # noqa: SLF001  # whose memory it is
        assert child is not None
        status = Path(f"/proc/{child._process.pid}/status")  # noqa: SLF001

        def watch() -> None:
            while not done.wait(SAMPLE_S):
                peak[0] = max(peak[0], private_mb(status.read_text()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        parsed = parser.parse(path, "csv")
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    parsed.prepared.unlink()
    assert parsed.rows == rows
    return seconds, peak[0]


def private_mb(status: str) -> float:
    """Return what /proc/PID/status says of memory that no file backs."""
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem")) * 1024 / 1e6


def _theirs(path: Path) -> float:
    command = [sys.executable, "-c", _POLARS, str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
