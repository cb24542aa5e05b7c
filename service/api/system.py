"""How the service is: ``/healthz``, ``/readyz``, ``/metrics`` and ``/v1/system``."""

from __future__ import annotations

from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict

from service.actions import counts, system
from service.api import prometheus
from service.api.context import parts
from service.api.schemas import Blueprint, content

__all__ = ["bp"]

bp = Blueprint("system", __name__, tag="System")


class HealthView(BaseModel):
    """That this process answers."""

    status: str


class ReadinessView(BaseModel):
    """``ok``, or why not.  Only without the database nothing works."""

    database: str
    broker: str
    worker: str


class SystemView(BaseModel):
    """What the service is made of.  ``kernels``: "native" and a kind of processor, or "numpy"."""

    model_config = ConfigDict(extra="allow")

    chainrule: str
    python: str
    database: str
    kernels: str
    fingerprint: str


@bp.get("/healthz")
@bp.output(HealthView)
def read_health() -> Any:
    """Tell that the process answers."""
    return HealthView(status="ok")


@bp.get("/readyz")
@bp.output(ReadinessView)
@bp.doc(responses={503: "The database does not answer"})
def read_readiness() -> Any:
    """Tell which parts of the service answer."""
    found = system.health(parts().database, parts().bell)
    return ReadinessView(**found), 200 if found["database"] == "ok" else 503


@bp.get("/v1/system")
@bp.output(SystemView)
def read_system() -> Any:
    """Tell the versions, the kernels in use and the numeric fingerprint."""
    return SystemView(**system.versions(parts().database))


@bp.get("/metrics")
@bp.doc(responses=content("Prometheus's text format", "text/plain"))
def read_numbers() -> Response:
    """Count jobs, queue, workers and stored bytes, for Prometheus."""
    with parts().database.read() as session:
        text = prometheus.exposition(counts.jobs(session), counts.totals(session))
    return Response(text, content_type=prometheus.CONTENT_TYPE)
