"""``/v1/datasets``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request, url_for
from pydantic import Field

from service.actions import datasets
from service.api.context import parts, tenant
from service.api.downloads import streamed
from service.api.idempotency import Once, deleted
from service.api.paging import PageQuery, page
from service.api.schemas import Blueprint, Query, content
from service.api.uploads import MEDIA_TYPES, spooled
from service.api.views import DatasetPage, DatasetView, timestamp

if TYPE_CHECKING:
    from flask import Response
    from sqlalchemy.orm import Session

    from service.api.idempotency import Shown
    from service.store.tables import Dataset

__all__ = ["bp"]

bp = Blueprint("datasets", __name__, url_prefix="/v1/datasets", tag="Datasets")


class UploadQuery(Query):
    """How to call the upload."""

    name: str = Field("dataset", min_length=1, max_length=200)


@bp.post("")
@bp.input(UploadQuery, location="query", arg_name="query")
@bp.output(DatasetView, 201)
@bp.doc(responses={200: "The same bytes are there already: the dataset that they made"})
def create_dataset(query: UploadQuery) -> Any:
    """Upload a dataset.

    The body is the raw file: CSV with a header line, NPZ, NPY, IDX (as MNIST has it), or JSON with
    "inputs" and "targets".
    """
    p = parts()
    once = Once(_uploaded)
    with spooled(request, p.settings.data_dir) as (path, format_):
        datasets.create(
            p.database,
            p.parser,
            tenant=tenant(),
            name=query.name,
            format=format_,
            path=path,
            once=once,
        )
    return once.response


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="query")
@bp.output(DatasetPage)
def list_datasets(query: PageQuery) -> Any:
    """List the datasets, newest first."""
    with parts().database.read() as session:
        found = datasets.list_page(session, tenant(), limit=query.limit, cursor=query.cursor)
    return page(DatasetPage, map(dataset_view, found.items), found.next)


@bp.get("/<ds:dataset_id>")
@bp.output(DatasetView)
def read_dataset(dataset_id: str) -> Any:
    """Read a dataset."""
    with parts().database.read() as session:
        return dataset_view(datasets.get(session, tenant(), dataset_id))


@bp.delete("/<ds:dataset_id>")
@bp.output({}, 204)
@bp.doc(responses={409: "A job that has not ended needs it"})
def delete_dataset(dataset_id: str) -> Any:
    """Delete a dataset.  Models that were trained on it stay."""
    who, once = tenant(), Once(deleted)
    parts().database.transact(once(lambda uow: datasets.delete(uow, who, dataset_id)))
    return once.response


@bp.get("/<ds:dataset_id>/content")
@bp.doc(responses=content("The bytes as uploaded", *MEDIA_TYPES.values()))
def read_content(dataset_id: str) -> Response:
    """Download a dataset, byte for byte as it was uploaded, whole or a range of it."""
    database = parts().database
    with database.read() as session:
        dataset = datasets.get(session, tenant(), dataset_id)
    return streamed(
        datasets.content(database, dataset),
        size=dataset.bytes,
        sha256=dataset.sha256,
        name=f"{dataset.id}.{dataset.format}",
        media_type=MEDIA_TYPES[dataset.format],
    )


def _uploaded(_session: Session, stored: tuple[Dataset, bool]) -> Shown:
    dataset, created = stored
    view = dataset_view(dataset)
    return view, 201 if created else 200, {"Location": view.links["self"]}


def dataset_view(dataset: Dataset) -> DatasetView:
    """Return what the API tells of a dataset: all but the categories of its columns."""
    schema = dataset.schema
    kind = "columns" if schema["kind"] == "table" else "arrays"
    place = url_for("datasets.read_dataset", dataset_id=dataset.id)
    return DatasetView(
        id=dataset.id,
        name=dataset.name,
        format=dataset.format,
        state=dataset.state,
        rows=dataset.rows,
        bytes=dataset.bytes,
        sha256=dataset.sha256,
        warnings=schema["warnings"],
        created_at=timestamp(dataset.created_at) or "",
        links={"self": place, "content": f"{place}/content"},
        **{kind: schema[kind]},
    )
