"""How soon all is well again after each fault, and what that costs: ``make bench-recovery``.

Real processes on directories, a broker and a PostgreSQL of their own. Every bar is the project's.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.recovery import checkpoints, kills, outages, rolling
from benchmarks.recovery.rows import Row, save, show

REPEAT = {  # pairs of runs in the part ``share``, restarts in the part ``rolling``
    "trainer": 100,
    "host": 9,
    "broker": 8,
    "stopped": 40,
    "postgres": 12,
    "lost": 8,
    "share": 2,
    "rolling": 50,
}
WAITS = {
    "trainer": kills.trainer,
    "host": kills.host,
    "broker": outages.broker,
    "stopped": outages.stopped,
    "postgres": outages.postgres,
    "lost": checkpoints.lost,
}
BARS_S = {  # by how a row's name begins
    "trainer killed": 2.0,
    "worker host killed": 20.0,
    "broker flushed": 15.0,
    "broker restarted": 15.0,
    "broker stopped: POST": 0.5,
    "broker stopped": 15.0,
    "broker hung: POST": 0.5,
    "broker hung": 15.0,
    "PostgreSQL restarted": 5.0,
    "work lost": 10.0,
}
JOB_S, PAIR_S = 300.0, 12.0
SHARE_BAR = 2.0


def main(arguments: list[str]) -> int:
    """Measure; return the exit code: 1, if a promise does not hold."""
    parser = argparse.ArgumentParser(prog="make bench-recovery", description=__doc__)
    parser.add_argument("--only", default=",".join(REPEAT), help="parts, with commas between")
    parser.add_argument("--repeat", type=int, help="how often, in the place of each part's own")
    parser.add_argument("--job-seconds", type=float, default=JOB_S, help="of the part share")
    given = parser.parse_args(arguments)
    parts = given.only.split(",")
    if unknown := set(parts) - set(REPEAT):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(REPEAT)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else what it has started stays
    rows: list[Row] = []
    for part in parts:
        began = time.monotonic()
        _tell(f"{part} …")
        with tempfile.TemporaryDirectory(prefix="recovery-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # a PostgreSQL that is not to run as root enters it
            rows += _measure(part, folder, given.repeat or REPEAT[part], given.job_seconds)
        _tell(f"{part}: {time.monotonic() - began:.0f} s")
    show(rows)
    save(rows)
    return int(not all(row.holds for row in rows))


def _measure(part: str, folder: Path, repeat: int, job_s: float) -> list[Row]:
    if part == "share":
        return _share(folder, repeat, job_s)
    if part == "rolling":
        return _rolling(folder, repeat)
    samples = WAITS[part](folder, repeat, _tell)
    return [Row.of(part, name, values, "s", _bar_s(name)) for name, values in samples.items()]


def _share(folder: Path, pairs: int, job_s: float) -> list[Row]:
    """Measure one job by its own clock, and its like with and without checkpoints in turns."""
    places = [folder / name for name in ("share", "compare")]
    for place in places:
        place.mkdir()
    long = checkpoints.share(places[0], job_s, _tell)
    name = f"checkpoints, of a job of {long.learning_s:.0f} s"
    rows = [Row.of("share", name, [100 * long.saving_s / long.learning_s], "%", SHARE_BAR)]
    costs = checkpoints.compare(places[1], pairs, PAIR_S, _tell)
    for what, words in (("learning_s", "time"), ("processor_s", "processor time")):
        with_them, without = (median(getattr(c, what) for c in kind) for kind in costs)
        name = f"checkpoints, {words} beside none, job of {PAIR_S:.0f} s"
        rows.append(Row.of("share", name, [100 * (with_them / without - 1)], "%", None))
    return rows


def _rolling(folder: Path, restarts: int) -> list[Row]:
    found = rolling.roll(folder, restarts, _tell)
    for failure in found.failures[:20]:
        _tell(f"FAILED: {failure}")
    counts = {
        "requests that failed": len(found.failures),
        "jobs lost": len(found.unfinished),
        "crashes counted": found.crashes,
        "jobs with other weights": len(found.weights) - 1,
    }
    of = f"{restarts} restarts: "
    rows = [Row.of("rolling", of + what, [float(n)], "", 0.0) for what, n in counts.items()]
    done = {"jobs": found.jobs, "attempts at them": found.attempts}
    rows += [Row.of("rolling", of + what, [float(n)], "", None) for what, n in done.items()]
    return [*rows, Row.of("rolling", f"{of}a request", found.seconds, "s", None)]


def _bar_s(name: str) -> float:
    return next(bar for start, bar in BARS_S.items() if name.startswith(start))


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
