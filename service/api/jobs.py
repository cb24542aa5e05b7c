"""``/v1/jobs``."""

from __future__ import annotations

from typing import Any, Literal

from flask import Response, request
from pydantic import Field

from service.actions import jobs
from service.actions.requests import JobRequest
from service.api.context import parts, tenant
from service.api.downloads import attachment, not_modified, rendered, tagged
from service.api.examples import JOB
from service.api.job_views import (
    checkpoint_view,
    epoch_view,
    epochs_csv,
    job_item,
    job_tag,
    job_view,
    plan_view,
    thinned,
)
from service.api.paging import PageQuery, page
from service.api.schemas import Blueprint, Query, ValidateQuery, content
from service.api.views import (
    CertificateView,
    CheckpointsView,
    JobPage,
    JobView,
    MetricsView,
    PlanView,
)

__all__ = ["bp"]

bp = Blueprint("jobs", __name__, url_prefix="/v1/jobs", tag="Jobs")


class JobsQuery(PageQuery):
    """Which jobs to list."""

    state: Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"] | None = None
    name: str | None = Field(None, max_length=200)
    dataset_id: str | None = Field(None, max_length=100)


class MetricsQuery(Query):
    """How many epochs to return at most: the first, the last, and evenly many between them."""

    max_points: int | None = Field(None, ge=2, le=100_000)


@bp.post("")
@bp.input(JobRequest, arg_name="document", example=JOB)
@bp.input(ValidateQuery, location="query", arg_name="query")
@bp.output(JobView, 202)
@bp.doc(responses={200: "It adds up; with validate_only nothing was stored"})
def create_job(document: JobRequest, query: ValidateQuery) -> Any:
    """Queue a training job.

    With validate_only nothing is stored: 200 with the config, every default rendered, and what the
    job would take.
    """
    p = parts()
    if query.validate_only:
        return plan_job(document), 200
    job = jobs.submit(p.database, p.bell, p.settings, tenant=tenant(), request=document)
    with p.database.read() as session:
        view = job_view(session, job)
    return view, 202, {"Location": view.links["self"], "Retry-After": "1"}


def plan_job(document: JobRequest) -> PlanView:
    """Return what a job would be."""
    with parts().database.read() as session:
        return plan_view(jobs.plan(session, tenant(), document, parts().settings))


@bp.get("")
@bp.input(JobsQuery, location="query", arg_name="query")
@bp.output(JobPage)
def list_jobs(query: JobsQuery) -> Any:
    """List the jobs, newest first, in whatever state or in one."""
    with parts().database.read() as session:
        found = jobs.list_page(session, tenant(), **query.model_dump())
    return page(JobPage, map(job_item, found.items), found.next)


@bp.get("/<job:job_id>")
@bp.output(JobView)
@bp.doc(responses={304: "It is as If-None-Match says"})
def read_job(job_id: str) -> Any:
    """Read a job.  As long as it is unchanged, reading it again costs one row."""
    p, who = parts(), tenant()
    tag = job_tag(jobs.current_version(p.database, who, job_id))
    if answer := not_modified(tag):
        return answer
    body = p.bodies.find(tag)
    if body is None:
        with p.database.read() as session:  # the job may have moved on: the tag of this snapshot
            tag = job_tag(jobs.version(session, who, job_id))
            body = rendered(job_view(session, jobs.get(session, who, job_id)))
        p.bodies.keep(tag, body, len(body))
    return tagged(body, tag)


@bp.post("/<job:job_id>/cancel")
@bp.output(JobView)
@bp.doc(responses={409: "It has ended otherwise"})
def cancel_job(job_id: str) -> Any:
    """Stop a job: at once if it waits, else at its next step.  Its last checkpoint is kept."""
    who = tenant()
    job = parts().database.transact(lambda uow: jobs.cancel(uow, who, job_id))
    with parts().database.read() as session:
        return job_view(session, job)


@bp.get("/<job:job_id>/metrics")
@bp.input(MetricsQuery, location="query", arg_name="query")
@bp.output(MetricsView)
@bp.doc(responses=content("The epochs, oldest first", "text/csv"))
def read_metrics(job_id: str, query: MetricsQuery) -> Any:
    """Read what each epoch measured, as JSON or (Accept: text/csv) as a table."""
    with parts().database.read() as session:
        job = jobs.get(session, tenant(), job_id)
        epochs = [
            epoch_view(row) for row in thinned(jobs.metrics(session, job.id), query.max_points)
        ]
    if request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv":
        return Response(epochs_csv(epochs), mimetype="text/csv")
    return MetricsView(items=epochs)


@bp.get("/<job:job_id>/certificate")
@bp.output(CertificateView)
def read_certificate(job_id: str) -> Any:
    """Read how the job's gradients compare with central differences, layer by layer.

    The check is made as the job begins: before that there is none (404).
    """
    with parts().database.read() as session:
        return CertificateView(**jobs.certificate(session, tenant(), job_id))


@bp.get("/<job:job_id>/checkpoints")
@bp.output(CheckpointsView)
def list_checkpoints(job_id: str) -> Any:
    """List the checkpoints that are kept: the best, the last two, or that of step 0."""
    with parts().database.read() as session:
        job = jobs.get(session, tenant(), job_id)
        return CheckpointsView(
            items=[checkpoint_view(c) for c in jobs.checkpoints(session, job.id)]
        )


@bp.get("/<job:job_id>/checkpoints/<step:step>/download")
@bp.doc(responses=content("A safetensors file", "application/octet-stream"))
def download_checkpoint(job_id: str, step: int) -> Response:
    """Download a checkpoint: parameters, optimizer slots and where the training was."""
    with parts().database.read() as session:
        job = jobs.get(session, tenant(), job_id)
        data = jobs.checkpoint_bytes(session, job.id, step)
    name = f"{job_id}-step-{step}.safetensors"
    return attachment(data, name=name, media_type="application/octet-stream")
