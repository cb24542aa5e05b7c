"""Which rows are kept from training: at random, by class, column, key or time, or all in turn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from chainrule.spec.base import Document

__all__ = [
    "AnySplit",
    "ColumnSplitSpec",
    "HashSplitSpec",
    "KFoldSplitSpec",
    "Name",
    "Share",
    "SplitSpec",
    "StratifiedSplitSpec",
    "TimeSplitSpec",
    "split_columns",
    "stage_rows",
]

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Value = int | float | str
MAX_FOLDS = 20


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


class KFoldSplitSpec(Document):
    """Cross-validation: each fold validates a network that learns from the others, in turn.

    A last network, the model, learns from all of them. Rows are dealt to the folds, which differ by
    one row at most, by the job's seed.
    """

    kind: Literal["k_fold"]
    folds: int = Field(5, ge=2, le=MAX_FOLDS, description="How many.")
    test: Share = Field(0.1, description="Share of the rows in no fold, measured once, at the end.")
    stratified: bool = Field(False, description="Give each fold its share of each class.")
    fold: int | None = Field(
        None,
        ge=1,
        description="The only one that validates, so that one network learns from the others.",
    )

    @model_validator(mode="after")
    def _has_the_fold(self) -> KFoldSplitSpec:
        if self.fold is not None and self.fold > self.folds:
            raise ValueError(f"fold {self.fold} is none of {self.folds} folds")
        return self


def stage_rows(split: Any, rows: int) -> list[int]:
    """Return how many of the rows in training each network of a job learns from, in order.

    That is one network, unless folds take turns.
    """
    if not isinstance(split, KFoldSplitSpec) or split.fold is not None:
        return [rows]
    sizes = [rows // split.folds + (fold < rows % split.folds) for fold in range(split.folds)]
    return [*(rows - size for size in sizes), rows]


def _kind(value: object) -> object:
    """Take shares alone for those of a random split."""
    return {"kind": "random", **value} if isinstance(value, dict) else value


def split_columns(split: Any) -> list[str]:
    """Return the columns that a split looks at; these are no inputs unless named."""
    return list(getattr(split, "columns", ()))


AnySplit = Annotated[
    SplitSpec
    | StratifiedSplitSpec
    | ColumnSplitSpec
    | HashSplitSpec
    | TimeSplitSpec
    | KFoldSplitSpec,
    Field(discriminator="kind"),
    BeforeValidator(_kind),
]
