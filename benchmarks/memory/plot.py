"""A curve as SVG: cost per sample over the number of rows, which goes by powers of ten."""

from __future__ import annotations

import math

__all__ = ["plot"]

_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE, _RIGHT = 640, 320, 60, 50, 40, 30


def plot(costs: dict[int, float]) -> str:
    """Return the picture; the vertical axis begins at 0.  costs: rows to microseconds a sample."""
    first, last = (math.log10(rows) for rows in (min(costs), max(costs)))
    top = math.ceil(max(costs.values()) * 1.25)

    def place(rows: int, us: float) -> tuple[float, float]:
        along = (math.log10(rows) - first) / (last - first)
        x = _LEFT + along * (_WIDTH - _LEFT - _RIGHT)
        return round(x, 1), round(_HEIGHT - _BELOW - us / top * (_HEIGHT - _BELOW - _ABOVE), 1)

    points = {rows: place(rows, us) for rows, us in costs.items()}
    line = " ".join(f"{x},{y}" for x, y in points.values())
    left, right = (place(rows, 0)[0] for rows in (min(costs), max(costs)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">Microseconds of processor time a sample, '
        "by rows (MLP 16-64-32-4, shuffled, memory-mapped)</text>",
    ]
    for step in range(5):
        y = place(1, top * step / 4)[1]
        parts.append(f'<path d="M{left} {y}H{right}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{top * step / 4:g}</text>'
        )
    for rows, (x, y) in points.items():
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="#1f6feb"/>')
        parts.append(f'<text x="{x}" y="{y - 10}" text-anchor="middle">{costs[rows]:.2f}</text>')
        below = _HEIGHT - _BELOW + 20
        parts.append(f'<text x="{x}" y="{below}" text-anchor="middle">{rows:,}</text>')
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
