"""Sequences from a plain table: which runs of rows are a sample, and which row holds its target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from chainrule.spec.base import Document

__all__ = ["GroupWindow", "SlidingWindow", "WindowSpec"]

MAX_LENGTH = 100_000
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Padding = Literal["pre", "post"]
Steps = Annotated[int, Field(ge=1, le=MAX_LENGTH)]
MaskValue = Annotated[float, Field(ge=-1e6, le=1e6)]


class SlidingWindow(Document):
    """Windows of equally many consecutive rows, and a target some rows after each.

    The names are those of other libraries: ``horizon`` is sktime's ``fh``, ``padding`` and
    ``mask_value`` are Keras's, the target's own past is ``past_target`` in GluonTS.
    """

    kind: Literal["sliding"] = "sliding"
    length: Steps = Field(description="Rows of a window.")
    horizon: (
        Annotated[int, Field(ge=0, le=MAX_LENGTH)]
        | Annotated[list[Steps], Field(min_length=1, max_length=1000)]
    ) = Field(
        1,
        description="How many rows after a window's last one its target is; a list, such as "
        "[1, 2, 3], makes the target a value for each. 0 is the last row itself.",
    )
    stride: Steps = Field(1, description="Rows from the start of a window to that of the next.")
    group: Name | None = Field(None, description="A column: windows are of rows with one value.")
    order_by: Name | None = Field(None, description="A column to order by; else the file's order.")
    past_target: bool = Field(True, description="Whether a window holds the target's own past.")
    padding: Padding | None = Field(
        None, description="Where groups that are shorter than a window get steps of mask_value."
    )
    mask_value: MaskValue = Field(0.0, description="What padding is filled with.")

    @model_validator(mode="after")
    def _looks_ahead(self) -> SlidingWindow:
        if self.horizon == 0 and self.past_target:
            raise ValueError("horizon 0 is the window's own last row: give past_target false")
        if isinstance(self.horizon, list) and self.horizon != sorted(set(self.horizon)):
            raise ValueError("horizon must name each step once, in ascending order")
        return self

    @property
    def horizons(self) -> list[int]:
        """How many rows after the window's last one each value of the target is."""
        return self.horizon if isinstance(self.horizon, list) else [self.horizon]


class GroupWindow(Document):
    """All rows of a group, or the last of them, as one sequence; its target is its last row's."""

    kind: Literal["group"]
    group: Name = Field(description="A column: the rows with one value are a sample.")
    order_by: Name | None = Field(None, description="A column to order by; else the file's order.")
    max_length: Steps | None = Field(
        None, description="Of a longer group its last rows are taken. Default: the longest group."
    )
    padding: Padding = Field("pre", description="Where shorter groups get steps of mask_value.")
    mask_value: MaskValue = Field(0.0, description="What padding is filled with.")


def _sliding(value: object) -> object:
    """Take a window of no kind for one that slides."""
    if isinstance(value, Mapping) and "kind" not in value:
        return {"kind": "sliding", **value}
    return value


WindowSpec = Annotated[
    Annotated[SlidingWindow | GroupWindow, Field(discriminator="kind")], BeforeValidator(_sliding)
]
