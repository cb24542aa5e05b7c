"""Bytes out: with a name, a strong tag and a digest, in whole or in part."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
from typing import TYPE_CHECKING

from flask import current_app, request, send_file

from service.api.schemas import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Response
    from pydantic import BaseModel

__all__ = ["attachment", "not_modified", "rendered", "streamed", "tagged"]


def attachment(data: bytes, *, name: str, media_type: str) -> Response:
    """Answer with a file.  ``If-None-Match`` and ``Range`` are honoured; the tag is its SHA-256."""
    digest = hashlib.sha256(data).hexdigest()
    response = send_file(
        io.BytesIO(data),
        mimetype=media_type,
        as_attachment=True,
        download_name=name,
        etag=digest,
        max_age=None,
    )
    _name(response, digest)
    return response


def streamed(
    pieces: Iterator[bytes], *, size: int, sha256: str, name: str, media_type: str
) -> Response:
    """Answer with a file as ``attachment`` does, without ever having it in memory as a whole.

    Damage that the first piece shows is an answer of its own; later it ends the connection.
    """
    first = next(pieces, b"")
    response = current_app.response_class(
        itertools.chain([first], pieces), mimetype=media_type, direct_passthrough=True
    )
    response.content_length = size
    response.headers.set("Content-Disposition", "attachment", filename=name)
    _name(response, sha256)
    response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
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


def _name(response: Response, sha256: str) -> None:
    """Say which bytes these are."""
    response.set_etag(sha256)
    response.headers["Cache-Control"] = "private, no-cache"
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    response.headers["Repr-Digest"] = f"sha-256=:{digest}:"
