"""The tables of README.md and docs/engine.md: ``python -m benchmarks.engine.markdown``.

They show what ``benchmarks/results/engine.json`` holds; each stands between two comments, and what
is around these is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

from benchmarks.engine.table import FILE, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.engine.rows import Row

__all__ = ["PAGES", "full", "short", "with_table", "write"]

ROOT = Path(__file__).parents[2]
_BEGIN, _END = "<!-- benchmarks/engine/markdown.py -->\n", "<!-- end -->"
_PEERS = ("PyTorch", "JAX")


def write() -> None:
    """Put the file's figures into the pages."""
    rows = read_rows()
    for page, table in PAGES.items():
        page.write_text(with_table(page.read_text("utf-8"), table(rows)), "utf-8")


def with_table(text: str, table: str) -> str:
    """Return a page's text with another table between the comments."""
    before, rest = text.split(_BEGIN)
    return f"{before}{_BEGIN}{table}{_END}{rest.partition(_END)[2]}"


def short(rows: list[Row]) -> str:
    """Return ours, PyTorch's and JAX's times on one thread, and the ratios; PyTorch's on two."""
    one = [row for row in rows if row.threads == 1]
    two = {row.case: row for row in rows if row.threads == 2}
    lines = [
        "| µs a step, one thread | ours | PyTorch | | JAX | | PyTorch, two threads |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in one:
        times = [_times(row, peer) for peer in _PEERS]
        more = _ratio(two.get(row.case), "PyTorch")
        lines.append(f"| {row.short_name} | {row.ours_us:,.0f} | {' | '.join(times)} | {more} |")
    means = [_mean(one, "PyTorch"), _mean(one, "JAX"), _mean(two.values(), "PyTorch")]
    lines.append("| geometric mean | | | {} | | {} | {} |".format(*means))
    return "\n".join(lines) + "\n"


def full(rows: list[Row]) -> str:
    """Return a table for each number of threads."""
    return (
        f"\n{_machine()}\n"
        + "".join(
            "\n".join(
                [f"\n### {threads} thread{'s' * (threads > 1)}\n", *_columns(rows, threads), ""]
            )
            for threads in sorted({row.threads for row in rows})
        )
        + "\n"
    )


def _columns(rows: list[Row], threads: int) -> Iterator[str]:
    yield "| case | ours | PyTorch | | JAX | | job | GFLOP/s | sgemm | roof | gemms | bar |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for row in rows:
        if row.threads == threads:
            peers = " | ".join(_times(row, peer) for peer in _PEERS)
            job = "" if row.jax_job is None else f"{row.jax_job:.1f}"
            gemms = "" if row.pytorch_products is None else f"{row.pytorch_products:.0%}"
            share = row.gflops / row.sgemm_gflops
            rates = f"{row.gflops:.1f} | {share:.0%} | {row.roofline:.0%} | {gemms}"
            bar = "" if row.bar is None else f"{row.bar}{'' if row.bar.holds else ', **missed**'}"
            name = f"{row.short_name} | {row.ours_us:,.0f}"
            yield f"| {name} | {peers} | {job} | {rates} | {bar} |"


def _times(row: Row, peer: str) -> str:
    times = row.peers_us.get(peer)
    return f"{'' if times is None else format(times, ',.0f')} | {_ratio(row, peer)}"


def _ratio(row: Row | None, peer: str) -> str:
    """Return a ratio, in bold where ours is the slower."""
    ratio = None if row is None else row.ratio(peer)
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"


def _mean(rows: Iterable[Row], peer: str) -> str:
    ratios = [ratio for row in rows if (ratio := row.ratio(peer)) is not None]
    return f"{geometric_mean(ratios):.2f}" if ratios else ""


def _machine() -> str:
    found = json.loads(FILE.read_text("utf-8"))["machine"]
    versions = f"Python {found['python']}, numpy {found['numpy']}"
    return f"{found['cpu']}, {found['cores']} cores, {versions}."


PAGES: dict[Path, Callable[[list[Row]], str]] = {
    ROOT / "README.md": short,
    ROOT / "docs" / "engine.md": full,
}

if __name__ == "__main__":
    write()
