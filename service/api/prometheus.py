"""Numbers for Prometheus, counted by the database at each scrape: every process tells the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Counts(Collector):
    def __init__(self, jobs: Mapping[str, int], totals: Mapping[str, float]) -> None:
        self._jobs = jobs
        self._totals = totals

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("chainrule_jobs", "Jobs by state.", labels=["state"])
        for state, count in self._jobs.items():
            family.add_metric([state], count)
        yield family
        for name, value in self._totals.items():
            text = name.replace("_", " ").capitalize()
            yield GaugeMetricFamily(f"chainrule_{name}", f"{text}.", value=value)


def exposition(jobs: Mapping[str, int], totals: Mapping[str, float]) -> bytes:
    """Return the text of ``/metrics``: jobs by state, and one gauge for each total."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(jobs, totals))
    return generate_latest(registry)
