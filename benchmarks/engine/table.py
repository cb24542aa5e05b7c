"""The table: our time for a step, each peer's and how many times ours it is, rates, losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.engine.cases import gflop
from benchmarks.engine.runs import TOLERANCE, difference, sgemm_rate
from benchmarks.report import Case, save, show_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.engine.runs import Run

__all__ = ["Table"]

_COMPARED = ("PyTorch", "JAX")  # sides that begin with our weights and see our batches


class Table:
    """Rows printed as they come."""

    def __init__(self, peers: Sequence[str]) -> None:
        self._peers = peers
        self._cases: list[Case] = []
        self._details: list[dict[str, Any]] = []
        self.differing: list[str] = []

    def head(self, threads: int) -> None:
        """Print what the columns are."""
        print(
            f"\n{threads} thread{'s' * (threads > 1)}; microseconds a step; share of numpy's sgemm"
        )
        peers = "".join(f"{peer:>14}{'ratio':>7}" for peer in self._peers)
        print(f"{'case':<43}{'ours':>9}{peers}{'GFLOP/s':>9}{'sgemm':>7}  loss off by")

    def add(self, runs: list[Run]) -> None:
        """Print a case's row and keep its figures."""
        ours, *others = runs
        by_side = {run.side: run for run in others}
        rate = gflop(ours.case) * 1e6 / ours.step_us
        sgemm = sgemm_rate(runs)
        share = rate / sgemm
        cells = "".join(self._cell(ours, by_side.get(peer)) for peer in self._peers)
        off = {side: difference(ours.losses, by_side[side].losses) for side in self._checked(runs)}
        losses = ", ".join(f"{side} {value:.0e}" for side, value in off.items())
        figures = f"{ours.step_us:>9.0f}{cells}{rate:>9.1f}{share:>7.0%}"
        print(f"{ours.case.name:<43}{figures}  {losses}", flush=True)
        worst = max(off.values(), default=0.0)
        if worst > TOLERANCE:
            self.differing.append(f"{ours.case.name}, {ours.threads} threads: {worst:.1e}")
        self._details.append(
            {
                "case": ours.case.name,
                "threads": ours.threads,
                "gflops": round(rate, 2),
                "sgemm_gflops": round(sgemm, 2),
                "losses_off_by": {side: float(f"{value:.1e}") for side, value in off.items()},
                "facts": {run.name: run.facts for run in runs if run.side != "sgemm"},
            }
        )

    def end(self, *, keep: bool) -> None:
        """Say what the figures do not, and write them to the file if they are to be kept."""
        for line in self._notes():
            print(line)
        if not keep:
            show_means(self._cases)
        else:
            save("engine", self._cases, details=self._details)

    def _cell(self, ours: Run, peer: Run | None) -> str:
        if peer is None:
            return f"{'-':>14}{'':>7}"
        ratio = peer.step_us / ours.step_us
        figures = (ours.step_us, peer.step_us, peer.name, "us/step", ratio)
        self._cases.append(Case(ours.case.name, ours.threads, *figures))
        return f"{peer.step_us:>14.0f}{ratio:>7.2f}"

    def _checked(self, runs: list[Run]) -> list[str]:
        """Return the sides whose losses must be ours: shards normalise their own batches."""
        normalises = any(layer["kind"] == "batch_norm" for layer in runs[0].case.layers)
        if normalises and runs[0].facts["threads"] > 1:
            return []
        return [run.side for run in runs if run.side in _COMPARED]

    def _notes(self) -> list[str]:
        facts = [f for one in self._details for f in one["facts"].values()]
        compiling = [one["compilation_s"] for one in facts if "compilation_s" in one]
        lines = [f"losses differ in {line}" for line in self.differing]
        if compiling:
            span = f"{min(compiling):.1f} to {max(compiling):.1f} s"
            lines.append(f"JAX's compilation, {span} a case, is not in its times")
        return lines
