"""A case's figures, what the machine itself would need, and the bar that the case is held to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.engine.cases import CASES
from benchmarks.engine.runs import difference, floor_of, sgemm_rate
from benchmarks.engine.work import products

if TYPE_CHECKING:
    from benchmarks.engine.cases import EngineCase
    from benchmarks.engine.runs import Run

__all__ = ["Bar", "Row"]

_COMPARED = ("PyTorch", "JAX")  # sides that begin with our weights and see our batches
_JOB_EPOCHS, _JOB_US = 20, 1e6
_LARGE = 500_000  # multiply-adds of a row from which an MLP is bound by its products


class Bar(NamedTuple):
    """What a case is to reach, and what it reached."""

    name: str
    wanted: float
    got: float

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        return self.got >= self.wanted

    def __str__(self) -> str:
        wanted = f"{self.wanted:.0%}" if self.wanted < 1 else f"{self.wanted:g}"
        return f"{self.name}>={wanted}"


@dataclass(frozen=True)
class Row:
    """What was measured of a case at some number of threads.

    Units: microseconds a step; ``products_us`` and ``moves_us`` are what its matrix products and
    its passes over memory take the machine, ``compilation_s`` is JAX's, once.
    """

    case: str
    threads: int
    ours_us: float
    peers_us: dict[str, float]
    names: dict[str, str]  # of the peers, with their versions
    products_us: float
    moves_us: float
    gflop: float  # of the products
    sgemm_gflops: float
    compilation_s: float | None
    losses_off_by: dict[str, float]
    facts: dict[str, Any]

    @classmethod
    def of(cls, runs: list[Run]) -> Row:
        """Return the figures of a case: ours is the first of the runs."""
        ours, *others = runs
        peers = {run.side: run for run in others if run.side != "machine"}
        floor = floor_of(runs)
        compared = [] if _normalises_shards(ours) else [s for s in _COMPARED if s in peers]
        off = {side: difference(ours.losses, peers[side].losses) for side in compared}
        compilation = peers["JAX"].facts["compilation_s"] if "JAX" in peers else None
        return cls(
            ours.case.name,
            ours.threads,
            round(ours.step_us, 1),
            {side: round(run.step_us, 1) for side, run in peers.items()},
            {side: run.name for side, run in peers.items()},
            round(1e6 * floor.products, 1),
            round(1e6 * floor.moves, 1),
            round(sum(p.flop * p.times for p in products(ours.case)) / 1e9, 6),
            round(sgemm_rate(floor), 1),
            None if compilation is None else round(compilation, 2),
            {side: float(f"{value:.1e}") for side, value in off.items()},
            {run.side: run.facts for run in runs if run.side != "machine"},
        )

    @classmethod
    def read(cls, document: dict[str, Any]) -> Row:
        """Return the figures that ``document`` wrote."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})

    def document(self) -> dict[str, Any]:
        """Return the figures and what follows from them, for the file."""
        job, bar = self.jax_job, self.bar
        return asdict(self) | {
            "gflops": round(self.gflops, 2),
            "roofline_share": round(self.roofline, 3),
            "pytorch_products_share": self.pytorch_products and round(self.pytorch_products, 3),
            "jax_job": job and {"epochs": self.job_epochs, "ratio": round(job, 2)},
            "bar": bar and {"bar": str(bar), "got": round(bar.got, 3), "holds": bar.holds},
        }

    @property
    def short_name(self) -> str:
        """The case's name in a narrow column."""
        return self._case.short_name

    @property
    def gflops(self) -> float:
        """Our rate, the products' operations counted."""
        return 1e6 * self.gflop / self.ours_us

    @property
    def roofline(self) -> float:
        """The share of our step that the machine would need at least."""
        return (self.products_us + self.moves_us) / self.ours_us

    @property
    def pytorch_products(self) -> float | None:
        """The share of PyTorch's step that its products would take at the large products' rate."""
        pytorch = self.peers_us.get("PyTorch")
        return pytorch and 1e6 * self.gflop / self.sgemm_gflops / pytorch

    def ratio(self, peer: str) -> float | None:
        """How many times our time a peer takes."""
        return self.peers_us[peer] / self.ours_us if peer in self.peers_us else None

    @property
    def job_epochs(self) -> int:
        """The epochs of a job of under a second: the digits job's, or as many as fit."""
        return min(_JOB_EPOCHS, int(_JOB_US / (self.ours_us * self._case.steps)))

    @property
    def jax_job(self) -> float | None:
        """How many times our time JAX takes for a job of under a second, compilation counted."""
        steps = self.job_epochs * self._case.steps
        if self.compilation_s is None or not steps:
            return None
        return (1e6 * self.compilation_s / steps + self.peers_us["JAX"]) / self.ours_us

    @property
    def bar(self) -> Bar | None:
        """The bar of its own that this case has beside that of being faster than each peer."""
        share, ratio = self.pytorch_products, self.ratio("PyTorch")
        if share is None or ratio is None:
            return None
        if self.peers_us["PyTorch"] < 1000 and share < 0.05:
            return Bar("PyTorch", 8.0, ratio)
        if self.case.startswith("MLP") and self._is_large:
            return Bar("products", 0.9, self.products_us / self.ours_us)
        return Bar("roof", 0.6, self.roofline)

    @property
    def _case(self) -> EngineCase:
        return next(case for case in CASES if case.name == self.case)

    @property
    def _is_large(self) -> bool:
        forward = [p for p in products(self._case) if p.of == "y"]
        return sum(p.n_in * p.n_out for p in forward) >= _LARGE


def _normalises_shards(ours: Run) -> bool:
    """Whether each shard normalises its own batch, so that our losses are not those of others."""
    normalises = any(layer["kind"] == "batch_norm" for layer in ours.case.layers)
    return normalises and ours.facts["shards"] > 1
