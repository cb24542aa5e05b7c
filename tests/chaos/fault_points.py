"""``python -m tests.chaos.fault_points``: fail at every point, in every way, and lose nothing.

For each scene, each point at each of its places and each action: N = 1, 2, … for as often as the
scene comes by there (SQLite's own method: sqlite.org/testing.html). Real processes, one fault at a
time; what was asked for must be there once, and every job must end with the undisturbed bits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from service import faults
from tests.chaos.fault_scenes import SCENES
from tests.chaos.fault_stage import staged

MOST = 3
OF_COMMITS = ("begin", "commit", "committed")


class Result(NamedTuple):
    """What came of some runs."""

    runs: int
    failures: list
    reached: Counter  # point -> how often a fault struck there
    points: set


def main(arguments):
    """Try all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fault_points", description=__doc__)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--scenes", nargs="*", help="the names of some scenes")
    parser.add_argument("--points", nargs="*", default=list(faults.POINTS))
    parser.add_argument("--actions", nargs="*", default=list(faults.ACTIONS))
    parser.add_argument("--most", type=int, default=MOST, help="the largest N")
    given = parser.parse_args(arguments)
    begun, total = time.monotonic(), Result(0, [], Counter(), set())
    with tempfile.TemporaryDirectory() as name, staged(Path(name), given.engine) as stage:
        for scene in SCENES:
            if given.scenes is None or scene.play.__name__ in given.scenes:
                found = try_scene(stage, scene, given)
                total = Result(
                    total.runs + found.runs,
                    total.failures + found.failures,
                    total.reached + found.reached,
                    total.points | found.points,
                )
    minutes = (time.monotonic() - begun) / 60
    print(
        f"{given.engine}: {len(total.points)} points, {total.runs} runs, "
        f"{total.reached.total()} faults struck, {minutes:.0f} min: {len(total.failures)} failed"
    )
    for failure in total.failures:
        print(f"  {failure}")
    return int(bool(total.failures))


def try_scene(stage, scene, given):
    """Play a scene without a fault, and then with each."""
    name, begun = scene.play.__name__, time.monotonic()
    try:
        wanted, seen = undisturbed(stage, scene)
    except Exception as error:
        traceback.print_exc()
        return Result(0, [f"{name}: {error!r}"], Counter(), set())
    missing = scene.places - {point.partition("@")[2] for point in seen}
    failures = [f"{name}: does not come by {place}" for place in sorted(missing)]
    points = [point for point in points_of(scene, seen) if point.partition("@")[0] in given.points]
    runs, reached = 0, Counter()
    for point in points:
        for action in given.actions:
            for number in range(1, 1 + min(given.most, seen.get(point, given.most))):
                fault = f"{point}:{number}:{action}"
                runs += 1
                try:
                    found, struck = play(stage, scene, fault)
                    assert found == wanted, f"{found} instead of {wanted}"
                except Exception as error:
                    struck = True
                    failures.append(f"{name} {fault}: {error!r}"[:1500])
                    print(f"{failures[-1]}\n{stage.unread_log()[-4000:]}", flush=True)
                if not struck:
                    break
                reached[point] += 1
    told = f"{len(points)} points, {runs} runs, {reached.total()} struck"
    print(f"{name:18} {told}, {time.monotonic() - begun:.0f} s: {len(failures)} failed", flush=True)
    return Result(runs, failures, reached, {f"{name} {point}" for point in points})


def undisturbed(stage, scene):
    """Play a scene as it should go.  Returns: what came of it, and which points it came by."""
    process = getattr(stage, scene.process)
    stage.prepare(scene.process)
    if not scene.starts:
        process.arm(f";{scene.given}")
    found = scene.play(stage)
    if process.alive:
        return found, Counter(process.arm(""))
    # It is over before one could ask it; how often it comes by is seen as it goes.
    points = (f"{point}@{place}" for place in scene.places for point in OF_COMMITS)
    return found, Counter(dict.fromkeys(points, MOST))


def points_of(scene, seen):
    """Return the points at the places that a scene is there for, and those of its trainer."""
    own = [point for point in sorted(seen) if point.partition("@")[2] in scene.places]
    told = [f"{point}@{kind}" for point in ("say", "said") for kind in scene.says]
    return own + told + [f"heard@{kind}" for kind in scene.hears]


def play(stage, scene, fault):
    """Play a scene with a fault.  Returns: what came of it, and whether the fault struck."""
    stage.unread_log()
    stage.prepare(scene.process)
    if scene.starts:
        found = scene.play(stage, fault)
    else:
        getattr(stage, scene.process).arm(f"{fault};{scene.given}")
        found = scene.play(stage)
    return found, f"fault: {fault}" in stage.unread_log()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
