"""How a tensor starts: a name for Keras's defaults, or an object with the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chainrule.spec.base import Document

__all__ = [
    "INITIALIZERS",
    "Blocks",
    "Constant",
    "Identity",
    "Initializer",
    "InitializerName",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
]

InitializerName = Literal[
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "random_uniform",
    "random_normal",
    "orthogonal",
    "identity",
    "zeros",
    "ones",
    "constant",
]
INITIALIZERS: tuple[str, ...] = InitializerName.__args__  # type: ignore[attr-defined]


class Constant(Document):
    """The same value everywhere."""

    kind: Literal["constant"] = "constant"
    value: float = 0.0


class RandomUniform(Document):
    """Evenly between two values."""

    kind: Literal["random_uniform"] = "random_uniform"
    minval: float = -0.05
    maxval: float = 0.05


class RandomNormal(Document):
    """A normal distribution, not truncated."""

    kind: Literal["random_normal"] = "random_normal"
    mean: float = 0.0
    stddev: float = Field(0.05, ge=0.0)


class Orthogonal(Document):
    """Rows or columns at right angles to each other, of length ``gain``."""

    kind: Literal["orthogonal"] = "orthogonal"
    gain: float = 1.0


class Identity(Document):
    """``gain`` on the diagonal of a matrix, zero elsewhere."""

    kind: Literal["identity"] = "identity"
    gain: float = 1.0


Settings = Constant | RandomUniform | RandomNormal | Orthogonal | Identity
Initializer = InitializerName | Annotated[Settings, Field(discriminator="kind")]
# How the parts of a vector start, one after the other, where they differ: (how, length).
Blocks = tuple[tuple[Initializer, int], ...]
