"""How the columns of a table become features: missing values, scaling, encodings, by type."""

from __future__ import annotations

import operator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from chainrule.spec.arrays import ArrayOptions
from chainrule.spec.base import Document, named
from chainrule.spec.splits import Name

__all__ = [
    "CategoryOptions",
    "ColumnOptions",
    "DatetimeOptions",
    "EncodingSpec",
    "HashEncodingSpec",
    "NumberOptions",
    "OrdinalEncodingSpec",
    "Part",
    "PlainEncodingSpec",
    "PreprocessingSpec",
]

Part = Literal["year", "month", "day", "weekday", "hour", "minute"]
PARTS: list[Part] = ["year", "month", "day", "weekday", "hour", "minute"]
Word = Annotated[str, Field(min_length=1, max_length=1000)]


class NumberFillSpec(Document):
    """What stands for a missing number: a statistic of the training rows, or the row is dropped."""

    kind: Literal["mean", "median", "mode", "drop"] = "mean"


class ConstantNumberSpec(Document):
    """A number that stands for a missing one."""

    kind: Literal["constant"]
    value: float


class ScalingSpec(Document):
    """How numbers are scaled, by statistics of the training rows."""

    kind: Literal["standard", "min_max", "robust", "log1p", "none"] = "standard"


class CategoryFillSpec(Document):
    """What stands for a missing word: nothing, the most frequent one, a category; or drop it."""

    kind: Literal["ignore", "mode", "category", "drop"] = "ignore"


class ConstantWordSpec(Document):
    """A word that stands for a missing one."""

    kind: Literal["constant"]
    value: Word


class PlainEncodingSpec(Document):
    """A feature for each category, or a whole number for an embedding layer."""

    kind: Literal["one_hot", "embedding"] = "one_hot"


class OrdinalEncodingSpec(Document):
    """One feature, 1/n for the first of n categories to 1 for the last, 0 where there is none."""

    kind: Literal["ordinal"]
    order: list[Word] | None = Field(
        None, min_length=1, description="The categories from first to last; by default ascending."
    )


class HashEncodingSpec(Document):
    """A feature for each bucket, where a word's hash says which: for very many categories."""

    kind: Literal["hash"]
    buckets: int = Field(64, ge=1, le=100_000)


class RareSpec(Document):
    """Which categories share one bucket: those with fewer training rows than this."""

    min_count: int | None = Field(None, ge=1, description="Rows.")
    min_share: float | None = Field(None, gt=0.0, lt=1.0, description="Share of the rows.")

    @model_validator(mode="after")
    def _is_one(self) -> RareSpec:
        if (self.min_count is None) == (self.min_share is None):
            raise ValueError("must have exactly one of min_count and min_share")
        return self


class UnknownSpec(Document):
    """What stands for a category that training did not see: nothing, or the rare ones' bucket."""

    kind: Literal["ignore", "bucket"] = "ignore"


class DatetimeFillSpec(Document):
    """What stands for a missing time: zeros, the median of the training rows; or drop the row."""

    kind: Literal["ignore", "median", "drop"] = "ignore"


class ConstantDatetimeSpec(Document):
    """A time that stands for a missing one, as text."""

    kind: Literal["constant"]
    value: Word


EncodingSpec = Annotated[
    PlainEncodingSpec | OrdinalEncodingSpec | HashEncodingSpec, Field(discriminator="kind")
]


class NumberOptions(Document):
    """How columns of numbers become features."""

    missing: Annotated[
        NumberFillSpec | ConstantNumberSpec, Field(discriminator="kind"), BeforeValidator(named)
    ] = NumberFillSpec()
    indicator: bool = Field(
        False, description="A feature that is 1 where the number is missing, if any ever is."
    )
    scaling: Annotated[ScalingSpec, BeforeValidator(named)] = ScalingSpec()


class CategoryOptions(Document):
    """How columns of words become features."""

    missing: Annotated[
        CategoryFillSpec | ConstantWordSpec, Field(discriminator="kind"), BeforeValidator(named)
    ] = CategoryFillSpec()
    encoding: Annotated[EncodingSpec, BeforeValidator(named)] = PlainEncodingSpec()
    rare: RareSpec | None = Field(None, description="By default each category stands alone.")
    unknown: Annotated[UnknownSpec, BeforeValidator(named)] = UnknownSpec()

    @model_validator(mode="after")
    def _goes_together(self) -> CategoryOptions:
        if self.encoding.kind == "hash" and self.rare is not None:
            raise ValueError("rare does not go with the encoding hash, whose buckets are shared")
        if isinstance(self.encoding, OrdinalEncodingSpec) and self.encoding.order and self.rare:
            raise ValueError("rare does not go with an order, in which rare ones have their place")
        if self.unknown.kind == "bucket" and self.rare is None:
            raise ValueError("unknown takes the bucket of the rare categories: say which are rare")
        return self


class DatetimeOptions(Document):
    """How columns of dates and times become features."""

    parts: list[Part] = Field(PARTS, min_length=1, description="Those that vary become features.")
    cyclic: bool = Field(True, description="Sine and cosine of a part, not a feature per value.")
    missing: Annotated[
        DatetimeFillSpec | ConstantDatetimeSpec,
        Field(discriminator="kind"),
        BeforeValidator(named),
    ] = DatetimeFillSpec()
    indicator: bool = Field(False, description="As that of numbers.")


class _NumberColumn(NumberOptions):
    kind: Literal["number"]


class _CategoryColumn(CategoryOptions):
    kind: Literal["category"]

    @model_validator(mode="after")
    def _goes_together(self) -> _CategoryColumn:
        return self  # seen to once what it leaves out is known


class _DatetimeColumn(DatetimeOptions):
    kind: Literal["datetime"]


ColumnOptions = Annotated[
    _NumberColumn | _CategoryColumn | _DatetimeColumn, Field(discriminator="kind")
]


class PreprocessingSpec(Document):
    """How a table's columns become features, by their type; ``columns`` says otherwise of some.

    What a column's options leave out is as for all of its kind, which may be another than its type.
    """

    number: NumberOptions = NumberOptions()
    category: CategoryOptions = CategoryOptions()
    datetime: DatetimeOptions = DatetimeOptions()
    columns: dict[Name, Annotated[ColumnOptions, BeforeValidator(named)]] = Field({})
    array: ArrayOptions | None = Field(
        None, description="How arrays become inputs, not a table.", exclude_if=operator.not_
    )
