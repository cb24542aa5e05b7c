"""Which columns or arrays go in, which one is learnt, and which rows are kept aside."""

from __future__ import annotations

from pydantic import Field

from chainrule.spec.base import Document
from chainrule.spec.preprocessing import PreprocessingSpec
from chainrule.spec.splits import AnySplit, Name, SplitSpec
from chainrule.spec.training.losses import Task

__all__ = ["DataSpec"]


class DataSpec(Document):
    """The data of a job: names are columns of a table, or arrays of an NPZ or JSON dataset."""

    inputs: Name | list[Name] | dict[str, Name | list[Name]] = Field(
        "*",
        description='Names, or "*": all that can go in. Of a network with several inputs the '
        "arrays of their names, or {input: array}, or {input: [columns]}.",
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
        None, description="How a table's columns become features; arrays are used as they are."
    )
