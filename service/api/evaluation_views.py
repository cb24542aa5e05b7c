"""How well a network has learnt, as answers tell it.  docs/evaluation.md defines the numbers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from service.api.downloads import not_modified, rendered, tagged

if TYPE_CHECKING:
    from flask import Response

__all__ = ["EvaluationView", "evaluated"]

Part = Literal["train", "validation", "test"]
Word = int | float | str


class EstimateView(BaseModel):
    """A number, and between which it lies with 95 % confidence, where that can be told."""

    value: float | None
    low: float | None
    high: float | None


class ClassView(BaseModel):
    """How often a class was found, and how often what was called so is it."""

    label: Word
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


class LabelView(ClassView):
    """The same of an independent label, by its number from 0."""

    accuracy: float
    roc_auc: float | None


class ConfusionView(BaseModel):
    """How often each true class (a row) was called what; ``others``: the last one is the rest."""

    classes: list[Word]
    others: bool
    counts: list[list[int]]


class PartView(BaseModel):
    """What is measured on the rows of one part."""

    positions: int
    metrics: dict[str, EstimateView]
    classes: list[ClassView] = []
    confusion: ConfusionView | None = None
    labels: list[LabelView] = []


class NullModelView(BaseModel):
    """A model that knows nothing of networks, on the same rows; ``reason``: why there is none."""

    kind: Literal["majority", "mean", "median", "last_value", "linear"]
    rows: int
    reason: str | None
    parts: dict[Part, dict[str, EstimateView]]


class SliceView(EstimateView):
    """A segment of the rows: a category of a column, or numbers above one up to another.

    ``datetime``: the numbers are times, in seconds since 1970-01-01 UTC.
    """

    column: str
    category: str | None = None
    above: float | None = None
    to: float | None = None
    datetime: bool = False
    missing: bool = False
    unseen: bool = False
    rows: int


class SlicesView(BaseModel):
    """The worst segments first, of all ``count`` of them."""

    metric: Literal["accuracy", "mae"]
    columns: int
    count: int
    items: list[SliceView]


class VerdictView(BaseModel):
    """Whether the network is better than the best null model, by ``gain`` ± ``margin``."""

    status: Literal["better", "not_better", "unclear"]
    part: Part
    metric: str
    value: float | None
    null_model: str | None
    null_value: float | None
    gain: float | None
    margin: float | None
    text: str


class OutputView(BaseModel):
    """One output of the network; ``detail`` and ``slices`` are of the part that is judged.

    Detail of classes and labels: curves, calibration; of numbers: residuals, by_true_value,
    columns.
    """

    kind: Literal["classes", "labels", "numbers"]
    target: str | None
    task: str
    loss: str
    parts: dict[Part, PartView]
    null_models: list[NullModelView]
    detail: dict[str, Any]
    slices: SlicesView | None
    verdict: VerdictView


class RowsView(BaseModel):
    """How many rows a part has, and how many of them were measured: a sample, if they are many."""

    rows: int
    rows_used: int


class EvaluationView(BaseModel):
    """How well a network has learnt, on the rows of each part, beside null models.

    ``judged``: the part that is shown in detail, test where there is one. ``warnings``: what the
    rows say against it, such as an input that is the target. ``reason``: why there is no report.
    """

    version: int
    status: Literal["complete", "off", "failed"]
    reason: str | None
    confidence: float
    judged: Part | None
    rows: dict[Part, RowsView]
    warnings: list[str] = []
    outputs: dict[str, OutputView]


def evaluated(report: dict[str, Any]) -> Response:
    """Answer with a report, which a client may keep and ask about by its tag."""
    body = rendered(EvaluationView(**report))
    tag = hashlib.sha256(body).hexdigest()[:32]
    return not_modified(tag) or tagged(body, tag)
