"""Schedules: the learning rate as a function of the step alone, so that a resume needs no state.

A step is an update of the weights. PyTorch's formulas, with Keras's names where it has one.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.spec import ScheduleSpec

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Ema",
    "Exponential",
    "OneCycle",
    "Polynomial",
    "Schedule",
    "Step",
    "schedule_of",
]


@dataclass(frozen=True)
class Schedule:
    """A rule for the rate, after a linear warmup: step k of it has k / warmup_steps of the rate."""

    warmup_steps: int = 0

    @property
    def spans_run(self) -> bool:
        """Whether the rate depends on how many steps there are."""
        return False

    def rate(self, base: float, step: int, steps: int) -> float:
        """Return the rate of step number ``step`` (from 1) of ``steps``; ``base``: the highest."""
        done = step - 1 - self.warmup_steps
        after = self.after_warmup(base, max(0, done), max(1, steps - self.warmup_steps))
        return after if done >= 0 else after * step / self.warmup_steps

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        """Return the rate once ``done`` of ``steps`` steps are done, the warmup not counted."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate as it is; one that falls on a plateau is the training loop's to lower."""

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        return base


@dataclass(frozen=True)
class Step(Schedule):
    """base * decay_rate ** floor(done / decay_steps), as StepLR."""

    decay_steps: int = 1
    decay_rate: float = 0.1

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        return base * math.pow(self.decay_rate, done // self.decay_steps)


@dataclass(frozen=True)
class _Periodic(Schedule):
    """What lasts ``decay_steps``, or else the run."""

    decay_steps: int | None = None

    @property
    def spans_run(self) -> bool:
        return self.decay_steps is None


@dataclass(frozen=True)
class Exponential(_Periodic):
    """base * decay_rate ** (done / decay_steps), as ExponentialLR."""

    decay_rate: float = 0.1

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        return base * math.pow(self.decay_rate, done / (self.decay_steps or steps))


@dataclass(frozen=True)
class Cosine(_Periodic):
    """Half a cosine from base to alpha base.  Source: Loshchilov & Hutter (2017), as PyTorch."""

    alpha: float = 0.0
    restarts: bool = False
    t_mul: float = 2.0
    m_mul: float = 1.0

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        period = float(self.decay_steps or steps)
        number, place, period = self._place(done, period) if self.restarts else (0, done, period)
        wave = 0.5 * (1.0 + math.cos(math.pi * min(1.0, place / period)))
        low = self.alpha * base
        return low + math.pow(self.m_mul, number) * (base - low) * wave

    def _place(self, done: int, period: float) -> tuple[int, float, float]:
        """Return which restart it is, how far into it, and how long it is."""
        if self.t_mul == 1.0:
            return int(done // period), done % period, period
        number, place = 0, float(done)
        while place >= period:
            number, place, period = number + 1, place - period, period * self.t_mul
        return number, place, period


@dataclass(frozen=True)
class Polynomial(_Periodic):
    """end + (base - end) * (1 - done / decay_steps) ** power, as PolynomialLR."""

    end_learning_rate: float = 0.0
    power: float = 1.0

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        left = max(0.0, 1.0 - done / (self.decay_steps or steps))
        return self.end_learning_rate + (base - self.end_learning_rate) * math.pow(left, self.power)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to base and down.  Source: Smith & Topin (2018), as OneCycleLR without its momentum."""

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal: str = "cosine"

    @property
    def spans_run(self) -> bool:
        return True

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        first = base / self.div_factor
        top, last = self.pct_start * steps - 1.0, steps - 1.0
        if done <= top:
            return self._between(first, base, done / top if top > 0 else 1.0)
        share = (done - top) / (last - top) if last > top else 1.0
        return self._between(base, first / self.final_div_factor, share)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))


@dataclass(frozen=True)
class Ema(Schedule):
    """target + (base - target) * decay ** done: r = decay r + (1 - decay) target at each step."""

    target: float = 0.0
    decay: float = 0.99

    def after_warmup(self, base: float, done: int, steps: int) -> float:
        return self.target + (base - self.target) * math.pow(self.decay, done)


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "polynomial": Polynomial,
    "one_cycle": OneCycle,
    "reduce_on_plateau": Constant,
    "ema": Ema,
}


def schedule_of(spec: ScheduleSpec) -> Schedule:
    """Make the schedule of a spec."""
    kind = SCHEDULES[spec.kind]
    settings: dict[str, Any] = spec.model_dump(include={f.name for f in dataclasses.fields(kind)})
    return kind(**settings)
