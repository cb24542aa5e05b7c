"""What APIFlask cannot know of the OpenAPI document: keys, problems, raw bodies."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from service.api import idempotency
from service.api.problems import PROBLEM
from service.api.uploads import FORMATS, PART
from service.ids import ID_PATTERNS

if TYPE_CHECKING:
    from apiflask import APIFlask

__all__ = ["install"]

PUBLIC = ("/healthz", "/readyz")
DESCRIPTION = """\
Trains neural networks by backpropagation: upload a dataset, submit a job, poll it, download the
model or let the service predict.  Every error is an RFC 9457 problem document that names the place.
"""
NAMED = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": False,
    "description": (
        "A name of your choice for this request. Sent again within a day, it has no other effect, "
        f"and is answered as it was, with {idempotency.REPLAYED}: true."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
ID_OF = {"dataset": "ds", "architecture": "arch", "job": "job", "model": "mdl", "upload": "upl"}
RAW = {
    ("/v1/datasets", "post"): (*FORMATS,),
    ("/v1/uploads/{upload_id}/parts/{number}", "put"): (PART,),
}


class Place(BaseModel):
    """One complaint about a request."""

    pointer: str
    detail: str


class ProblemView(BaseModel):
    """Why a request did not succeed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Place]
    request_id: str


def install(app: APIFlask) -> None:
    """Describe the service, and complete the document once APIFlask has collected the routes."""
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_OPERATION_ID=True,
        AUTO_SERVERS=False,
        SERVERS=[{"url": "/"}],
        DESCRIPTION=DESCRIPTION,
        SECURITY_SCHEMES={"key": {"type": "http", "scheme": "bearer"}},
    )
    app.spec_processor(_complete)


def _complete(document: Any) -> Any:
    document["security"] = [{"key": []}]
    schemas = document["components"].setdefault("schemas", {})
    problem = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete_operation(path, method, operation)
    return document


def _complete_operation(path: str, method: str, operation: dict[str, Any]) -> None:
    if path in PUBLIC:
        operation["security"] = []
    if kinds := RAW.get((path, method)):
        raw = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(kinds, raw)}
    if method.upper() in idempotency.METHODS:
        operation["parameters"].append(NAMED)
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            parameter["required"] = True
            if kind := ID_OF.get(parameter["name"].removesuffix("_id")):
                parameter["schema"]["pattern"] = f"^{ID_PATTERNS[kind]}$"  # type: ignore[index]
    responses = operation["responses"]
    for status in _failures(path, operation):
        responses.setdefault(str(status), {"description": HTTPStatus(status).phrase})
    for status, response in responses.items():
        if status >= "400" and path != "/readyz":
            reference = {"$ref": "#/components/schemas/Problem"}
            response["content"] = {PROBLEM: {"schema": reference}}


def _failures(path: str, operation: dict[str, Any]) -> list[int]:
    """Return the failures that any operation of this form may answer with."""
    failures = [] if path in PUBLIC else [401, 503]
    if "{" in path:
        failures.append(404)
    if "requestBody" in operation:
        failures += [400, 413, 415, 422]
    if NAMED in operation["parameters"]:
        failures += [400, 409, 422, 507]
    if any(parameter["in"] == "query" for parameter in operation["parameters"]):
        failures.append(422)
    return failures
