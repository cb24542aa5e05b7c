"""How a tensor starts: a name for Keras's defaults, or an object with the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

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
# Single precision holds it, and its product with a drawn number.
Value = Annotated[float, Field(ge=-1e30, le=1e30)]


class Constant(Document):
    """The same value everywhere."""

    kind: Literal["constant"] = "constant"
    value: Value = 0.0


class RandomUniform(Document):
    """Evenly between two values."""

    kind: Literal["random_uniform"] = "random_uniform"
    minval: Value = -0.05
    maxval: Value = 0.05

    @field_validator("maxval")
    @classmethod
    def _is_no_less(cls, maxval: float, info: ValidationInfo) -> float:
        minval = info.data.get("minval")
        if minval is not None and maxval < minval:
            raise ValueError(f"must be >= minval, {minval:g}, got {maxval:g}")
        return maxval


class RandomNormal(Document):
    """A normal distribution, not truncated."""

    kind: Literal["random_normal"] = "random_normal"
    mean: Value = 0.0
    stddev: float = Field(0.05, ge=0.0, le=1e30)


class Orthogonal(Document):
    """Rows or columns at right angles to each other, of length ``gain``."""

    kind: Literal["orthogonal"] = "orthogonal"
    gain: Value = 1.0


class Identity(Document):
    """``gain`` on the diagonal of a matrix, zero elsewhere."""

    kind: Literal["identity"] = "identity"
    gain: Value = 1.0


Settings = Constant | RandomUniform | RandomNormal | Orthogonal | Identity
Initializer = InitializerName | Annotated[Settings, Field(discriminator="kind")]
# How the parts of a vector start, one after the other, where they differ: (how, length).
Blocks = tuple[tuple[Initializer, int], ...]
