"""``/v1/uploads``: a file in parts, each of which stays whatever fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request, url_for

from service.actions import uploads
from service.actions.requests import UploadRequest
from service.api.context import parts, tenant
from service.api.dataset_documents import DatasetView, PartView, UploadView
from service.api.datasets import uploaded
from service.api.examples import UPLOAD
from service.api.idempotency import Once, deleted
from service.api.schemas import Blueprint
from service.api.uploads import spooled_part
from service.api.views import timestamp

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.api.idempotency import Shown
    from service.store.tables import Upload

__all__ = ["bp"]

bp = Blueprint("uploads", __name__, url_prefix="/v1/uploads", tag="Uploads")


@bp.post("")
@bp.input(UploadRequest, arg_name="document", example=UPLOAD)
@bp.output(UploadView, 201)
@bp.doc(
    responses={
        200: "An upload of the same bytes goes on: what is there need not be sent again",
        413: "The file would be larger than the service takes",
    }
)
def create_upload(document: UploadRequest) -> Any:
    """Begin to upload a file in parts.

    Send each part of part_bytes (the last one: what is left), in any order, and then complete. With
    sha256 an upload of the same bytes is gone on with; one whose bytes are a dataset already has
    its dataset_id at once. What nobody goes on with is removed after a day.
    """
    who, once = tenant(), Once(_begun)
    limit = parts().settings.max_upload_bytes
    parts().database.transact(once(lambda uow: uploads.begin(uow, who, document, limit)))
    return once.response


@bp.get("/<upl:upload_id>")
@bp.output(UploadView)
def read_upload(upload_id: str) -> Any:
    """Read an upload: which parts are there, and the dataset once it is complete."""
    with parts().database.read() as session:
        return upload_view(session, uploads.get(session, tenant(), upload_id))


@bp.put("/<upl:upload_id>/parts/<step:number>")
@bp.output(PartView, 201)
@bp.doc(
    responses={
        200: "The same bytes are there already",
        409: "Other bytes are there, or the upload is complete",
    }
)
def put_part(upload_id: str, number: int) -> Any:
    """Send a part, numbered from 1.

    The same part again changes nothing. With Content-Digest (or Repr-Digest) it is also checked;
    Content-Encoding: gzip is unpacked.
    """
    with spooled_part(request, parts().settings) as path:
        part, new = uploads.put(parts().database, tenant(), upload_id, number, path)
    return PartView(number=part.number, bytes=part.bytes, sha256=part.blob), 201 if new else 200


@bp.post("/<upl:upload_id>/complete")
@bp.output(DatasetView, 201)
@bp.doc(
    responses={
        200: "The same bytes are there already: the dataset that they made",
        202: "It is large: a job parses it, and the dataset is ready once that has succeeded",
        409: "Parts are missing",
    }
)
def complete_upload(upload_id: str) -> Any:
    """Make a dataset of an upload whose parts are all there, as if its file had come at once."""
    once = Once(uploaded)
    uploads.complete(parts().intake, tenant(), upload_id, once)
    return once.response


@bp.delete("/<upl:upload_id>")
@bp.output({}, 204)
def delete_upload(upload_id: str) -> Any:
    """Give an upload up.  A dataset that it has made stays."""
    who, once = tenant(), Once(deleted)
    parts().database.transact(once(lambda uow: uploads.delete(uow, who, upload_id)))
    return once.response


def upload_view(session: Session, upload: Upload) -> UploadView:
    """Return what the API tells of an upload."""
    place = url_for("uploads.read_upload", upload_id=upload.id)
    there = uploads.parts(session, upload)
    links = {"self": place, "complete": f"{place}/complete"}
    if upload.dataset_id is not None:
        links["dataset"] = url_for("datasets.read_dataset", dataset_id=upload.dataset_id)
    return UploadView(
        id=upload.id,
        name=upload.name,
        format=upload.format,
        types=uploads.types_of(upload),
        bytes=upload.bytes,
        sha256=upload.sha256,
        part_bytes=upload.part_bytes,
        parts=[PartView(number=p.number, bytes=p.bytes, sha256=p.blob) for p in there],
        dataset_id=upload.dataset_id,
        created_at=timestamp(upload.created_at) or "",
        expires_at=timestamp(upload.used_at + uploads.KEPT_S) or "",
        links=links,
    )


def _begun(session: Session, begun: tuple[Upload, bool]) -> Shown:
    upload, new = begun
    view = upload_view(session, upload)
    return view, 201 if new else 200, {"Location": view.links["self"]}
