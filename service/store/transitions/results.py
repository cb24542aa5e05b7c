"""What a prediction leaves behind: parts of a result, and at last the dataset that they make."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, and_, delete, select, update

from service.errors import NotFoundError
from service.ids import new_id
from service.store import blobs
from service.store.tables import Dataset, Job, Part
from service.store.transitions.guards import Fence, Signals, leave
from service.store.transitions.progress import Unit, advance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

    from service.store.blobs import StagedBlob

__all__ = [
    "NewDataset",
    "canonical",
    "commit_part",
    "deliver",
    "find_dataset",
    "store_dataset",
]


@dataclass(frozen=True)
class NewDataset:
    """A dataset to store: its file, its tensors, and what is known of them, once it is parsed."""

    content: StagedBlob
    prepared: StagedBlob | None
    name: str
    format: str
    rows: int | None
    schema: dict[str, Any] | None
    types: str = "{}"  # as ``canonical`` writes them
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
    known = find_dataset(session, tenant, dataset.content.sha256, dataset.format)
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
    mine = Part.job_id == job_id
    parts = session.scalars(select(Part.blob).where(mine).distinct()).all()
    session.execute(delete(Part).where(mine))
    for blob in parts:
        blobs.discard(session, blob)
    return True


def store_dataset(session: Session, tenant: str, new: NewDataset) -> tuple[Dataset, bool]:
    """Insert the row, unless somebody (this very call, perhaps) has stored the same bytes.

    One that could not be parsed becomes what ``new`` is: ready, or about to be parsed again.
    Returns: the dataset, and whether this call has made it what it is.
    """
    known = find_dataset(session, tenant, new.content.sha256, new.format, new.types)
    if known is not None and known.state != "failed":
        return known, known.id == new.id
    blobs.attach(session, new.content)
    if new.prepared is not None:
        blobs.attach(session, new.prepared)
    parsed = {
        "state": "parsing" if new.prepared is None else "ready",
        "rows": new.rows,
        "prepared": None if new.prepared is None else new.prepared.sha256,
        "schema": new.schema,
    }
    if known is not None:
        return _renew(session, known, parsed)
    row = Dataset(
        id=new.id,
        tenant_id=tenant,
        name=new.name,
        format=new.format,
        types=new.types,
        bytes=new.content.bytes,
        sha256=new.content.sha256,
        blob=new.content.sha256,
        created_at=time.time(),
        **parsed,
    )
    session.add(row)
    session.flush()
    return row, True


def _renew(session: Session, known: Dataset, parsed: dict[str, Any]) -> tuple[Dataset, bool]:
    """Take a failed dataset up again.  Raises: NotFoundError, if it is gone meanwhile."""
    failed = (Dataset.id == known.id, Dataset.state == "failed")
    renewed = update(Dataset).where(*failed).values(**parsed, error=None)
    result = session.execute(renewed.execution_options(synchronize_session=False))
    wanted = select(Dataset).where(Dataset.id == known.id)
    row = session.scalar(wanted.execution_options(populate_existing=True))
    if row is None:
        raise NotFoundError("dataset", known.id)
    return row, bool(cast("CursorResult[Any]", result).rowcount)


def find_dataset(
    session: Session,
    tenant: str,
    sha256: str,
    format: str,  # noqa: A002 as the API calls it
    types: str = "{}",
) -> Dataset | None:
    """Return the dataset that the same bytes made, read in the same way."""
    same = (
        Dataset.tenant_id == tenant,
        Dataset.sha256 == sha256,
        Dataset.format == format,
        Dataset.types == types,
    )
    return session.scalar(select(Dataset).where(*same))


def canonical(types: Mapping[str, str]) -> str:
    """Write the types of columns as JSON, the same ones as the same text."""
    return json.dumps(types, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
