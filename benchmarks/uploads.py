"""Large uploads in every way there is: what they take of the API's memory: ``make bench-uploads``.

A file of a stack's own for each way, sent at once, packed, and in parts; ten times a second the
private memory (RssAnon + RssShmem) of the API is looked at.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.processes import Memory
from benchmarks.report import Case, save, show_means
from chainrule.cli.stack import Stack
from chainrule.client.transport import Transport
from chainrule.client.uploading import send, send_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Way = Callable[[Transport, Path], dict[str, Any]]

MB = 10**6
SAMPLE_S = 0.1
PRIVATE_MB = 200.0  # the bar
DEFAULT_MB = 4000
ROWS, COLUMNS = 20_000, 8  # of a block


def main() -> int:
    """Measure it all; the status says whether each bar holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads")
    parser.add_argument("--mb", type=int, default=DEFAULT_MB, help="the size of the file, unpacked")
    size = parser.parse_args().mb
    cases = []
    for name, way in WAYS.items():
        with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
            seconds, peak = _measure(Path(folder), size * MB, way, packed="gzip" in name)
        print(f"{name}: {seconds:.1f} s, API {peak:.0f} MB (bar: {PRIVATE_MB:.0f})", flush=True)
        what = f"{size} MB sent {name}"
        cases += [Case(what, 1, peak, PRIVATE_MB, "bar", "MB of the API", PRIVATE_MB / peak)]
    if size == DEFAULT_MB:
        save("uploads", cases)
    else:
        show_means(cases)
    return 1 if any(case.ratio < 1 for case in cases) else 0


def _at_once(transport: Transport, path: Path) -> dict[str, Any]:
    return send(transport, path, "text/csv", {})


def _in_parts(transport: Transport, path: Path) -> dict[str, Any]:
    return send_parts(transport, path, {"format": "csv", "types": {}}, lambda *_: None)


WAYS: dict[str, Way] = {
    "at once": _at_once,
    "at once, as gzip": _at_once,
    "in parts": _in_parts,
    "in parts, as gzip": _in_parts,
}


def _measure(folder: Path, size: int, way: Way, *, packed: bool) -> tuple[float, float]:
    """Return how long an upload took (s), and the most private memory of the API then (MB)."""
    path = folder / ("table.csv.gz" if packed else "table.csv")
    _make(path, size, packed=packed)
    with (
        Stack(folder, {"CHAINRULE_TRAINERS": "1"}) as stack,
        Memory(stack.process.pid, SAMPLE_S) as memory,
    ):
        transport = Transport(stack.url, stack.key)
        began = time.perf_counter()
        memory.phase = "upload"
        dataset = way(transport, path)
        seconds = time.perf_counter() - began
        if dataset["state"] == "parsing":
            transport.json("POST", f"/v1/jobs/{dataset['job_id']}/cancel")
        transport.close()
    return seconds, memory.by_phase["upload"]["API"]


def _make(path: Path, size: int, *, packed: bool) -> None:
    """Write a CSV of about so many bytes, of which no two megabytes are the same."""
    rng = np.random.default_rng(7)
    header = ",".join(f"x{n}" for n in range(COLUMNS)).encode() + b"\n"
    with gzip.open(path, "wb", compresslevel=1) if packed else path.open("wb") as file:
        written = file.write(header)
        while written < size:
            digits = rng.integers(ord("0"), ord("9") + 1, (ROWS, COLUMNS, 7), np.uint8)
            digits[:, :, -1] = ord(",")
            digits[:, -1, -1] = ord("\n")
            written += file.write(digits.tobytes())


if __name__ == "__main__":
    raise SystemExit(main())
