"""Which rows are kept from training: at random, by class, by a column's values, a key, or time."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from chainrule.spec.base import Document

__all__ = [
    "AnySplit",
    "ColumnSplitSpec",
    "HashSplitSpec",
    "Name",
    "Share",
    "SplitSpec",
    "StratifiedSplitSpec",
    "TimeSplitSpec",
    "split_columns",
]

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Value = int | float | str


class _Shares(Document):
    """Shares of the rows that are kept aside."""

    kind: str
    validation: Share = Field(0.1, description="Share of the rows measured after each epoch.")
    test: Share = Field(0.1, description="Share of the rows measured once, at the end.")

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> _Shares:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no rows to train on")
        return self


class SplitSpec(_Shares):
    """Shares of the rows kept aside, drawn at random by the job's seed."""

    kind: Literal["random"] = "random"


class StratifiedSplitSpec(_Shares):
    """Shares of the rows of each class of the target, drawn at random by the job's seed."""

    kind: Literal["stratified"]


class HashSplitSpec(_Shares):
    """By a key: rows of one key stay together, and where they are when other rows are added.

    Shares are of the keys.
    """

    kind: Literal["hash"]
    key: Name | Annotated[list[Name], Field(min_length=1)] = Field(
        description="Column, or columns that make the key together."
    )
    salt: str = Field("", max_length=1000, description="Another one deals the keys anew.")

    @property
    def columns(self) -> list[str]:
        """The columns of the key."""
        return [self.key] if isinstance(self.key, str) else self.key


class TimeSplitSpec(_Shares):
    """By time: the newest rows are the test, those before them the validation.

    Of windows it is the order that these have in each group, and no column.
    """

    kind: Literal["time"]
    column: Name | None = Field(None, description="The column that says when.")

    @property
    def columns(self) -> list[str]:
        """The column that says when."""
        return [] if self.column is None else [self.column]


class ColumnSplitSpec(Document):
    """By a column's values; rows of any other value, or of none, are trained on."""

    kind: Literal["column"]
    column: Name
    validation: list[Value] = Field([], description="Its values in rows for validation.")
    test: list[Value] = Field([], description="Its values in rows for the test.")

    @property
    def columns(self) -> list[str]:
        """The column that says which part."""
        return [self.column]


def _kind(value: object) -> object:
    """Take shares alone for those of a random split."""
    return {"kind": "random", **value} if isinstance(value, dict) else value


def split_columns(split: Any) -> list[str]:
    """Return the columns that a split looks at; these are no inputs unless named."""
    return list(getattr(split, "columns", ()))


AnySplit = Annotated[
    SplitSpec | StratifiedSplitSpec | ColumnSplitSpec | HashSplitSpec | TimeSplitSpec,
    Field(discriminator="kind"),
    BeforeValidator(_kind),
]
