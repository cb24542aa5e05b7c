"""The table of a run, as it grows, and the file; docs/engine.md tells what the columns are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.engine.rows import Row
from benchmarks.engine.runs import TOLERANCE
from benchmarks.report import RESULTS, Case, save, show_means

if TYPE_CHECKING:
    from benchmarks.engine.runs import Run

__all__ = ["FILE", "Table", "read_rows"]

FILE = RESULTS / "engine.json"
_IN_COLUMNS = ("PyTorch", "JAX")
_JOB_WANTED = 10.0


class Table:
    """Rows printed as they come."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self.differing: list[str] = []

    def head(self, threads: int) -> None:
        """Print what the columns are."""
        several = "s" * (threads > 1)
        print(
            f"\n{threads} thread{several}; microseconds a step, ratios to ours; '<': below its bar"
        )
        peers = f"{'PyTorch':>8}{'ratio':>7}{'JAX':>8}{'ratio':>7}{'job':>7}"
        print(
            f"{'case':<34}{'ours':>8}{peers}{'GFLOP/s':>8}{'sgemm':>6}{'roof':>6}{'gemms':>6}  bar"
        )

    def add(self, runs: list[Run]) -> None:
        """Print a case's row and keep its figures."""
        row = Row.of(runs)
        self._rows.append(row)
        print(_line(row), flush=True)
        worst = max(row.losses_off_by.values(), default=0.0)
        if worst > TOLERANCE:
            self.differing.append(f"{row.case}, {row.threads} threads: {worst:.1e}")

    def end(self, *, keep: bool) -> None:
        """Say what the figures do not, and write them to the file if they are to be kept.

        What the file has of other numbers of threads stays there.
        """
        for line in _notes(self._rows, self.differing):
            print(line)
        if not keep:
            show_means([case for row in self._rows for case in _cases(row)])
            return
        measured = {row.threads for row in self._rows}
        others = [row for row in read_rows() if row.threads not in measured]
        rows = sorted([*others, *self._rows], key=lambda row: row.threads)
        cases = [case for row in rows for case in _cases(row)]
        save("engine", cases, rows=[row.document() for row in rows])


def read_rows() -> list[Row]:
    """Return the rows of the file, none if there is no such file."""
    if not FILE.exists():
        return []
    document: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return [Row.read(row) for row in document.get("rows", [])]


def _line(row: Row) -> str:
    least = 1.0 if row.threads == 1 else 0.0  # JAX's threads are its own affair
    jax, job = _ratio(row.ratio("JAX"), least), _ratio(row.jax_job, _JOB_WANTED)
    times = [f"{row.peers_us[p]:>8.0f}" if p in row.peers_us else f"{'-':>8}" for p in _IN_COLUMNS]
    peers = f"{times[0]}{_ratio(row.ratio('PyTorch'), 1.0)}{times[1]}{jax}{job}"
    share = row.gflops / row.sgemm_gflops
    gemms = "-" if row.pytorch_products is None else f"{row.pytorch_products:.0%}"
    own = "" if row.bar is None else f"{row.bar}{'' if row.bar.holds else ' <'}"
    rates = f"{row.gflops:>8.1f}{share:>6.0%}{row.roofline:>6.0%}{gemms:>6}"
    return f"{row.short_name:<34}{row.ours_us:>8.0f}{peers}{rates}  {own}"


def _ratio(value: float | None, wanted: float) -> str:
    if value is None:
        return f"{'-':>6} "
    text = f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return f"{text:>6}{'<' if value < wanted else ' '}"


def _notes(rows: list[Row], differing: list[str]) -> list[str]:
    lines = [f"losses differ in {line}" for line in differing]
    if any(row.losses_off_by for row in rows):
        worst = max(value for row in rows for value in row.losses_off_by.values())
        lines.append(f"losses at step 91 to 100 differ by at most {worst:.0e}")
    for peer in {peer: None for row in rows for peer in row.peers_us if peer not in _IN_COLUMNS}:
        ratios = [f"{row.ratio(peer):.2f}" for row in rows if peer in row.peers_us]
        lines.append(f"{peer}, in the order of the cases: {', '.join(ratios)}")
    compiling = [row.compilation_s for row in rows if row.compilation_s is not None]
    if compiling:
        span = f"{min(compiling):.1f} to {max(compiling):.1f} s"
        lines.append(f"JAX's compilation, {span} a case, counts in the column job only")
    return lines


def _cases(row: Row) -> list[Case]:
    found = [
        Case(row.case, row.threads, row.ours_us, us, row.names[peer], "us/step", us / row.ours_us)
        for peer, us in row.peers_us.items()
    ]
    if row.jax_job is not None:
        peer, name = f"{row.names['JAX']}, compilation counted", f"{row.case}, a job"
        ours = row.ours_us * 1e-3
        found.append(
            Case(name, row.threads, ours, ours * row.jax_job, peer, "ms/step", row.jax_job)
        )
    return found
