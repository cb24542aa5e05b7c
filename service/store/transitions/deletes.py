"""Deletes (T12): what no live job needs.  Bytes that nothing refers to are collected later.

Each locks its row first: on PostgreSQL a job that refers to it may be about to be committed, and
the guard, a statement of its own, then sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import and_, delete, exists, literal, select, true

from service.errors import ConflictError
from service.store.tables import FINAL, Architecture, Dataset, Job, Model

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, CursorResult
    from sqlalchemy.orm import Session

    from service.store.tables import Base

    Guard = ColumnElement[bool]

__all__ = ["delete_architecture", "delete_dataset", "delete_job", "delete_model"]


def delete_job(session: Session, job_id: str, tenant: str) -> bool:
    """Delete a job that has ended: its history, metrics and checkpoints go, its model stays.

    Returns: whether there was one.  Raises: ConflictError, if it has not ended.
    """
    owned = and_(Job.id == job_id, Job.tenant_id == tenant)
    unless = f"{job_id} has not ended: cancel it first"
    return _delete(session, Job, owned, Job.state.in_(FINAL), unless)


def delete_dataset(session: Session, dataset_id: str, tenant: str) -> bool:
    """Delete a dataset.

    Returns: whether there was one.  Raises: ConflictError, if a live job needs it.
    """
    owned = and_(Dataset.id == dataset_id, Dataset.tenant_id == tenant)
    unless = f"a job that has not ended needs {dataset_id}"
    return _delete(session, Dataset, owned, ~_live(Job.dataset_id == dataset_id), unless)


def delete_architecture(session: Session, architecture_id: str, tenant: str) -> bool:
    """Delete an architecture.

    Returns: whether there was one.  Raises: ConflictError, if a live job uses it.
    """
    owned = and_(Architecture.id == architecture_id, Architecture.tenant_id == tenant)
    unless = f"a job that has not ended uses {architecture_id}"
    free = ~_live(Job.architecture_id == architecture_id)
    return _delete(session, Architecture, owned, free, unless)


def delete_model(session: Session, model_id: str, tenant: str) -> bool:
    """Delete a model; jobs that predict with it, or begin with it, have pinned its bytes.

    Returns: whether there was one.
    """
    owned = and_(Model.id == model_id, Model.tenant_id == tenant)
    return _delete(session, Model, owned, true(), "")


def _delete(session: Session, table: type[Base], owned: Guard, guard: Guard, unless: str) -> bool:
    if session.execute(select(literal(1)).where(owned).with_for_update(of=table)).first() is None:
        return False
    statement = delete(table).where(owned, guard).execution_options(synchronize_session=False)
    if not cast("CursorResult[Any]", session.execute(statement)).rowcount:
        raise ConflictError(unless)
    return True


def _live(uses: Guard) -> Guard:
    return exists().where(uses, Job.state.not_in(FINAL))
