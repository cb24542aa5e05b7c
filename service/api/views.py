"""What answers look like.  Fields that were never set are left out of the JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from service.actions.models import Format

__all__ = [
    "ArchitecturePage",
    "ArchitectureView",
    "CheckpointView",
    "CheckpointsView",
    "EpochView",
    "EventView",
    "EventsView",
    "JobItem",
    "JobPage",
    "JobView",
    "MetricsView",
    "ModelPage",
    "ModelView",
    "PlanView",
    "PredictionView",
    "ProgressView",
    "TransitionView",
    "WarmStartView",
    "timestamp",
]

State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Metrics = dict[str, float | None]


def timestamp(seconds: float | None) -> str | None:
    """Write unix seconds as ISO 8601 in UTC, such as ``2026-01-31T09:30:00.123Z``."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


class ProgressView(BaseModel):
    """How far a job is: completed epochs and committed steps; of a prediction committed rows.

    Of a parsing: bytes of the file that are read.
    """

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    row: int = 0
    rows: int = 0
    byte: int = 0
    bytes: int = 0
    fraction: float
    eta_s: float | None
    samples_per_s: float | None


class LayerView(BaseModel):
    """A layer in its place."""

    name: str
    kind: str
    inputs: list[str]
    output_shape: list[int]
    parameters: int
    flops: int
    activation_bytes: int


class SummaryView(BaseModel):
    """What a network costs; ``memory_bytes`` is that of a training step of ``batch_size`` rows."""

    layers: list[LayerView]
    parameters: int
    flops_per_sample: int
    memory_bytes: int
    batch_size: int


class ArchitectureView(BaseModel):
    """An architecture with every default rendered; no summary while its input is not known."""

    id: str | None
    name: str
    spec: dict[str, Any]
    summary: SummaryView | None
    created_at: str | None
    links: dict[str, str]


class ArchitecturePage(BaseModel):
    """A page of architectures, newest first."""

    items: list[ArchitectureView]
    next: str | None


class TransitionView(BaseModel):
    """One change of a job's state, or what an attempt noted.  ``detail``: docs/reliability.md."""

    from_state: State | None
    to_state: State
    attempt: int
    at: str
    detail: dict[str, Any] | None


class EventView(TransitionView):
    """The same with its number, which only grows."""

    id: int


class EventsView(BaseModel):
    """Events, oldest first.  ``next``: ask for those after it; ``ended``: there will be none."""

    items: list[EventView]
    next: int
    ended: bool


class ResultView(BaseModel):
    """What a batch prediction has made: a dataset with a row for each row, in order."""

    dataset_id: str


class JobItem(BaseModel):
    """A job, as lists show it.  ``model_id``: what it has trained, or what predicts.

    ``dataset_id``: what it reads, or makes ready, if its kind is parsing.
    """

    id: str
    kind: Literal["training", "prediction", "parsing"]
    name: str
    state: State
    attempt: int
    dataset_id: str | None
    progress: ProgressView
    metrics: dict[str, Metrics | None] | None
    error: dict[str, Any] | None
    model_id: str | None
    result: ResultView | None = None
    created_at: str
    started_at: str | None
    ended_at: str | None
    links: dict[str, str]


class SkippedLayerView(BaseModel):
    """A layer that begins, at least in part, with weights of its own, and why."""

    layer: str
    reason: str


class WarmStartView(BaseModel):
    """Whose weights a job begins with, and the names of the layers that took them over.

    A layer of which some tensors fit and others do not is in both ``restored`` and ``skipped``.
    ``unused``: layers of the source of which nothing was taken. ``sha256`` is that of its file.
    """

    model_id: str | None
    job_id: str | None
    step: int | None
    sha256: str
    restored: list[str]
    skipped: list[SkippedLayerView]
    unused: list[str]


class FoldView(BaseModel):
    """What a fold's network measured in the epoch that it kept, ``validation`` on the fold."""

    fold: int
    epoch: int
    train: Metrics
    validation: Metrics


class CrossValidationView(BaseModel):
    """How the networks of the folds fared, with mean and standard error of the mean."""

    folds: list[FoldView]
    mean: Metrics
    standard_error: Metrics


class JobView(JobItem):
    """A job in full.  ``metrics.validation`` of a cross-validation is the folds' mean."""

    queue_position: int | None
    best: dict[str, Any] | None
    cross_validation: CrossValidationView | None = None
    config: dict[str, Any]
    warnings: list[str]
    warm_start: WarmStartView | None = None
    transitions: list[TransitionView]


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    items: list[JobItem]
    next: str | None


class PlanView(BaseModel):
    """What a job would be: its config with every default rendered, and what it would take.

    ``disk_bytes``: what of the encoded rows is on the trainer's disk instead of in its memory.
    """

    config: dict[str, Any]
    warnings: list[str]
    warm_start: WarmStartView | None
    memory_bytes: int
    disk_bytes: int
    steps: int
    seconds: float | None
    summary: SummaryView
    rows: dict[str, int]


class EpochView(BaseModel):
    """What one epoch measured.  ``fold``: that of a cross-validation, null for its last network."""

    epoch: int
    step: int
    fold: int | None = None
    train: Metrics
    validation: Metrics | None
    learning_rate: float | None
    seconds: float | None
    samples_per_s: float | None
    at: str


class MetricsView(BaseModel):
    """A job's epochs, oldest first."""

    items: list[EpochView]


class CertifiedLayerView(BaseModel):
    """The largest relative error of a layer's gradients; where there is none, the reason."""

    name: str
    kind: str
    max_relative_error: float | None
    probes: int
    reason: str | None


class CertificateView(BaseModel):
    """A job's gradients beside central differences, at its first weights, in float64.

    ``layer`` is that at fault, if the check has failed.
    """

    status: Literal["passed", "failed", "skipped", "off"]
    tolerance: float
    rows: int
    probes: int
    loss: str | dict[str, str]
    layers: list[CertifiedLayerView]
    layer: str | None
    reason: str | None


class CheckpointView(BaseModel):
    """A kept checkpoint."""

    step: int
    epoch: int
    attempt: int
    loss: float | None
    bytes: int
    sha256: str
    created_at: str
    links: dict[str, str]


class CheckpointsView(BaseModel):
    """The kept checkpoints of a job, oldest first."""

    items: list[CheckpointView]


class ModelView(BaseModel):
    """A trained network."""

    id: str
    name: str
    job_id: str | None
    spec: dict[str, Any]
    metrics: dict[str, Any] | None
    preprocessing: dict[str, Any] | None
    sha256: str
    fingerprint: str
    formats: list[Format]
    bytes: int
    created_at: str
    links: dict[str, str]


class ModelPage(BaseModel):
    """A page of models, newest first."""

    items: list[ModelView]
    next: str | None


class LeftOutView(BaseModel):
    """A group of too few rows for a window, and how many it has."""

    group: Any
    rows: int


class PredictionView(BaseModel):
    """One prediction for each row, in order, in the target's labels or units.

    Of a network with several outputs each is {output: ...}, of those outputs that have such. Of
    windows there is one for each of ``groups``; ``left_out`` are those with too few rows.
    """

    predictions: list[Any] | dict[str, list[Any]]
    probabilities: list[Any] | dict[str, list[Any]] = []
    classes: list[Any] | dict[str, list[Any]] = []
    groups: list[Any] = []
    left_out: list[LeftOutView] = []
