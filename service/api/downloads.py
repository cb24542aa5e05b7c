"""Bytes out: with a name, a strong tag and a digest, in whole or in part."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import TYPE_CHECKING

from flask import current_app, request, send_file

from service.api.schemas import plain

if TYPE_CHECKING:
    from flask import Response
    from pydantic import BaseModel

__all__ = ["attachment", "not_modified", "rendered", "tagged"]


def attachment(data: bytes, *, name: str, media_type: str) -> Response:
    """Answer with a file.  ``If-None-Match`` and ``Range`` are honoured; the tag is its SHA-256."""
    digest = hashlib.sha256(data).digest()
    response = send_file(
        io.BytesIO(data),
        mimetype=media_type,
        as_attachment=True,
        download_name=name,
        etag=digest.hex(),
        max_age=None,
    )
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
    return response


def not_modified(tag: str) -> Response | None:
    """Return 304, if the client has the answer of this tag."""
    if not request.if_none_match.contains(tag):
        return None
    return _tagged(current_app.response_class(status=304), tag)


def rendered(view: BaseModel) -> bytes:
    """Return a view as the JSON of an answer."""
    return current_app.json.dumps(plain(view)).encode()


def tagged(body: bytes, tag: str) -> Response:
    """Answer with JSON that a client may keep and ask about by its tag."""
    return _tagged(current_app.response_class(body, mimetype="application/json"), tag)


def _tagged(response: Response, tag: str) -> Response:
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, no-cache"
    return response
