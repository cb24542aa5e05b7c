"""One HTTP call, made well: the key, retries with back-off, and errors as exceptions."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import random
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chainrule.errors import ApiError, CheckpointError, ClientError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    import httpx2

__all__ = ["Transport", "retry_after_s"]

ATTEMPTS = 4
FIRST_PAUSE_S = 0.1
LONGEST_RETRY_AFTER_S = 60.0
TIMEOUT_S = 150.0  # the service itself gives a slow upload's parsing 60 s
STORED_BYTES_PER_S = 4e6  # what a service stores before it answers, on a slow and busy machine
CONNECT_TIMEOUT_S = 5.0


class Transport:
    """A connection pool to one service.  Connects when first used; safe to share among threads."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ClientError(f"the service's address must look like http://host:port, got {url!r}")
        self.url = url.rstrip("/")
        self._httpx = _httpx()
        self._http = self._httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=not _is_loopback(parts.hostname),  # no proxy stands before this very machine
        )

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def request(  # noqa: PLR0913 one keyword for each way to make a call
        self,
        method: str,
        path: str,
        *,
        content: bytes | Path | None = None,
        into: Path | None = None,
        pure: bool = False,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """Make a call and return a good answer (2xx or 304), or raise.

        It is made again when the connection breaks, when the service fails, is away or busy: a call
        that may have an effect has a name of its own (Idempotency-Key), so that it has one effect
        however often it is made. ``pure``: a call without any, which needs none. ``into`` saves the
        body to a file, whole or not at all.
        Raises: ApiError, the service refused; UnreachableError, nobody answered.
        """
        sent = dict(headers or {})
        if isinstance(content, Path):
            patience_s = TIMEOUT_S + content.stat().st_size / STORED_BYTES_PER_S
            options["timeout"] = self._httpx.Timeout(patience_s, connect=CONNECT_TIMEOUT_S)
        if method not in {"GET", "HEAD"} and not pure:
            sent["Idempotency-Key"] = secrets.token_hex(16)

        def call() -> httpx2.Response:
            body = content.open("rb") if isinstance(content, Path) else content
            try:
                response: httpx2.Response
                with self._http.stream(
                    method, path, content=body, headers=sent, **options
                ) as response:
                    if into is not None and response.is_success:
                        _save(response, into)
                    else:
                        response.read()
                    return response
            finally:
                if body is not None and not isinstance(body, bytes):
                    body.close()

        return self._insist(call)

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Make a call and return the answer's JSON object."""
        return self.decode(self.request(method, path, **options))

    def decode(self, response: httpx2.Response) -> dict[str, Any]:
        """Return the answer's JSON object.  Raises: ClientError, if it is no JSON."""
        try:
            document = response.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            kind = response.headers.get("content-type", "no type")
            raise ClientError(f"{self.url} is no chainrule service: it answered with {kind}")
        return document

    def _unreachable(self, error: Exception) -> str:
        local = _is_loopback(urlsplit(self.url).hostname or "")
        hint = " (start the service with: chainrule up)" if local else ""
        return f"nobody answers at {self.url}: {error}{hint}"

    def _insist(self, call: Callable[[], httpx2.Response]) -> httpx2.Response:
        for attempt in range(ATTEMPTS):
            pause_s = FIRST_PAUSE_S * 2**attempt * random.uniform(0.8, 1.2)  # noqa: S311 spreads load
            try:
                response = call()
            except self._httpx.TransportError as error:
                failure: ClientError = UnreachableError(self._unreachable(error))
                again = True
            else:
                if response.is_success or response.status_code == 304:
                    return response
                failure = _refusal(response)
                again = _may_pass(response)
                pause_s = max(pause_s, retry_after_s(response.headers))
            if not again or attempt == ATTEMPTS - 1:
                raise failure
            time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return how long the service asks to wait, in seconds; 0 if it does not say."""
    text = headers.get("retry-after", "")
    return min(float(text), LONGEST_RETRY_AFTER_S) if text.isdecimal() else 0.0


def _may_pass(response: httpx2.Response) -> bool:
    """Say whether the same call may be answered otherwise a little later."""
    busy = response.status_code == 409 and "retry-after" in response.headers
    return busy or response.status_code == 429 or response.status_code >= 500


def _refusal(response: httpx2.Response) -> ApiError:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"title": response.reason_phrase or "an answer without a problem document"}
    return ApiError(response.status_code, problem)


def _save(response: httpx2.Response, path: Path) -> None:
    """Write the body to a file that appears only when whole, its digest checked if one is given."""
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            for piece in response.iter_bytes():
                digest.update(piece)
                file.write(piece)
        promised = response.headers.get("repr-digest", "")
        found = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        if promised.startswith("sha-256=") and promised != found:
            raise CheckpointError(f"{path} came damaged: {found}, the service sent {promised}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _httpx() -> ModuleType:
    """Import the HTTP client only now, so that ``import chainrule`` stays light."""
    try:
        import httpx2  # noqa: PLC0415
    except ModuleNotFoundError as error:
        message = "chainrule.Client needs an HTTP client: pip install 'chainrule[cli]'"
        raise ClientError(message) from error
    return httpx2
