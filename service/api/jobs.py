"""``/v1/jobs``."""

from __future__ import annotations

from typing import Any, Literal

from flask import Response, request
from pydantic import Field

from service.actions import jobs
from service.actions.requests import JobRequest
from service.api.context import parts, tenant
from service.api.downloads import attachment, not_modified, rendered, tagged
from service.api.evaluation_views import EvaluationView, evaluated
from service.api.examples import JOB
from service.api.idempotency import Once, deleted
from service.api.job_views import (
    asked,
    checkpoint_view,
    epoch_view,
    epochs_csv,
    job_item,
    job_tag,
    job_view,
    plan_view,
    queued,
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
from service.api.waiting import preferred_wait_s

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
    once = Once(queued)
    jobs.submit(p.database, p.bell, p.settings, tenant=tenant(), request=document, once=once)
    return once.response


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
    """Read a job.  As long as it is unchanged, reading it again costs one row.

    With Prefer: wait=30 the answer comes once the job has another state or epoch (with
    If-None-Match: than the answer of that tag), or after so many seconds as it is then.
    """
    response = _read(job_id) if (wait_s := preferred_wait_s()) is None else _awaited(job_id, wait_s)
    response.headers.add("Vary", "Prefer")
    return response


def _awaited(job_id: str, wait_s: float) -> Response:
    """Hold the answer back until the job moves on, or has ended anyhow."""
    p, who = parts(), tenant()
    tag = job_tag(jobs.current_version(p.database, who, job_id))
    placed = True
    if not request.if_none_match or request.if_none_match.contains(tag):
        first = jobs.watch(p.database, who, job_id)
        _, placed = p.waiting.until(
            lambda: jobs.watch(p.database, who, job_id),
            lambda seen: seen.final or seen.place != first.place,
            wait_s,
        )
    response = _read(job_id)
    response.headers["Preference-Applied"] = f"wait={wait_s}"
    if not placed:
        response.headers["Retry-After"] = p.waiting.retry_after
    return response


def _read(job_id: str) -> Response:
    """Answer with a job as it is now."""
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
    who, once = tenant(), Once(asked)
    parts().database.transact(once(lambda uow: jobs.cancel(uow, who, job_id)))
    return once.response


@bp.post("/<job:job_id>/pause")
@bp.output(JobView)
@bp.doc(responses={409: "It has ended, or is being cancelled"})
def pause_job(job_id: str) -> Any:
    """Hold back a job: at once if it waits, else at its next step.  Nothing of it is lost."""
    who, once = tenant(), Once(asked)
    parts().database.transact(once(lambda uow: jobs.pause(uow, who, job_id)))
    return once.response


@bp.post("/<job:job_id>/resume")
@bp.output(JobView)
@bp.doc(responses={409: "It has ended, or has not paused yet"})
def resume_job(job_id: str) -> Any:
    """Go on with a paused job, from its last step."""
    who, once, bell = tenant(), Once(asked), parts().bell
    parts().database.transact(once(lambda uow: jobs.resume(uow, bell, who, job_id)))
    return once.response


@bp.delete("/<job:job_id>")
@bp.output({}, 204)
@bp.doc(responses={409: "It has not ended"})
def delete_job(job_id: str) -> Any:
    """Delete a job that has ended, with its checkpoints.  Its model stays."""
    who, once = tenant(), Once(deleted)
    parts().database.transact(once(lambda uow: jobs.delete(uow, who, job_id)))
    return once.response


@bp.get("/<job:job_id>/metrics")
@bp.input(MetricsQuery, location="query", arg_name="query")
@bp.output(MetricsView)
@bp.doc(responses=content("The epochs, oldest first", "text/csv"))
def read_metrics(job_id: str, query: MetricsQuery) -> Any:
    """Read what each epoch measured, as JSON or (Accept: text/csv) as a table."""
    with parts().database.read() as session:
        job = jobs.get(session, tenant(), job_id)
        epochs = [
            epoch_view(job, row) for row in thinned(jobs.metrics(session, job.id), query.max_points)
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


@bp.get("/<job:job_id>/evaluation")
@bp.output(EvaluationView)
@bp.doc(responses={304: "It is as If-None-Match says"})
def read_evaluation(job_id: str) -> Any:
    """Read how well the job's network has learnt: metrics by part, class and slice, null models.

    It is made at the end of the training: before that there is none (404).
    """
    with parts().database.read() as session:
        found = jobs.evaluation(session, tenant(), job_id)
    return evaluated(found)


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
