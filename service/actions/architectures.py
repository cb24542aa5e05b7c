"""Architectures: stored once, used by any number of jobs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from chainrule.spec import check_wiring, nodes
from service.actions.paging import Page, newest
from service.errors import NotFoundError
from service.ids import new_id
from service.store import transitions
from service.store.tables import Architecture

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from chainrule.spec import ArchitectureSpec
    from service.store.database import UnitOfWork

__all__ = ["check", "create", "delete", "get", "list_page"]


def create(uow: UnitOfWork, tenant: str, spec: ArchitectureSpec) -> Architecture:
    """Store an architecture.  Raises: SpecError, if its shapes are known and do not add up."""
    check(spec)
    architecture_id = uow.keep("architecture", lambda: new_id("arch"))
    stored = uow.session.scalar(select(Architecture).where(Architecture.id == architecture_id))
    if stored is not None:  # the answer to an earlier COMMIT was lost
        return stored
    row = Architecture(
        id=architecture_id,
        tenant_id=tenant,
        name=spec.name,
        spec=spec.render(),
        created_at=time.time(),
    )
    uow.session.add(row)
    uow.session.flush()
    return row


def check(spec: ArchitectureSpec) -> None:
    """Raise SpecError, if an architecture does not add up, as far as that is known without data."""
    if spec.has_inputs:
        nodes(spec)
    else:
        check_wiring(spec)


def get(session: Session, tenant: str, architecture_id: str) -> Architecture:
    """Return one.  Raises: NotFoundError."""
    owned = (Architecture.id == architecture_id, Architecture.tenant_id == tenant)
    row = session.scalar(select(Architecture).where(*owned))
    if row is None:
        raise NotFoundError("architecture", architecture_id)
    return row


def delete(uow: UnitOfWork, tenant: str, architecture_id: str) -> None:
    """Delete one (T12).  Raises: NotFoundError; ConflictError, if a live job uses it."""
    if not uow.once(transitions.delete_architecture(uow.session, architecture_id, tenant)):
        raise NotFoundError("architecture", architecture_id)


def list_page(
    session: Session, tenant: str, *, limit: int = 20, cursor: str | None = None
) -> Page[Architecture]:
    """Return a page, newest first."""
    return newest(session, Architecture, [Architecture.tenant_id == tenant], limit, cursor)
