"""``Idempotency-Key``: a request that is sent again is answered again, and has no other effect.

Source: the IETF's draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

from flask import current_app, g, request

from service.actions import once
from service.actions.once import Answer, AnsweredError, Request
from service.api.context import parts, tenant
from service.api.downloads import rendered
from service.api.edge import UPLOADS
from service.api.problems import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask, Response
    from pydantic import BaseModel
    from sqlalchemy.orm import Session

__all__ = [
    "HEADER",
    "METHODS",
    "REPLAYED",
    "Once",
    "Shown",
    "answered",
    "deleted",
    "install",
    "is_promised",
    "name_upload",
]

T = TypeVar("T")
Shown: TypeAlias = "tuple[BaseModel | None, int, dict[str, str]]"
HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
METHODS = ("DELETE", "POST")
KEY = re.compile(r'([\x21\x23-\x7e]{1,255})|"([\x20\x21\x23-\x7e]{1,255})"')  # bare, or quoted
DIGESTS = ("Content-Digest", "Repr-Digest")  # RFC 9530
DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):")


class Once(Generic[T]):
    """Makes the answer in the transaction of the effect, and keeps it there for a named request.

    ``show`` turns what a unit of work returns into (view, status, headers).
    """

    def __init__(self, show: Callable[[Session, T], Shown]) -> None:
        self._show = show
        self._answer: Answer | None = None

    def __call__(self, act: Callable[..., T]) -> Callable[..., T]:
        """Wrap a unit of work."""

        def acting(uow: Any, *made: Any) -> T:
            named: Request | None = g.get("named")
            kept = once.begin(uow.session, named) if named else None
            result = act(uow, *made)
            self._answer = kept or self._render(uow.session, result)
            if named and not kept:
                once.keep(uow.session, named, self._answer)
            return result

        return acting

    @property
    def response(self) -> Response:
        """The answer, once the unit of work is committed."""
        return _response(cast("Answer", self._answer))

    def _render(self, session: Session, result: T) -> Answer:
        view, status, headers = self._show(session, result)
        return Answer(status, headers, b"" if view is None else rendered(view))


def answered(view: BaseModel) -> Any:
    """Answer with what was only computed: kept if the request is named, else no row is written."""
    if not g.get("named"):
        return view
    keeping: Once[BaseModel] = Once(lambda _, shown: (shown, 200, {}))
    parts().database.transact(keeping(lambda _: view))
    return keeping.response


def deleted(_session: Session, _result: None) -> Shown:
    """Answer with nothing: it is gone."""
    return None, 204, {}


def install(app: Flask) -> None:
    """Look at the name of every request that may have an effect, once it is known who asks."""
    app.before_request(_begin)
    app.teardown_request(_end)
    app.register_error_handler(AnsweredError, _replay)


def name_upload(sha256: str) -> None:
    """Do for a large body, known by its SHA-256, what ``install`` does for others.

    Raises: RequestError (400), if the body is not what its digest says; as ``_identify``.
    """
    if not is_promised(sha256):
        raise RequestError(400, "the body is not the one that its digest tells of")
    if "key" in g:
        _identify(sha256)


def is_promised(sha256: str) -> bool:
    """Say whether a body is what its digest says: as it came, packed if it was, both are one."""
    found = base64.b64encode(bytes.fromhex(sha256)).decode()
    said = (DIGEST.search(request.headers.get(name, "")) for name in DIGESTS)
    return all(promised is None or promised[1] == found for promised in said)


def _begin() -> None:
    given = request.headers.get(HEADER)
    if given is None or request.method not in METHODS or "principal" not in g:
        return
    match = KEY.fullmatch(given)
    if match is None:
        raise RequestError(400, f"{HEADER} must be 1 to 255 visible ASCII characters")
    key = match[2] or match[1]
    if not parts().in_flight.enter((tenant(), key)):
        raise RequestError(409, "the first request of this name is under way", Retry_After="1")
    g.key = key
    if request.endpoint not in UPLOADS:
        _identify(hashlib.sha256(request.get_data()).hexdigest())


def _identify(body_sha256: str) -> None:
    """Name the request, now that all of it is known.

    Raises: AnsweredError, if it was answered before; ReusedKeyError, if another one was.
    """
    said = (request.method, request.full_path, request.mimetype, body_sha256)
    named = Request(tenant(), g.key, hashlib.sha256("\0".join(said).encode()).hexdigest())
    with parts().database.read() as session:
        answer = once.find(session, named)
    if answer is not None:
        raise AnsweredError(answer)
    g.named = named


def _end(_error: BaseException | None) -> None:
    if "key" in g:
        parts().in_flight.leave((tenant(), g.key))


def _replay(error: AnsweredError) -> Response:
    response = _response(error.answer)
    response.headers[REPLAYED] = "true"
    return response


def _response(answer: Answer) -> Response:
    body = answer.body
    kind = "application/json" if body else None
    response = current_app.response_class(body, answer.status, answer.headers, mimetype=kind)
    if not body:
        response.headers.pop("Content-Type", None)
    return response
