"""Every error that chainrule raises on purpose: who found it, what was wanted, what was got."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

__all__ = [
    "ApiError",
    "ChainruleError",
    "CheckpointError",
    "ClientError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "LocatedError",
    "Problem",
    "ShapeError",
    "SpecError",
    "UnreachableError",
    "step",
]


@dataclass(frozen=True)
class Problem:
    """One complaint and its place, such as ``layers[2].units`` and ``must be >= 1, got 0``."""

    path: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}" if self.path else self.detail

    @property
    def pointer(self) -> str:
        """The place as a JSON pointer (RFC 6901): ``layers[2].units`` is ``/layers/2/units``."""
        steps = (next(filter(None, match), "") for match in _STEP.findall(self.path))
        return "".join("/" + s.replace("~", "~0").replace("/", "~1") for s in steps)


# One step of a path: .name, [3], or ["a name with dots"], as ``step`` writes it.
_STEP = re.compile(r'\["(.*?)"\](?=[.\[]|$)|\[(\d+)\]|([^.\[]+)')


def step(name: str) -> str:
    """Return a key of a document as a step of a path, quoted if it would read as several."""
    return f'["{name}"]' if set(name) & set(".[]") or not name else f".{name}"


class ChainruleError(Exception):
    """The root of the tree."""


class ConfigError(ChainruleError):
    """Environment variables that cannot be used: all of them, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class LocatedError(ChainruleError):
    """An error with one or more places."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))

    @classmethod
    def at(cls, path: str, detail: str) -> Self:
        """Complain about one place."""
        return cls(Problem(path, detail))

    def under(self, prefix: str) -> Self:
        """Return the same error seen from an enclosing document, such as a job."""
        return type(self)(*(Problem(_join(prefix, p.path), p.detail) for p in self.problems))


class SpecError(LocatedError):
    """A document (architecture, training, data) that does not add up."""


class DataError(LocatedError):
    """Data that cannot be used: a file that does not parse, a missing column, a bad value."""


class ShapeError(ChainruleError):
    """An array of the wrong shape."""


class CheckpointError(ChainruleError):
    """Bytes that are not a checkpoint or bundle, or not one of this network."""


class DivergedError(ChainruleError):
    """The loss or a parameter is no longer finite."""

    def __init__(self, epoch: int, step: int, detail: str = "the loss is not finite") -> None:
        self.epoch = epoch
        self.step = step
        self.detail = detail
        super().__init__(f"diverged in epoch {epoch}, step {step}: {detail}")


class ClientError(ChainruleError):
    """A call to the service that did not succeed."""


class ApiError(ClientError):
    """The service answered with a problem document (RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        title = str(problem.get("detail") or problem.get("title") or "no detail")
        places = [
            f"{e.get('pointer', '')}: {e.get('detail', '')}"
            for e in problem.get("errors", ())
            if str(e.get("detail", "")) not in title  # most details say it all, place by place
        ]
        super().__init__(f"{status}: " + "; ".join([title, *places]))


class UnreachableError(ClientError):
    """No service answers at the address."""


def _join(prefix: str, path: str) -> str:
    return prefix + path if not path or path.startswith("[") else f"{prefix}.{path}"
