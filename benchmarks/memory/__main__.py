"""Measure, print, and write ``benchmarks/results/memory.json`` and docs/cost-per-sample.svg."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engine.cases import find
from benchmarks.memory.children import alone
from benchmarks.memory.mapped import Training, train, write
from benchmarks.memory.plot import plot
from benchmarks.memory.steps import GROWTH_KB, GROWTH_MB, STEPS, grow
from benchmarks.report import Case, save

LONG = ("MLP 64-128-64-10", "CNN 1-8-16", "LSTM 1-32")
GIGABYTES, WIDE, PRIVATE_MB = 4, 256, 400.0
SIZES, NARROW, DEARER = (10_000, 100_000, 1_000_000, 10_000_000), 16, 1.25
LAYERS = [{"kind": "dense", "units": units, "activation": "relu"} for units in (64, 32)]
LEAST_ROWS = 500_000  # of a measurement: small datasets are passed several times
TURNS = 2
_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
PLOT = Path(__file__).parents[2] / "docs" / "cost-per-sample.svg"


def main() -> int:
    """Measure all three; the status says whether each bar holds."""
    os.environ |= dict.fromkeys(_VARIABLES, "1")  # as a trainer has it, for the processes to come
    cases: list[Case] = [*_steps()]
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        cases.append(_large(Path(folder)))
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        costs = _costs(Path(folder))
    PLOT.write_text(plot(costs), "utf-8")
    least, most = min(costs.values()), max(costs.values())
    name = "cost per sample, dearest of 10k to 10M rows over cheapest"
    cases.append(_bar(name, most / least, DEARER, "times"))
    save("memory", cases, us_per_sample={str(rows): round(us, 3) for rows, us in costs.items()})
    return 1 if any(case.ratio < 1 for case in cases) else 0


def _steps() -> list[Case]:
    found = []
    for name in LONG:
        (case,) = find(name)
        growth = alone(grow, case)
        what = f"{STEPS:,} steps of {case.short_name}, growth after 500"
        found.append(_bar(f"{what}: private memory", growth.more_mb, GROWTH_MB, "MB"))
        found.append(_bar(f"{what}: objects", growth.more_kb, GROWTH_KB, "kB"))
    return found


def _large(folder: Path) -> Case:
    rows = GIGABYTES * 10**9 // (4 * WIDE)
    write(folder, rows, WIDE)
    result: Training = alone(train, folder, LAYERS, 1024)
    us = 1e6 * result.seconds / result.rows
    print(
        f"{rows:,} rows of {WIDE}, {us:.2f} us each; {result.mapped_mb:.0f} MB of the file mapped"
    )
    return _bar(
        f"a pass over a {GIGABYTES} GB file: private memory", result.private_mb, PRIVATE_MB, "MB"
    )


def _costs(folder: Path) -> dict[int, float]:
    """Return microseconds a sample by the number of rows: the least of turns, noise only adds."""
    for rows in SIZES:
        (folder / str(rows)).mkdir()
        write(folder / str(rows), rows, NARROW)
    found: dict[int, list[float]] = {rows: [] for rows in SIZES}
    for _ in range(TURNS):
        for rows, taken in found.items():
            passes = max(1, LEAST_ROWS // rows)
            one: Training = alone(train, folder / str(rows), LAYERS, 64, passes)
            taken.append(1e6 * one.seconds / one.rows)
    costs = {rows: min(taken) for rows, taken in found.items()}
    print("us a sample: " + ", ".join(f"{us:.2f} ({rows:,} rows)" for rows, us in costs.items()))
    return costs


def _bar(name: str, ours: float, bar: float, unit: str) -> Case:
    """Return a comparison with a bar that ours must not exceed; print it at once."""
    ours = max(ours, 0.001)
    case: Any = Case(name, 1, ours, bar, "bar", unit, bar / ours)
    print(f"{name:<75}{ours:>9.3f}  (bar {bar:g} {unit})", flush=True)
    return case


if __name__ == "__main__":
    sys.exit(main())
