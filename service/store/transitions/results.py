"""What a prediction leaves behind: parts of a result, and at last the dataset that they make."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, select

from service.ids import new_id
from service.store import blobs
from service.store.tables import Dataset, Job, Part
from service.store.transitions.guards import Fence, Signals, leave
from service.store.transitions.progress import Unit, advance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.store.blobs import StagedBlob

__all__ = ["NewDataset", "commit_part", "deliver", "store_dataset"]


@dataclass(frozen=True)
class NewDataset:
    """A dataset to store: its file, its tensors, and what is known of them."""

    content: StagedBlob
    prepared: StagedBlob
    name: str
    format: str
    rows: int
    schema: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("ds"))


def commit_part(  # noqa: PLR0913 one keyword for each fact of a unit
    session: Session,
    job_id: str,
    attempt: int,
    *,
    prev: int,
    step: int,
    streams: Sequence[StagedBlob],
) -> Signals | None:
    """T4: the rows after ``prev`` up to ``step`` are predicted; ``streams`` is what they add.

    None: the attempt is over and nothing was written.  Raises: as ``commit_unit``.
    """
    unit = Unit(job_id, attempt, prev, step, 0, None, streams[0], time.time())
    new, asked = advance(session, unit, {})
    if new:
        for staged in streams:
            blobs.attach(session, staged)
        rows = [
            {"job_id": job_id, "step": step, "position": position, "blob": staged.sha256}
            for position, staged in enumerate(streams)
        ]
        blobs.insert_new(session, Part, rows)
    return asked


def deliver(session: Session, job_id: str, attempt: int, dataset: NewDataset) -> bool:
    """T5, running -> succeeded: all rows are committed, and their parts are a dataset now.

    Returns: whether the job and its result are stored.  Raises: as ``commit_unit``.
    """
    tenant = str(session.scalar(select(Job.tenant_id).where(Job.id == job_id)))
    known = _same(session, tenant, dataset)
    complete = and_(Job.step == dataset.rows, Job.step == Job.steps)
    values = {
        Job.state: "succeeded",
        Job.ended_at: time.time(),
        Job.result: {"dataset_id": known.id if known else dataset.id},
        Job.error: None,
    }
    if leave(session, Fence(job_id, attempt, also=complete), values) is None:
        return False
    store_dataset(session, tenant, dataset)
    parts = session.scalars(select(Part.blob).where(Part.job_id == job_id).distinct()).all()
    session.execute(delete(Part).where(Part.job_id == job_id))
    for blob in parts:
        blobs.discard(session, blob)
    return True


def store_dataset(session: Session, tenant: str, new: NewDataset) -> Dataset:
    """Insert the row, unless somebody (this very call, perhaps) has stored the same bytes."""
    known = _same(session, tenant, new)
    if known is not None:
        return known
    blobs.attach(session, new.content)
    blobs.attach(session, new.prepared)
    row = Dataset(
        id=new.id,
        tenant_id=tenant,
        name=new.name,
        format=new.format,
        state="ready",
        rows=new.rows,
        bytes=new.content.bytes,
        sha256=new.content.sha256,
        blob=new.content.sha256,
        prepared=new.prepared.sha256,
        schema=new.schema,
        created_at=time.time(),
    )
    session.add(row)
    session.flush()
    return row


def _same(session: Session, tenant: str, new: NewDataset) -> Dataset | None:
    same = (
        Dataset.tenant_id == tenant,
        Dataset.sha256 == new.content.sha256,
        Dataset.format == new.format,
    )
    return session.scalar(select(Dataset).where(*same))
