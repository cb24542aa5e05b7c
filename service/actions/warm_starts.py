"""Whose weights a job begins with: found as it is planned, and kept for as long as it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from chainrule.errors import SpecError
from chainrule.spec import ArchitectureSpec, parse
from chainrule.warmstart import receipt, tensor_shapes
from service.store.tables import Checkpoint, Job, Model, WarmStart

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from chainrule.spec import WarmStartSpec

__all__ = ["Source", "find", "resolve"]

COPIES = 4  # of the source in the trainer's memory: its bytes, its parts, its tensors, its network


@dataclass(frozen=True)
class Source:
    """The weights to begin with.  ``spec`` names them, whatever the request left open.

    ``blob`` is the bundle of a model, or a checkpoint of a network of this ``architecture``.
    """

    spec: WarmStartSpec
    blob: str
    bytes: int
    architecture: dict[str, Any] | None
    receipt: dict[str, Any]

    @property
    def memory_bytes(self) -> int:
        """What the trainer needs to read it."""
        return COPIES * self.bytes

    def row(self, job_id: str) -> WarmStart:
        """Return what the job keeps of it."""
        return WarmStart(
            job_id=job_id, blob=self.blob, architecture=self.architecture, receipt=self.receipt
        )


def resolve(
    session: Session, tenant: str, wanted: WarmStartSpec, network: ArchitectureSpec
) -> Source:
    """Find the weights, and say which of them the network takes over.

    Raises: SpecError, at ``model_id``, ``job_id`` or ``step``, if this tenant has no such thing;
    at the whole, if nothing matches.
    """
    if wanted.model_id is not None:
        return _of_model(session, tenant, wanted, network)
    return _of_checkpoint(session, tenant, wanted, network)


def find(session: Session, job_id: str) -> WarmStart | None:
    """Return what a job began with; None: the weights of its seed."""
    return session.get(WarmStart, job_id)


def _of_model(
    session: Session, tenant: str, wanted: WarmStartSpec, network: ArchitectureSpec
) -> Source:
    owned = (Model.id == wanted.model_id, Model.tenant_id == tenant)
    model = session.scalar(select(Model).where(*owned))
    if model is None:
        raise SpecError.at("model_id", f"no model {wanted.model_id}")
    found = _receipt(network, model.spec)
    return Source(wanted, model.bundle, model.bytes, None, found)


def _of_checkpoint(
    session: Session, tenant: str, wanted: WarmStartSpec, network: ArchitectureSpec
) -> Source:
    owned = (Job.id == wanted.job_id, Job.tenant_id == tenant)
    config = session.scalar(select(Job.config).where(*owned))
    if config is None:
        raise SpecError.at("job_id", f"no job {wanted.job_id}")
    rows = select(Checkpoint).where(Checkpoint.job_id == wanted.job_id)
    kept = {row.step: row for row in session.scalars(rows.order_by(Checkpoint.step))}
    if not kept:
        raise SpecError.at("job_id", f"job {wanted.job_id} has no checkpoint")
    step = max(kept) if wanted.step is None else wanted.step
    if step not in kept:
        has = ", ".join(map(str, kept))
        raise SpecError.at("step", f"job {wanted.job_id} has checkpoints of {has}, not of {step}")
    found, architecture = kept[step], config["architecture"]
    return Source(
        wanted.model_copy(update={"step": step}),
        found.blob,
        found.bytes,
        architecture,
        _receipt(network, architecture),
    )


def _receipt(network: ArchitectureSpec, source: Any) -> dict[str, Any]:
    there = parse(ArchitectureSpec, source)
    return receipt(tensor_shapes(network), tensor_shapes(there)).to_json()
