"""waitress as we set it up, spoken to over raw sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from service.api.server import LINGER_S, Server
from service.settings import Settings
from tests.waiting import eventually

GRACE_S = 1.5


def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, database_url="sqlite:///nowhere", threads=2, max_upload_bytes=100_000
    )


def echo(environ, start_response):
    """Answer with the number of body bytes, after as long as the query says."""
    time.sleep(float(environ["QUERY_STRING"] or 0))
    body = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def unchanged(_environ, start_response):
    start_response("304 NOT MODIFIED", [("ETag", '"1"')])
    return []


@contextmanager
def running(tmp_path, application=echo, settings_=None):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(application, listening, settings_ or settings(tmp_path), grace_s=GRACE_S)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server, listening.getsockname(), thread
        finally:
            server.stop()
            thread.join(10)


def talk(address, data: bytes, timeout_s: float = 5.0) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    with socket.create_connection(address, timeout=timeout_s) as connection:
        connection.sendall(data)
        answer = b""
        with suppress(ConnectionResetError):  # it closes without reading what it refused
            while piece := connection.recv(65536):
                answer += piece
        return answer


def problem_of(answer: bytes) -> dict:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head, answer[:500]
    problem = json.loads(body)
    assert int(head.split()[1]) == problem["status"]
    return problem


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
REFUSED = {
    "both lengths": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
        400,
    ),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "negative length": (HEAD + b"Content-Length: -5\r\n\r\n", 400),
    "chunked in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "junk in a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", 400),
    "gzip transfer": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "long header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 65536 + b"\r\n\r\n", 431),
    "body too large": (HEAD + b"Content-Length: 100001\r\n\r\n", 413),
    "chunks too large": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"3e8\r\n" + b"a" * 1000 + b"\r\n") * 101,
        413,
    ),
    "no request line": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_request_gets_a_problem_and_a_closed_connection(name, tmp_path):
    data, status = REFUSED[name]
    with running(tmp_path) as (_, address, _):
        assert problem_of(talk(address, data))["status"] == status
        good = talk(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert good.startswith(b"HTTP/1.1 200")


def test_a_body_of_just_the_limit_is_taken(tmp_path):
    with running(tmp_path) as (_, address, _):
        head = HEAD + b"Connection: close\r\nContent-Length: 100000\r\n\r\n"
        assert talk(address, head + b"a" * 100_000).endswith(b"\r\n100000")


def test_a_large_body_is_a_file_with_a_name_until_it_is_answered(tmp_path):
    names = []

    def look(environ, start_response):
        body = environ["wsgi.input"]
        names.append(getattr(body, "name", None))
        return echo({"QUERY_STRING": "", "wsgi.input": body}, start_response)

    limit = replace(settings(tmp_path), max_upload_bytes=10**7)
    with running(tmp_path, look, limit) as (_, address, _):
        for size in (1000, 2_000_000):
            head = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size
            assert talk(address, head + b"a" * size).endswith(b"\r\n%d" % size)
    small, large = names
    assert small is None
    assert isinstance(large, str)
    assert not Path(large).exists()


def test_a_client_that_sends_on_after_413_still_reads_the_answer(tmp_path):
    with running(tmp_path) as (_, address, _):
        connection = socket.create_connection(address, timeout=5)
        connection.sendall(HEAD + b"Content-Length: 90000000\r\n\r\n")
        with connection:
            with suppress(OSError):
                for _ in range(100):
                    connection.sendall(b"a" * 100_000)
            assert connection.recv(65536).startswith(b"HTTP/1.1 413")


def test_an_answer_without_a_body_keeps_the_connection(tmp_path):
    ask = b"GET / HTTP/1.1\r\nHost: x\r\n"
    with running(tmp_path, unchanged) as (_, address, _):
        answer = talk(address, ask + b"\r\n" + ask + b"Connection: close\r\n\r\n")
        first, second = (part.lower() for part in answer.split(b"\r\n\r\n")[:2])
        assert first.startswith(b"http/1.1 304")
        assert b"connection" not in first
        assert b"connection: close" in second
        assert answer.endswith(b"\r\n\r\n")
        for old in (b"", b"Connection: keep-alive\r\n"):
            assert b"onnection: close" in talk(address, b"GET / HTTP/1.0\r\n" + old + b"\r\n")


def test_stopping_waits_for_the_request_in_flight(tmp_path):
    with running(tmp_path) as (server, address, thread):
        answers = []
        slow = b"GET /?0.6 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        client = threading.Thread(target=lambda: answers.append(talk(address, slow)))
        client.start()
        time.sleep(0.2)
        server.stop()
        thread.join(2)
        client.join(2)
        assert not thread.is_alive()
        assert answers[0].endswith(b"\r\n0")


ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def rest(connection):
    """All that still comes until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def last_answer(connection):
    """What comes until the server closes: one good answer, which says that it is the last."""
    head, _, body = rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    assert head.count(b"Connection: close") == 1
    return body


@pytest.mark.parametrize("requests", ["none", "half", "one", "one and a half"])
def test_stopping_answers_a_request_that_is_not_yet_here(requests, tmp_path):
    """Of one who has been answered, or not, and is in the middle of the next request, or not."""
    sent = ASK * requests.startswith("one") + ASK[:-20] * requests.endswith("half")
    with running(tmp_path) as (server, address, thread):
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(sent)
            first = b""
            while sent.startswith(ASK) and not first.endswith(b"\r\n\r\n0"):
                first += connection.recv(65536)
            assert b"onnection: close" not in first
            eventually(lambda: server._waitress.active_channels)
            server.stop()
            eventually(lambda: server._waitress.draining)
            connection.sendall((ASK + ASK if first else ASK)[len(sent) :])
            assert last_answer(connection) == b"0"
        thread.join(5)
        assert not thread.is_alive()


def test_stopping_answers_who_has_connected_and_was_not_yet_accepted(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        server = Server(echo, listening, settings(tmp_path))
        address = listening.getsockname()
        clients = [
            stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(20)
        ]
        server.stop()
        thread = threading.Thread(target=server.run)
        thread.start()
        for client in clients:
            client.sendall(ASK)
        assert [last_answer(client) for client in clients] == [b"0"] * 20
        thread.join(5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)


def test_stopping_waits_a_moment_only_for_one_that_asks_nothing(tmp_path):
    with running(tmp_path) as (server, address, thread):
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(ASK)
            first = b""
            while not first.endswith(b"\r\n\r\n0"):
                first += connection.recv(65536)
            started = time.monotonic()
            server.stop()
            assert rest(connection) == b""
        thread.join(5)
        assert not thread.is_alive()
        assert LINGER_S <= time.monotonic() - started < GRACE_S


def test_stopping_does_not_wait_for_a_request_that_never_ends(tmp_path):
    with running(tmp_path) as (server, address, thread):
        with socket.create_connection(address) as connection:
            connection.sendall(b"GET /?3 HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.2)
            started = time.monotonic()
            server.stop()
            thread.join(5)
        assert not thread.is_alive()
        assert time.monotonic() - started < GRACE_S + 0.5
