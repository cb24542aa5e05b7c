"""Which columns or arrays go in, which one is learnt, and which rows are kept aside."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from chainrule.spec.augmentation import AugmentationSpec
from chainrule.spec.base import Document
from chainrule.spec.preprocessing import PreprocessingSpec
from chainrule.spec.splits import AnySplit, Name, SplitSpec
from chainrule.spec.training.losses import Task
from chainrule.spec.windowing import SlidingWindow, WindowSpec

__all__ = ["DataSpec"]


class DataSpec(Document):
    """The data of a job: names are columns of a table, or arrays of an NPZ or JSON dataset."""

    inputs: Name | list[Name] | dict[str, Name | list[Name]] = Field(
        "*",
        description='Names, or "*": all that can go in. Of a network with several inputs the '
        "arrays of their names, or {input: array}, or {input: [columns]}.",
    )
    exclude: list[Name] = Field(
        [],
        description='What "*" leaves out besides the targets: an id, say, or what is known only '
        "afterwards.",
        exclude_if=operator.not_,
    )
    target: Name | list[Name] | dict[str, Name] | None = Field(
        None,
        description='What to learn; arrays default to "targets". Of a network with several outputs '
        "one name for each, in their order, or {output: name}.",
    )
    sample_weight: Name | None = Field(None, description="What each row counts, in the loss only.")
    task: Task | dict[str, Task] | None = Field(
        None, description="By default the loss decides, else the target; or {output: task}."
    )
    split: AnySplit = Field(SplitSpec(), description="Which rows are kept from training.")
    preprocessing: PreprocessingSpec | None = Field(
        None, description="How a table's columns become features, and how arrays are scaled."
    )
    window: WindowSpec | None = Field(
        None, description="Sequences of a table's rows; by default each row is a sample."
    )
    augmentation: list[AugmentationSpec] = Field(
        [], max_length=10, description="What is done to training samples, in order, as they come."
    )

    @model_validator(mode="before")
    @classmethod
    def _windows_are_split_in_time(cls, document: Any) -> Any:
        """Give the split of windows that slide its own default kind."""
        if not isinstance(document, Mapping):
            return document
        window, split = document.get("window"), document.get("split", {})
        slides = isinstance(window, SlidingWindow) or (
            isinstance(window, Mapping) and window.get("kind", "sliding") == "sliding"
        )
        if slides and isinstance(split, Mapping) and "kind" not in split:
            return {**document, "split": {"kind": "time", **split}}
        return document
