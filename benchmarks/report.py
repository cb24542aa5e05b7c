"""What every benchmark ends with: a table for people and a JSON file for the record."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean

import numpy as np

__all__ = ["RESULTS", "Case", "machine", "save", "show_means", "write"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    """One comparison.  ``ratio`` > 1: ours is better."""

    case: str
    threads: int
    ours: float
    theirs: float
    peer: str
    unit: str
    ratio: float


def write(name: str, cases: list[Case]) -> Path:
    """Print the table and write ``benchmarks/results/NAME.json``; return the file."""
    print(f"\n{'case':<60}{'threads':>8}{'ours':>12}{'theirs':>12}  {'unit':<9}{'ratio':>7}  peer")
    for c in cases:
        figures = f"{c.ours:>12.3f}{c.theirs:>12.3f}"
        print(f"{c.case:<60}{c.threads:>8}{figures}  {c.unit:<9}{c.ratio:>7.2f}  {c.peer}")
    return save(name, cases)


def save(name: str, cases: list[Case], **more: object) -> Path:
    """Print the means and write ``benchmarks/results/NAME.json``, with more beside the cases."""
    geomean = show_means(cases)
    document = {
        "machine": machine(),
        "cases": [_rounded(asdict(case)) for case in cases],
        "geomean": geomean,
        **more,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(f"wrote {path}")
    return path


def show_means(cases: list[Case]) -> dict[str, float]:
    """Print and return the mean ratio to each peer, by number of threads if there are several."""
    ratios: dict[str, list[float]] = {}
    several = len({case.threads for case in cases}) > 1
    for case in cases:
        threads = f", {case.threads} thread{'s' * (case.threads > 1)}" if several else ""
        ratios.setdefault(f"{case.peer}{threads}", []).append(case.ratio)
    means = {peer: round(geometric_mean(found), 3) for peer, found in ratios.items()}
    print("geometric mean: " + ", ".join(f"{v:.2f} ({k})" for k, v in means.items()))
    return means


def _rounded(case: dict[str, object]) -> dict[str, object]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in case.items()}


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
