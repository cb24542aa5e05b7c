"""``python -m tests.simulation [--seeds N] [--first SEED] [--seed SEED]``: play schedules.

``--seed`` plays one again and tells all that happened in it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.schedule import Failed, play, play_many
from tests.simulation.world import Memory, template

CHUNK = 100


def main(arguments):
    """Play; return the exit code: 1, if a schedule failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many schedules to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one and tell what happens in it")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count()))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = template(Path(folder))
        if given.seed is not None:
            return _tell(path, given.seed)
        return _play_all(path, given)


def _tell(path, seed):
    try:
        trace, failed = play(Memory(path), seed).trace, None
    except Failed as error:
        trace, failed = error.trace, error
    for at, who, *words in trace:
        print(f"{at - 1000:9.2f} s  {who or '':8}", *words)
    print(failed or f"seed {seed}: every job has ended, and every invariant held")
    return int(failed is not None)


def _play_all(path, given):
    began, turns, failures = time.monotonic(), 0, []
    last = given.first + given.seeds
    chunks = [range(n, min(n + CHUNK, last)) for n in range(given.first, last, CHUNK)]
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        for played, found in pool.map(play_many, [path] * len(chunks), chunks):
            turns += played
            failures += found
    seconds = time.monotonic() - began
    print(
        f"{given.seeds} schedules (seeds {given.first} to {last - 1}), {turns} turns, "
        f"{seconds:.0f} s: {len(failures)} failed"
    )
    for seed, why in failures[:10]:
        print(f"  seed {seed}: {why}\n    make simulate SEED={seed}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
