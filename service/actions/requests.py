"""What a client asks for, as documents of the same strict kind as the architecture language."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from chainrule.spec import ArchitectureSpec, DataSpec, Document, TrainingSpec

__all__ = [
    "ColumnName",
    "ColumnType",
    "GivenType",
    "JobRequest",
    "PredictionRequest",
    "UploadRequest",
]

ColumnType = Literal["integer", "number", "categorical", "text", "datetime"]
# What a client may say of a column: numbers also by how they are written.
GivenType = Literal[ColumnType, "decimal_comma", "decimal_point"]
ColumnName = Annotated[str, Field(min_length=1, max_length=1000)]


class PredictionRequest(Document):
    """A batch prediction: of which rows, and as what kind of file."""

    name: str | None = Field(None, min_length=1, max_length=200)
    dataset_id: str = Field(min_length=1, max_length=100)
    format: Literal["csv", "ndjson", "npy", "parquet"] = "csv"


class UploadRequest(Document):
    """A file that is to come in parts.

    ``sha256``: of the file; with it, an upload of the same bytes is gone on with.
    """

    name: str = Field("dataset", min_length=1, max_length=200)
    format: Literal["csv", "tsv", "ndjson", "parquet", "npz", "npy", "idx", "json"]
    types: dict[ColumnName, GivenType] = Field({}, max_length=10_000)
    bytes: int = Field(ge=1, le=2**50)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")


class JobRequest(Document):
    """A job: a dataset, an architecture or the id of a stored one, and how to train."""

    name: str | None = Field(None, min_length=1, max_length=200)
    dataset_id: str = Field(min_length=1, max_length=100)
    architecture_id: str | None = Field(None, min_length=1, max_length=100)
    architecture: ArchitectureSpec | None = None
    data: DataSpec = DataSpec()
    training: TrainingSpec = TrainingSpec()

    @model_validator(mode="after")
    def _has_one_architecture(self) -> JobRequest:
        if (self.architecture is None) == (self.architecture_id is None):
            raise ValueError("give either an architecture or an architecture_id")
        return self
