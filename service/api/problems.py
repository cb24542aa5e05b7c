"""One table: which error gives which status.  Every answer that is not a success is made here."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from flask import Response, current_app, g
from werkzeug.exceptions import HTTPException

from chainrule.errors import ChainruleError, DataError, LocatedError, ShapeError, SpecError
from service.api.strict_json import JsonError
from service.errors import (
    AdmissionError,
    ConflictError,
    ExhaustedError,
    NotFoundError,
    ReusedKeyError,
    ServiceError,
    StorageFullError,
    TooLargeError,
    UnavailableError,
    UnreadyError,
    exhausted,
    no_space,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flask import Flask

__all__ = ["PROBLEM", "STATUS", "RequestError", "document", "install"]

PROBLEM = "application/problem+json"
MAX_PLACES = 50
RETRY_AFTER = {503: "1", 507: "10"}  # seconds
UNREADY_S = "1"
STATUS: dict[type[Exception], int] = {
    JsonError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    SpecError: 422,
    DataError: 422,
    ShapeError: 422,
    AdmissionError: 422,
    ReusedKeyError: 422,
    UnavailableError: 503,
    StorageFullError: 507,
}
# Where the error's own text is not for clients, or there is none.
DETAIL = {
    404: "There is nothing here.",
    500: "The service failed; the request id finds the reason in its log.",
    503: "The database cannot be reached; try again.",
}
log = structlog.get_logger()


class RequestError(Exception):
    """A request that no action ever sees: its key, its headers, its size or its type is wrong."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def document(
    status: int, detail: str, errors: Sequence[Mapping[str, str]] = (), request_id: str = ""
) -> dict[str, Any]:
    """Return a problem document (RFC 9457)."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": list(errors),
        "request_id": request_id,
    }


def install(app: Flask) -> None:
    """Answer every error with a problem document."""
    app.register_error_handler(RequestError, _request_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _error)


def _request_error(error: RequestError) -> Response:
    return _answer(error.status, str(error), headers=error.headers)


def _http_error(error: HTTPException) -> Response:
    """Answer what Flask and Werkzeug raise: no such route, method not allowed, too large."""
    status = error.code or 500
    headers = {
        name: value for name, value in error.get_headers() if name in ("Allow", "Content-Range")
    }
    return _answer(status, DETAIL.get(status) or error.description or "", headers=headers)


def _error(error: Exception) -> Response:
    if no_space(error):
        error = StorageFullError()
    elif exhausted(error):
        error = ExhaustedError()
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if status >= 500:
        log.error("failed", request_id=g.get("request_id"), exc_info=error)
    if isinstance(error, LocatedError):
        shown = error.problems[:MAX_PLACES]
        errors = [{"pointer": p.pointer, "detail": p.detail} for p in shown]
        return _answer(status, "; ".join(map(str, shown)), errors)
    ours = isinstance(error, ServiceError | ChainruleError | JsonError) and status != 500
    detail = str(error) if ours and str(error) else DETAIL.get(status, "")
    wait_s = UNREADY_S if isinstance(error, UnreadyError) else RETRY_AFTER.get(status)
    return _answer(status, detail, headers={"Retry-After": wait_s} if wait_s else {})


def _answer(
    status: int,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = document(status, detail, errors, g.get("request_id", ""))
    return Response(current_app.json.dumps(body), status, headers, mimetype=PROBLEM)
