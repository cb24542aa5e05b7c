"""``/v1/datasets``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request, url_for
from pydantic import Field

from chainrule.spec import Document, parse
from service.actions import datasets, previews
from service.actions.datasets import Upload
from service.actions.requests import ColumnName, GivenType  # noqa: TC001 pydantic reads them
from service.actions.uploads import types_of
from service.api import strict_json
from service.api.context import parts, tenant
from service.api.dataset_documents import DatasetPage, DatasetView, PreviewView
from service.api.downloads import streamed
from service.api.idempotency import Once, deleted
from service.api.job_views import progress_view
from service.api.paging import PageQuery, page
from service.api.schemas import Blueprint, Query, content
from service.api.uploads import MEDIA_TYPES, spooled
from service.api.views import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Response
    from sqlalchemy.orm import Session

    from service.api.idempotency import Shown
    from service.store.tables import Dataset, Job

__all__ = ["bp", "dataset_views", "uploaded"]

bp = Blueprint("datasets", __name__, url_prefix="/v1/datasets", tag="Datasets")


BULKY = ("categories", "counts", "histogram")
SHOWN_CATEGORIES = 20


class UploadQuery(Query):
    """How to call the upload."""

    name: str = Field("dataset", min_length=1, max_length=200)
    types: str | None = Field(None, max_length=20_000)


class ParseQuery(Query):
    """How to read a file again; without ``types`` as before."""

    types: str | None = Field(None, max_length=20_000)


class PreviewQuery(Query):
    """How many rows to show."""

    rows: int = Field(10, ge=1, le=1000)


class Types(Document):
    """The types of columns, by their names."""

    types: dict[ColumnName, GivenType]


def _types(given: str | None) -> dict[str, str] | None:
    """Read the types of columns.  Raises: SpecError at ``types``."""
    if not given:
        return None
    return {**parse(Types, {"types": strict_json.loads(given)}).types}


@bp.post("")
@bp.input(UploadQuery, location="query", arg_name="query")
@bp.output(DatasetView, 201)
@bp.doc(
    responses={
        200: "The same bytes are there already: the dataset that they made",
        202: "It is large: a job parses it, and the dataset is ready once that has succeeded",
    }
)
def create_dataset(query: UploadQuery) -> Any:
    """Upload a dataset.

    The body is the raw file: CSV with a header line, NPZ, NPY, IDX (as MNIST has it), or JSON with
    "inputs" and "targets"; any of them may come packed, as Content-Encoding: gzip. What is over
    64 MiB (CHAINRULE_PARSE_INLINE_MIB) is parsed by a job: read the dataset until its state is no
    longer "parsing". One that has failed is parsed again when the same bytes come again.

    types, as {"zip": "categorical"}, says what columns are, in the place of what their values
    suggest; the same bytes with other types are another dataset.
    """
    p = parts()
    once = Once(uploaded)
    types = _types(query.types) or {}
    with spooled(request, p.settings) as body:
        upload = Upload(tenant(), query.name, body.format, types)
        datasets.create(p.intake, upload, body.path, body.sha256, once)
    return once.response


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="query")
@bp.output(DatasetPage)
def list_datasets(query: PageQuery) -> Any:
    """List the datasets, newest first."""
    with parts().database.read() as session:
        found = datasets.list_page(session, tenant(), limit=query.limit, cursor=query.cursor)
        views = dataset_views(session, found.items, full=False)
    return page(DatasetPage, views, found.next)


@bp.get("/<ds:dataset_id>")
@bp.output(DatasetView)
def read_dataset(dataset_id: str) -> Any:
    """Read a dataset."""
    with parts().database.read() as session:
        return dataset_views(session, [datasets.get(session, tenant(), dataset_id)])[0]


@bp.get("/<ds:dataset_id>/preview")
@bp.input(PreviewQuery, location="query", arg_name="query")
@bp.output(PreviewView)
@bp.doc(responses={409: "It is being parsed, or could not be"})
def preview_dataset(dataset_id: str, query: PreviewQuery) -> Any:
    """Show the first rows of a dataset, as they were read.

    A table's are objects, without columns of free text; missing values are null. Of arrays there
    are as many rows as make 200,000 values.
    """
    with parts().database.read() as session:
        dataset = datasets.ready(session, tenant(), dataset_id)
        if dataset.schema["kind"] == "table":
            return PreviewView(rows=previews.table(session, dataset, query.rows))
        return PreviewView(arrays=previews.arrays(session, dataset, query.rows))


@bp.post("/<ds:dataset_id>/parse")
@bp.input(ParseQuery, location="query", arg_name="query")
@bp.output(DatasetView, 201)
@bp.doc(
    responses={
        200: "It is parsed so already, or is being",
        202: "It is large: a job parses it, and the dataset is ready once that has succeeded",
    }
)
def parse_dataset(dataset_id: str, query: ParseQuery) -> Any:
    """Parse the file of a dataset again: one that has failed, or with other types of its columns.

    With other types it is another dataset, and this one stays; all else is as for an upload.
    """
    p, once = parts(), Once(uploaded)
    types = _types(query.types)
    datasets.parse_again(p.intake, tenant(), dataset_id, types, once)
    return once.response


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


def uploaded(session: Session, stored: tuple[Dataset, bool]) -> Shown:
    """Answer with the dataset of an upload: 201, or 200 if it was there, or 202 as for a job."""
    dataset, fresh = stored
    (view,) = dataset_views(session, [dataset])
    headers = {"Location": view.links["self"]}
    if dataset.state != "parsing":
        return view, 201 if fresh else 200, headers
    return view, 202 if fresh else 200, headers | {"Retry-After": "1"}


def dataset_views(
    session: Session, rows: Sequence[Dataset], *, full: bool = True
) -> list[DatasetView]:
    """Return what the API tells of datasets; unless ``full``, without histograms and counts."""
    jobs = datasets.parsing_jobs(session, rows)
    return [_view(row, jobs.get(row.id), full=full) for row in rows]


def _view(dataset: Dataset, job: Job | None, *, full: bool) -> DatasetView:
    place = url_for("datasets.read_dataset", dataset_id=dataset.id)
    links = {
        "self": place,
        "content": f"{place}/content",
        "parse": f"{place}/parse",
        "preview": f"{place}/preview",
    }
    more: dict[str, Any] = {"warnings": []}
    if dataset.state == "ready":
        schema = dataset.schema
        more = {"warnings": schema["warnings"]}
        if schema["kind"] == "table":
            more["columns"] = [_column(column, full=full) for column in schema["columns"]]
        else:
            more["arrays"] = schema["arrays"]
    if dataset.error is not None:
        more["error"] = dataset.error
    if job is not None:
        more["job_id"] = job.id
        links["job"] = url_for("jobs.read_job", job_id=job.id)
        if dataset.state == "parsing":
            more["progress"] = progress_view(job)
    return DatasetView(
        id=dataset.id,
        name=dataset.name,
        format=dataset.format,
        types=types_of(dataset),
        state=dataset.state,
        rows=dataset.rows,
        bytes=dataset.bytes,
        sha256=dataset.sha256,
        created_at=timestamp(dataset.created_at) or "",
        links=links,
        **more,
    )


def _column(column: dict[str, Any], *, full: bool) -> dict[str, Any]:
    """Return what is told of a column: of its categories the commonest alone."""
    shown = {name: value for name, value in column.items() if name not in BULKY}
    if full and "histogram" in column:
        shown["histogram"] = column["histogram"]
    if full and "counts" in column:
        pairs = zip(column["categories"], column["counts"], strict=True)
        shown["counts"] = dict(sorted(pairs, key=lambda pair: -pair[1])[:SHOWN_CATEGORIES])
    return shown
