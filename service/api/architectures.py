"""``/v1/architectures``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import url_for

from chainrule.spec import ArchitectureSpec, parse, summarize
from service.actions import architectures
from service.api.context import parts, tenant
from service.api.examples import ARCHITECTURE
from service.api.idempotency import Once, deleted
from service.api.paging import PageQuery, page
from service.api.schemas import Blueprint, ValidateQuery
from service.api.views import ArchitecturePage, ArchitectureView, timestamp

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.api.idempotency import Shown
    from service.store.tables import Architecture

__all__ = ["bp"]

bp = Blueprint("architectures", __name__, url_prefix="/v1/architectures", tag="Architectures")


@bp.post("")
@bp.input(ArchitectureSpec, arg_name="document", example=ARCHITECTURE)
@bp.input(ValidateQuery, location="query", arg_name="query")
@bp.output(ArchitectureView, 201)
@bp.doc(responses={200: "It adds up; with validate_only nothing was stored"})
def create_architecture(document: ArchitectureSpec, query: ValidateQuery) -> Any:
    """Store an architecture, once its shapes add up."""
    if query.validate_only:
        architectures.check(document)
        return architecture_view(document.render()), 200
    who, once = tenant(), Once(_created)
    parts().database.transact(once(lambda uow: architectures.create(uow, who, document)))
    return once.response


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="query")
@bp.output(ArchitecturePage)
def list_architectures(query: PageQuery) -> Any:
    """List the architectures, newest first."""
    with parts().database.read() as session:
        found = architectures.list_page(session, tenant(), limit=query.limit, cursor=query.cursor)
    views = (architecture_view(row.spec, row) for row in found.items)
    return page(ArchitecturePage, views, found.next)


@bp.get("/<arch:architecture_id>")
@bp.output(ArchitectureView)
def read_architecture(architecture_id: str) -> Any:
    """Read an architecture."""
    with parts().database.read() as session:
        row = architectures.get(session, tenant(), architecture_id)
    return architecture_view(row.spec, row)


@bp.delete("/<arch:architecture_id>")
@bp.output({}, 204)
@bp.doc(responses={409: "A job that has not ended uses it"})
def delete_architecture(architecture_id: str) -> Any:
    """Delete an architecture.  Jobs have their own copies of it."""
    who, once = tenant(), Once(deleted)
    parts().database.transact(once(lambda uow: architectures.delete(uow, who, architecture_id)))
    return once.response


def _created(_session: Session, row: Architecture) -> Shown:
    view = architecture_view(row.spec, row)
    return view, 201, {"Location": view.links["self"]}


def architecture_view(spec: dict[str, Any], row: Architecture | None = None) -> ArchitectureView:
    """Return an architecture, stored or not, with what it costs.

    Raises: SpecError, at the layer that does not fit.
    """
    parsed = parse(ArchitectureSpec, spec)
    place = url_for("architectures.read_architecture", architecture_id=row.id) if row else None
    return ArchitectureView(
        id=row.id if row else None,
        name=parsed.name,
        spec=spec,
        summary=summarize(parsed) if parsed.has_inputs else None,
        created_at=timestamp(row.created_at) if row else None,
        links={"self": place} if place else {},
    )
