"""How arrays become inputs: as they are, or scaled, as images are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from chainrule.spec.base import Document, named

__all__ = ["ArrayOptions"]


class PlainScalingSpec(Document):
    """Numbers as they are, or standardised by channel over the training rows."""

    kind: Literal["none", "standard"] = "none"


class DivideSpec(Document):
    """Numbers divided by one: pixels from 0 to 255 become 0 to 1."""

    kind: Literal["divide"]
    by: float = Field(255.0, gt=0.0, le=1e9)


class ArrayOptions(Document):
    """How arrays that go in are scaled; a channel is a place of the last axis."""

    scaling: Annotated[
        PlainScalingSpec | DivideSpec, Field(discriminator="kind"), BeforeValidator(named)
    ] = PlainScalingSpec()
