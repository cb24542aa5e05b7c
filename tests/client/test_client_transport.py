"""One call against a server that answers by script: retries, errors, whole downloads."""

import base64
import hashlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chainrule.client.transport import Transport
from chainrule.errors import ApiError, CheckpointError, ClientError, UnreachableError

PROBLEM = (b'{"title": "Not Found", "detail": "no such job"}', "application/problem+json")


class Scripted(ThreadingHTTPServer):
    """Answers each request with the next (status, headers, body) of its script."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        self.names = []  # of the requests, by their Idempotency-Key
        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.requests.append((self.command, self.path, self.rfile.read(length)))
        self.server.names.append(self.headers.get("Idempotency-Key"))
        status, headers, body = self.server.script.pop(0)
        if status == "hang up":
            self.connection.close()
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET = do_POST = answer  # noqa: N815 the standard library's names

    def log_message(self, *_):
        pass


OK = (200, {"Content-Type": "application/json"}, b'{"ok": true}')
BUSY = (503, {"Retry-After": "0"}, b"")
HANG_UP = ("hang up", {}, b"")


def call(server, method="GET", **options):
    transport = Transport(server.url, "key")
    try:
        return transport.json(method, "/v1/x", **options)
    finally:
        transport.close()


def test_a_busy_service_is_asked_again():
    with Scripted(BUSY, BUSY, OK) as server:
        assert call(server) == {"ok": True}
        assert len(server.requests) == 3


def test_retry_after_is_honoured():
    started = time.monotonic()
    with Scripted((429, {"Retry-After": "1"}, b""), OK) as server:
        assert call(server, "POST", json={}) == {"ok": True}
    assert time.monotonic() - started >= 1


def test_a_broken_connection_is_retried_with_the_same_bytes(tmp_path):
    file = tmp_path / "data.csv"
    file.write_bytes(b"a,b\n1,2\n")
    with Scripted(HANG_UP, OK) as server:
        assert call(server, "POST", content=file) == {"ok": True}
        assert [body for *_, body in server.requests] == [b"a,b\n1,2\n"] * 2


UNDER_WAY = (409, {"Retry-After": "0"}, b"")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("fault", [HANG_UP, BUSY, (500, {}, b""), (507, {}, b""), UNDER_WAY])
def test_what_may_have_happened_is_sent_again_under_the_same_name(method, fault):
    with Scripted(fault, fault, OK, OK) as server:
        assert call(server, method) == {"ok": True}
        assert len(set(server.names)) == 1
        assert re.fullmatch(r"[0-9a-f]{32}", server.names[0])
        call(server, method)
        assert len(set(server.names)) == 2, "another call has another name"


def test_a_call_without_an_effect_has_no_name():
    with Scripted(BUSY, OK, OK) as server:
        call(server, "POST", json={}, pure=True)
        call(server)
        assert server.names == [None] * 3


def test_a_conflict_that_does_not_pass_is_told_at_once():
    with Scripted((409, {}, b""), OK) as server, pytest.raises(ApiError):
        call(server, "POST")


def test_retrying_ends():
    with Scripted(BUSY, BUSY, BUSY, BUSY, OK) as server, pytest.raises(ApiError, match="503"):
        call(server)


def test_nobody_there_is_told_soon():
    with Scripted() as server:
        url = server.url
    transport = Transport(url, None)
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=r"nobody answers at .* chainrule up"):
        transport.json("GET", "/v1/jobs")
    assert time.monotonic() - started < 3
    transport.close()


def test_a_problem_document_becomes_the_error():
    body, kind = PROBLEM
    answer = (404, {"Content-Type": kind}, body)
    with Scripted(answer) as server, pytest.raises(ApiError) as caught:
        call(server)
    assert caught.value.status == 404
    assert "no such job" in str(caught.value)


def test_another_kind_of_server_is_named_as_such():
    page = (200, {"Content-Type": "text/html"}, b"<h1>welcome</h1>")
    with Scripted(page) as server, pytest.raises(ClientError, match="no chainrule service"):
        call(server)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", ""])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ClientError, match="http://host:port"):
        Transport(url, None)


def test_a_download_is_whole_or_not_there(tmp_path):
    body = b"weights" * 100_000
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    good = {"Repr-Digest": f"sha-256=:{digest}:"}
    with Scripted((200, good, body), (200, good, body[:-1])) as server:
        transport = Transport(server.url, None)
        transport.request("GET", "/x", into=tmp_path / "good.zip")
        assert (tmp_path / "good.zip").read_bytes() == body
        with pytest.raises(CheckpointError, match="damaged"):
            transport.request("GET", "/x", into=tmp_path / "bad.zip")
        transport.close()
    assert [path.name for path in tmp_path.iterdir()] == ["good.zip"]
