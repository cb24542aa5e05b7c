"""What answers about datasets and uploads look like."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from service.actions.requests import ColumnType
from service.api.views import ProgressView

__all__ = ["DatasetPage", "DatasetView", "PartView", "PreviewView", "UploadView"]


class HistogramView(BaseModel):
    """How many values are between one edge and the next."""

    edges: list[float]
    counts: list[int]


class ColumnView(BaseModel):
    """A column of a table.

    ``min`` and ``max`` of times are text. ``counts`` are the rows of the commonest categories;
    these and ``histogram`` are left out of lists.
    """

    name: str
    type: ColumnType
    missing: int
    unique: int
    unique_estimated: bool = False
    min: float | str | None = None
    max: float | str | None = None
    mean: float | None = None
    std: float | None = None
    histogram: HistogramView | None = None
    counts: dict[str, int] = {}


class ArrayView(BaseModel):
    """An array of an NPZ or JSON dataset; its first axis counts the rows."""

    name: str
    shape: list[int]
    dtype: str


class DatasetView(BaseModel):
    """A dataset: ``columns`` of a table, or ``arrays``, once it is ready.

    Unless it was parsed as it came, ``job_id`` is the job that does, ``progress`` says how far that
    is, and ``error`` why it has failed. ``types`` are those of columns that were given with it.
    """

    id: str
    name: str
    format: str
    types: dict[str, str]
    state: Literal["parsing", "ready", "failed"]
    rows: int | None
    bytes: int
    sha256: str
    columns: list[ColumnView] = []
    arrays: list[ArrayView] = []
    warnings: list[str]
    error: dict[str, Any] | None = None
    job_id: str | None = None
    progress: ProgressView | None = None
    created_at: str
    links: dict[str, str]


class FirstRowsView(ArrayView):
    """An array and its first rows."""

    rows: list[Any]


class PreviewView(BaseModel):
    """The first rows of a dataset: of a table by the names of its columns, or of each array."""

    rows: list[dict[str, Any]] = []
    arrays: list[FirstRowsView] = []


class PartView(BaseModel):
    """A part of an upload."""

    number: int
    bytes: int
    sha256: str


class UploadView(BaseModel):
    """A file that comes in parts of ``part_bytes``; ``parts`` are those that are there."""

    id: str
    name: str
    format: str
    types: dict[str, str]
    bytes: int
    sha256: str | None
    part_bytes: int
    parts: list[PartView]
    dataset_id: str | None
    created_at: str
    expires_at: str
    links: dict[str, str]


class DatasetPage(BaseModel):
    """A page of datasets, newest first."""

    items: list[DatasetView]
    next: str | None
