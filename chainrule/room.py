"""Where things go in a line: what is taken of it, and the first gap that holds something."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Span", "Spans", "first_gap", "joined"]

Span = tuple[int, int]  # from the first place to that behind the last
Spans = tuple[Span, ...]  # in order, with a gap between any two


def joined(spans: Iterable[Span]) -> Spans:
    """Return the same places in order, as few spans as there can be."""
    found: list[Span] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return tuple(found)


def first_gap(taken: Spans, size: int, start: int = 0) -> int:
    """Return where the first gap of a size begins, at or behind ``start``."""
    for first, stop in taken:
        if first >= start + size:
            break
        start = max(start, stop)
    return start
