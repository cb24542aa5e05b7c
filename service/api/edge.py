"""What holds for every request: its id, its size, its answer's headers, its line in the log."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING

import structlog
from flask import g, request

from service import faults
from service.actions.uploads import PART_BYTES
from service.api.context import parts
from service.api.problems import RequestError

if TYPE_CHECKING:
    from flask import Flask, Response

__all__ = ["MAX_JSON_BYTES", "UPLOADS", "begin", "finish", "install_limits"]

MAX_JSON_BYTES = 2**20
MAX_PART_BYTES = PART_BYTES + 2**16  # packed, what cannot be packed is a little longer
UPLOADS = frozenset({"datasets.create_dataset"})  # whose bodies may be as large as a dataset
PARTS = frozenset({"uploads.put_part"})
GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PROBES = ("/healthz", "/readyz")
log = structlog.get_logger()


def begin() -> None:
    """Name the request: by its proxy's ``X-Request-Id``, if that is harmless in a log."""
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(16)
    g.started = time.monotonic()


def finish(response: Response) -> Response:
    """Write the headers that every answer has, and one line to the log (never query or body)."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.request_id
    if request.path in PROBES and response.status_code < 400:
        return response  # asked several times a second, and nothing to tell
    faults.reach("reply", request.endpoint or "")
    principal = g.get("principal")
    log.info(
        "request",
        request_id=g.request_id,
        method=request.method,
        path=request.path[:200],
        status=response.status_code,
        milliseconds=round(1000 * (time.monotonic() - g.started), 1),
        tenant=principal.tenant_id if principal else None,
        remote=request.remote_addr,
    )
    return response


def install_limits(app: Flask) -> None:
    """Refuse bodies that are too large: by their stated length here, while they are read later."""
    app.before_request(_limit)


def _limit() -> None:
    raw = request.endpoint in UPLOADS | PARTS
    limit = parts().settings.max_upload_bytes if raw else MAX_JSON_BYTES
    if request.endpoint in PARTS:
        limit = min(limit, MAX_PART_BYTES)
    request.max_content_length = limit
    length = request.content_length or 0
    if length > limit:
        raise RequestError(413, f"the body must be at most {limit:,} bytes, got {length:,}")
    known = ("identity", "gzip") if raw else ("identity",)
    if request.headers.get("Content-Encoding", "identity").lower() not in known:
        raise RequestError(415, f"the Content-Encoding must be one of {', '.join(known)}")
