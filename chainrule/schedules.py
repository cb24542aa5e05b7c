"""Schedules: the learning rate as a function of the step alone, so that a resume needs no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from chainrule.spec import ScheduleSpec

__all__ = ["SCHEDULES", "Constant", "Schedule", "schedule_of"]


class Schedule(Protocol):
    """What the optimizer's learning rate is multiplied by."""

    def factor(self, step: int, steps: int) -> float:
        """Return the factor of step number ``step`` (from 1) of ``steps``."""
        ...


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is."""

    def factor(self, step: int, steps: int) -> float:
        return 1.0


SCHEDULES: dict[str, type[Any]] = {"constant": Constant}


def schedule_of(spec: ScheduleSpec) -> Schedule:
    """Make the schedule of a spec."""
    made: Schedule = SCHEDULES[spec.kind](**spec.model_dump(exclude={"kind"}))
    return made
