"""What a job's history says of an attempt that goes on from where an earlier one was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from chainrule.fingerprint import fingerprint
from service.store.tables import JobEvent, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.store.transitions import CheckpointRef, Claim

__all__ = ["restored"]


def restored(
    session: Session, claim: Claim, kept: CheckpointRef | None, damaged: Sequence[CheckpointRef]
) -> dict[str, Any]:
    """Return the receipt of a resume.

    ``kept``: the checkpoint that is gone on from, if there is one; ``damaged``: the newer ones that
    could not be read. ``bit_exact``: all that has been learnt so far was learnt on machines like
    this one, so the bits are those of a run that nobody disturbed.
    """
    receipt: dict[str, Any] = {"step": claim.step}
    if claim.kind == "training":
        receipt["step"] = kept.step if kept else 0
        receipt["sha256"] = kept.blob if kept else None
        receipt["committed_by"] = kept.attempt if kept else None
    if damaged:
        receipt["passed_over"] = [{"step": one.step, "sha256": one.blob} for one in damaged]
        receipt["replays_to"] = claim.step
    receipt["bit_exact"] = _is_bit_exact(session, claim)
    return receipt


def _is_bit_exact(session: Session, claim: Claim) -> bool:
    """Say whether every attempt that has committed a unit was on the same numeric fingerprint."""
    learnt = select(Step.attempt).where(Step.job_id == claim.job_id)
    begun = select(JobEvent.detail).where(
        JobEvent.job_id == claim.job_id,
        JobEvent.from_state == "queued",
        JobEvent.to_state == "running",
        JobEvent.attempt.in_(learnt),
    )
    mine = fingerprint()
    return all(detail and detail.get("fingerprint") == mine for detail in session.scalars(begun))
