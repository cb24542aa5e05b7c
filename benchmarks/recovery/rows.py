"""What was measured: printed, kept in a file, and shown in docs/recovery.md."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.report import RESULTS, machine

__all__ = ["Row", "save", "show"]

FILE = RESULTS / "recovery.json"
PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
BEGIN, END = "<!-- benchmarks/recovery/rows.py -->\n", "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """One promise.  ``bar``: the most that the p99 may be, None where nothing is promised."""

    part: str
    name: str
    times: int
    p50: float
    p99: float
    longest: float
    unit: str
    bar: float | None

    @classmethod
    def of(cls, part: str, name: str, values: list[float], unit: str, bar: float | None) -> Row:
        """Return the row of some measurements; of few, the p99 is the largest."""
        p99 = float(np.quantile(values, 0.99, method="higher"))
        return cls(part, name, len(values), median(values), p99, max(values), unit, bar)

    @property
    def holds(self) -> bool:
        """Whether the promise holds."""
        return self.bar is None or self.p99 <= self.bar


def show(rows: list[Row]) -> None:
    """Print the rows."""
    width = max(len(row.name) for row in rows)
    print(f"\n{'':<{width}}{'times':>7}{'p50':>9}{'p99':>9}{'max':>9}{'bar':>8}")
    for row in rows:
        figures = "".join(f"{_figure(row, v):>9}" for v in (row.p50, row.p99, row.longest))
        verdict = "" if row.holds else "  MISSED"
        print(f"{row.name:<{width}}{row.times:>7}{figures}{_bar(row):>8}{verdict}")


def save(rows: list[Row]) -> None:
    """Write the rows, beside those of parts that were not run this time."""
    kept = json.loads(FILE.read_text("utf-8"))["parts"] if FILE.exists() else {}
    for part in dict.fromkeys(row.part for row in rows):
        found = [{**asdict(row), "holds": row.holds} for row in rows if row.part == part]
        kept[part] = {"machine": machine(), "rows": [_rounded(row) for row in found]}
    FILE.write_text(json.dumps({"parts": kept}, indent=2) + "\n", "utf-8")
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{_table(kept)}{END}{rest.partition(END)[2]}", "utf-8")
    print(f"wrote {FILE} and the table of {PAGE}")


def _table(parts: dict[str, dict[str, list[dict[str, object]]]]) -> str:
    lines = ["| | times | p50 | p99 | longest | promised |", "|---|--:|--:|--:|--:|--:|"]
    for part in parts.values():
        for found in part["rows"]:
            row = Row(**{k: v for k, v in found.items() if k != "holds"})
            figures = " | ".join(_figure(row, v) for v in (row.p50, row.p99, row.longest))
            bar = _bar(row) if row.holds else f"**{_bar(row)}**"
            lines.append(f"| {row.name} | {row.times:,} | {figures} | {bar} |")
    return "\n".join(lines) + "\n"


def _figure(row: Row, value: float) -> str:
    forms = {"s": f"{value:.3f} s" if value < 0.1 else f"{value:.2f} s", "%": f"{value:.2f} %"}
    return forms.get(row.unit, f"{value:.0f}")


def _bar(row: Row) -> str:
    return "" if row.bar is None else f"{row.bar:g}{row.unit and ' '}{row.unit}"


def _rounded(row: dict[str, object]) -> dict[str, object]:
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
