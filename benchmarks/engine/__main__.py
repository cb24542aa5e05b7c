"""Print the table; write ``benchmarks/results/engine.json`` and the tables of the documents."""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks.engine import markdown
from benchmarks.engine.cases import find
from benchmarks.engine.profile import profile
from benchmarks.engine.runs import CHECKED_STEPS, Effort, is_installed, measure
from benchmarks.engine.table import Table

PEERS = ("PyTorch", "JAX", "scikit-learn")
FULL = Effort(seconds=1.5, least_turns=4, most_turns=40, least_steps=CHECKED_STEPS)
MORE_THREADS = Effort(seconds=1.5, least_turns=3, most_turns=40)
QUICK = Effort(seconds=0.3, least_turns=2, most_turns=10)


def main() -> int:
    """Run the cases asked for; the status says whether all sides computed the same."""
    asked = _arguments()
    cases = find(asked.cases)
    if not cases:
        print(f"no case has {asked.cases!r} in its name")
        return 2
    if asked.profile:
        for case in cases:
            profile(case)
        return 0
    if os.getloadavg()[0] > 0.5:
        print("this machine is busy: two threads that wait for each other suffer most")
    peers = [*PEERS[:1], *(["PyTorch fused"] if asked.fused else []), *PEERS[1:]]
    for peer in peers:
        if not is_installed(peer):
            print(f"{peer} is not installed: its column is left out")
    peers = [peer for peer in peers if is_installed(peer)]
    table = Table()
    for threads in asked.threads:
        effort = QUICK if asked.quick else FULL if threads == 1 else MORE_THREADS
        table.head(threads)
        for case in cases:
            able = [p for p in peers if p != "scikit-learn" or case.family == "MLP"]
            table.add(measure(case, threads, ("chainrule", *able), effort))
    keep = not asked.cases and not asked.quick
    table.end(keep=keep)
    if keep:
        markdown.write()
    return 1 if table.differing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--cases", default="", help="only those with this text in their names")
    parser.add_argument("--quick", action="store_true", help="rough figures, no losses compared")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="by default 1 2")
    parser.add_argument("--fused", action="store_true", help="add PyTorch with fused Adam")
    parser.add_argument("--profile", action="store_true", help="only show where our time goes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
