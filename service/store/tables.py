"""The tables.  ``migrations/`` makes them; a test holds the two together.

``seq`` is a number from the database that only grows: the order of queues and lists, since clocks
jump. Times are unix seconds, for display only; no guard rests on them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from service.store.base import Base, Json
from service.store.upload_tables import Upload, UploadPart

__all__ = [
    "DATASET_STATES",
    "FINAL",
    "STATES",
    "ApiKey",
    "Architecture",
    "Base",
    "Blob",
    "BlobChunk",
    "Checkpoint",
    "Chunk",
    "Dataset",
    "EpochMetrics",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "Model",
    "Part",
    "Step",
    "Upload",
    "UploadPart",
    "WarmStart",
    "Worker",
]

STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
DATASET_STATES = ("parsing", "ready", "failed")
FINAL = ("succeeded", "failed", "cancelled")

FINAL_SQL = "state IN ('succeeded', 'failed', 'cancelled')"


class ApiKey(Base):
    """A key of the API; the secret itself is shown once and only its SHA-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    name: Mapped[str]
    prefix: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class IdempotencyKey(Base):
    """A client's name for one request, and the answer, kept in the transaction of its effect.

    ``nonce`` names the unit of work that had the effect. An answer of status 0 is still being made:
    no other transaction ever sees one.
    """

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    nonce: Mapped[str]
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes]
    created_at: Mapped[float] = mapped_column(index=True)


class Worker(Base):
    """A worker process that said it is there.  Display only: nothing is reaped by these rows."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[float]
    seen_at: Mapped[float]
    trainers: Mapped[int]
    info: Mapped[dict[str, Any]]


class Chunk(Base):
    """At most 1 MiB of some blob, under its own hash.  ``staged_at`` spares it from collection."""

    __tablename__ = "chunks"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    staged_at: Mapped[float]
    data: Mapped[bytes]


class Blob(Base):
    """Bytes under their hash: the chunks listed in ``blob_chunks``, in order."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int]


class BlobChunk(Base):
    """One chunk in its place within a blob."""

    __tablename__ = "blob_chunks"

    blob: Mapped[str] = mapped_column(
        ForeignKey("blobs.sha256", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    chunk: Mapped[str] = mapped_column(ForeignKey("chunks.sha256"), index=True)


class Dataset(Base):
    """An upload: the bytes as they came, and the tensors that they were parsed into.

    While it is ``parsing`` a job of that kind is live; if that ends without success, it is
    ``failed``, and ``error`` says why. Only ``store.transitions`` writes ``state``. ``types`` is
    canonical JSON: the types of columns that the client has given.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint(f"state IN {DATASET_STATES}", name="state"),
        CheckConstraint("(state = 'ready') = (prepared IS NOT NULL)", name="ready_is_prepared"),
        UniqueConstraint("tenant_id", "sha256", "format", "types"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    tenant_id: Mapped[str]
    name: Mapped[str]
    format: Mapped[str]
    types: Mapped[str] = mapped_column(default="{}", server_default="{}")
    state: Mapped[str]
    rows: Mapped[int | None]
    bytes: Mapped[int]
    sha256: Mapped[str]
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    # These two are null until it is ready; what reads them asks for one that is.
    prepared: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True, nullable=True)
    schema: Mapped[dict[str, Any]] = mapped_column(Json, nullable=True)
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[float]


class Architecture(Base):
    """A named architecture; a job that uses it keeps its own completed copy."""

    __tablename__ = "architectures"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    tenant_id: Mapped[str]
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class Job(Base):
    """A job of training, prediction or parsing: the truth, whatever any process believes.

    ``attempt`` counts claims and fences late writers; ``hb`` counts heartbeats; ``crashes`` counts
    attempts in a row that committed no step; ``step`` counts committed batches of ``steps``, or
    rows, if ``kind`` is prediction; bytes of the file, if it is parsing, of which none is kept.
    ``owner`` is ``<worker id>:<nonce>`` while running. Only ``store.transitions`` writes ``state``.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint("(state = 'running') = (owner IS NOT NULL)", name="running_has_owner"),
        CheckConstraint(f"({FINAL_SQL}) = (ended_at IS NOT NULL)", name="final_has_end"),
        CheckConstraint("step >= 0 AND step <= steps", name="step_within_steps"),
        CheckConstraint("state <> 'succeeded' OR step = steps", name="succeeded_is_complete"),
        CheckConstraint(f"{FINAL_SQL} OR dataset_id IS NOT NULL", name="live_has_dataset"),
        Index(None, "state", "seq"),
        Index(None, "tenant_id", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    tenant_id: Mapped[str]
    kind: Mapped[str] = mapped_column(default="training", server_default="training")
    name: Mapped[str]
    dataset_id: Mapped[str | None] = mapped_column(
        ForeignKey("datasets.id", ondelete="SET NULL"), index=True
    )
    architecture_id: Mapped[str | None] = mapped_column(
        ForeignKey("architectures.id", ondelete="SET NULL"), index=True
    )

    state: Mapped[str] = mapped_column(default="queued", server_default="queued")
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    crashes: Mapped[int] = mapped_column(default=0, server_default="0")
    hb: Mapped[int] = mapped_column(default=0, server_default="0")
    step: Mapped[int] = mapped_column(default=0, server_default="0")
    steps: Mapped[int]
    cancel: Mapped[bool] = mapped_column(default=False, server_default=false())
    pause: Mapped[bool] = mapped_column(default=False, server_default=false())
    owner: Mapped[str | None]
    not_before: Mapped[float] = mapped_column(default=0.0, server_default="0")
    published: Mapped[float] = mapped_column(default=0.0, server_default="0")

    epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    epochs: Mapped[int]
    memory_bytes: Mapped[int]
    config: Mapped[dict[str, Any]]
    recipe: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any] | None] = mapped_column(Json)
    best: Mapped[dict[str, Any] | None] = mapped_column(Json)
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    # Read when asked for only: they have rows for each layer, class, column and so on.
    certificate: Mapped[dict[str, Any] | None] = mapped_column(Json, deferred=True)
    evaluation: Mapped[dict[str, Any] | None] = mapped_column(Json, deferred=True)
    model_id: Mapped[str | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]


class WarmStart(Base):
    """What a job begins with, in the place of weights drawn by its seed.

    ``blob`` is the bundle of a model (of a prediction: the one that predicts), or a checkpoint of a
    network of this ``architecture``. It stays for as long as the job does, whatever becomes of that
    model or of that other job.
    """

    __tablename__ = "warm_starts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    architecture: Mapped[dict[str, Any] | None] = mapped_column(Json)
    receipt: Mapped[dict[str, Any]]


class JobEvent(Base):
    """One change of a job's state.  ``nonce`` names the unit of work that made it."""

    __tablename__ = "job_events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    from_state: Mapped[str | None]
    to_state: Mapped[str]
    who: Mapped[str]
    at: Mapped[float]
    nonce: Mapped[str]
    detail: Mapped[dict[str, Any] | None] = mapped_column(Json)


class Step(Base):
    """A committed unit: the batches after ``prev`` up to and including ``step``."""

    __tablename__ = "steps"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    prev: Mapped[int]
    attempt: Mapped[int]
    epoch: Mapped[int]
    loss: Mapped[float | None]
    checkpoint_sha256: Mapped[str]
    at: Mapped[float]


class Part(Base):
    """What the rows of one step add to a prediction's result, until that is whole.

    ``position`` 0 is the file's text or bytes, each later one a column's tensor.
    """

    __tablename__ = "parts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)


class EpochMetrics(Base):
    """What one completed epoch measured; a number that is not finite is null."""

    __tablename__ = "epoch_metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int]
    train: Mapped[dict[str, Any]]
    validation: Mapped[dict[str, Any] | None] = mapped_column(Json)
    learning_rate: Mapped[float | None]
    seconds: Mapped[float | None]
    samples_per_s: Mapped[float | None]
    at: Mapped[float]


class Checkpoint(Base):
    """A kept checkpoint: the best by loss, and the last two."""

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int]
    attempt: Mapped[int]
    loss: Mapped[float | None]
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    bytes: Mapped[int]
    at: Mapped[float]


class Model(Base):
    """A trained network: its bundle, and what a reader wants to know without opening it."""

    __tablename__ = "models"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    tenant_id: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="SET NULL"), unique=True
    )
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    recipe: Mapped[dict[str, Any] | None] = mapped_column(Json)
    metrics: Mapped[dict[str, Any] | None] = mapped_column(Json)
    evaluation: Mapped[dict[str, Any] | None] = mapped_column(Json, deferred=True)
    fingerprint: Mapped[str]
    weights_sha256: Mapped[str]
    bundle: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    bytes: Mapped[int]
    created_at: Mapped[float]
