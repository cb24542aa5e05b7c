"""The page at ``/docs``: Swagger UI from our own files, under a policy without other hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.api.schemas import Blueprint

if TYPE_CHECKING:
    from flask import Response

__all__ = ["bp"]

bp = Blueprint(
    "docs",
    __name__,
    url_prefix="/docs",
    static_folder="static",
    enable_openapi=False,
)
# Swagger UI draws its icons from data: addresses and sets styles through the DOM, which is allowed.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


@bp.get("")
def read_docs() -> Response:
    """Show the API's reference."""
    page = bp.send_static_file("page/docs.html")
    page.headers["Content-Security-Policy"] = POLICY
    return page
