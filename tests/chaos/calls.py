"""A client that knows when it does not know: answered, refused, or neither."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request

KEY = "cr_chaos_test_key"


class Unknown(Exception):  # noqa: N818 no error: whether it was done is not known
    """No answer, or one that says nothing of whether it was done (5xx, or 409 for the moment)."""

    def __init__(self, why, status=None):
        self.status = status
        super().__init__(why)


class Refused(Exception):  # noqa: N818 an answer
    """A 4xx: nothing was done."""

    def __init__(self, status, problem):
        self.status = status
        super().__init__(f"{status}: {problem}")


class Http:
    """Calls to one API."""

    def __init__(self, url, timeout_s=30.0):
        self.url = url
        self._timeout_s = timeout_s

    @staticmethod
    def free_port():
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return probe.getsockname()[1]

    def call(self, method, path, body=None, content_type="application/json", **headers):
        """Return the answer's document.  Raises: Refused; Unknown."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        if data is not None:
            request.add_header("Content-Type", content_type)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            return json.loads(self._send(request) or b"null")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unknown(repr(error)) from error

    def _send(self, request):
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")[:300]
            if error.code >= 500 or "Retry-After" in error.headers:
                raise Unknown(f"{error.code}: {said}", error.code) from error
            raise Refused(error.code, said) from error
