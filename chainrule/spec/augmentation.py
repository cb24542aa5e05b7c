"""What is done to samples while they are learnt from: other draws for each row in each epoch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chainrule.spec.base import Document

__all__ = ["AugmentationSpec", "FlipSpec", "NoiseSpec", "ShiftSpec"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Reach = Annotated[int, Field(ge=0, le=10_000)] | Annotated[float, Field(ge=0.0, lt=1.0)]


class FlipSpec(Document):
    """Mirror images, each with a probability."""

    kind: Literal["flip"]
    horizontal: Probability = Field(0.5, description="Left becomes right.")
    vertical: Probability = Field(0.0, description="Top becomes bottom.")


class ShiftSpec(Document):
    """Move images by whole pixels, up to a reach, each way and distance as likely."""

    kind: Literal["shift"]
    height: Reach = Field(0.1, description="Pixels, or as 0.1 a share, up and down.")
    width: Reach = Field(0.1, description="Pixels, or as 0.1 a share, left and right.")
    fill_mode: Literal["constant", "nearest", "wrap"] = Field(
        "constant", description="What comes in at the edge: a value, the edge, the other side."
    )
    fill_value: float = Field(0.0, ge=-1e6, le=1e6, description="As the network gets inputs.")


class NoiseSpec(Document):
    """Add normal noise to all inputs."""

    kind: Literal["noise"]
    stddev: float = Field(gt=0.0, le=1e6, description="Its deviation, as the network gets inputs.")


AugmentationSpec = Annotated[FlipSpec | ShiftSpec | NoiseSpec, Field(discriminator="kind")]
