"""Which columns or arrays go in, which one is learnt, and which rows are kept aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from chainrule.spec.arrays import ArrayOptions
from chainrule.spec.augmentation import AugmentationSpec
from chainrule.spec.base import Document
from chainrule.spec.training.losses import Task
from chainrule.spec.windowing import SlidingWindow, WindowSpec

__all__ = ["DataSpec", "SplitSpec"]

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class SplitSpec(Document):
    """Shares of the rows kept aside, drawn at random by the job's seed.

    Of windows, ``time`` keeps the last rows of each group aside, ``random`` whole groups.
    """

    kind: Literal["random", "time"] = "random"
    validation: Share = Field(0.1, description="Share of the rows measured after each epoch.")
    test: Share = Field(0.1, description="Share of the rows measured once, at the end.")

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> SplitSpec:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no rows to train on")
        return self


class PreprocessingSpec(Document):
    """How what goes in becomes features."""

    array: ArrayOptions = ArrayOptions()


class DataSpec(Document):
    """The data of a job: names are columns of a table, or arrays of an NPZ or JSON dataset."""

    inputs: Name | list[Name] | dict[str, Name] = Field(
        "*",
        description='Names, or "*": all that can go in. Of a network with several inputs the '
        "arrays of their names, or {input: array}.",
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
    window: WindowSpec | None = Field(
        None, description="Sequences of a table's rows; by default each row is a sample."
    )
    preprocessing: PreprocessingSpec = Field(
        PreprocessingSpec(), description="How what goes in is scaled."
    )
    augmentation: list[AugmentationSpec] = Field(
        [], max_length=10, description="What is done to training samples, in order, as they come."
    )
    split: SplitSpec = Field(SplitSpec(), description="Shares of the rows kept from training.")

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

    @model_validator(mode="after")
    def _splits_in_time_by_windows(self) -> DataSpec:
        if self.split.kind == "time" and self.window is None:
            raise ValueError("split.kind time is of windows: give window")
        return self
