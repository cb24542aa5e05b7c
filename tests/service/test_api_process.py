"""``python -m service`` as ``up`` starts it: a process on an inherited socket."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from service.actions import keys
from service.store.database import Database
from tests.api_testing import flowers, network
from tests.processes import clean_environment
from tests.waiting import eventually

KEY = "cr_the-key-of-the-test"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def url(sqlite_url):
    database = Database(sqlite_url)
    database.transact(lambda uow: keys.register(uow, KEY, "test"))
    database.dispose()
    return sqlite_url


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@contextmanager
def service(listening, folder, url, **settings):
    environment = clean_environment(
        DATA_DIR=folder,
        DATABASE_URL=url,
        REDIS_URL="redis://127.0.0.1:1/0",  # where nobody listens
        **settings,
    )
    command = [sys.executable, "-m", "service", "--fd", str(listening.fileno())]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, pass_fds=[listening.fileno()], stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def call(listening, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(*listening.getsockname(), timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {KEY}"} | headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def send(listening, path, document):
    answer, body = call(listening, "POST", path, json.dumps(document), **JSON)
    return answer.status, json.loads(body)


def private_mib(pid):
    """What memory is a process's own: neither files' nor shared with others."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(x.split()[1]) for x in lines if x.startswith(("RssAnon", "RssShmem"))) / 1024


def test_a_large_body_takes_no_memory_and_leaves_no_file(listening, url, tmp_path):
    """As 1 GiB did, which took 13 MiB: from 94 to 107."""
    data = os.urandom(64 * 2**20)
    spool = tmp_path / "uploads"
    with service(listening, tmp_path, url, PARSE_INLINE_MIB=1) as process:
        call(listening, "GET", "/healthz")
        before, seen, ended = private_mib(process.pid), [], threading.Event()

        def look():
            while not ended.wait(0.02):
                seen.append((private_mib(process.pid), len(list(spool.iterdir()))))

        looking = threading.Thread(target=look)
        looking.start()
        answers = [
            call(listening, "POST", "/v1/datasets", data, **{"Content-Type": "text/csv"})
            for _ in range(2)
        ]
        ended.set()
        looking.join()
        assert [answer.status for answer, _ in answers] == [202, 200]
        assert json.loads(answers[0][1])["id"] == json.loads(answers[1][1])["id"]
        assert max(mib for mib, _ in seen) - before < 32
        assert max(files for _, files in seen) == 1, "the body was copied"
        eventually(lambda: not list(spool.iterdir()))


def test_the_api_serves_on_the_socket_that_it_was_given(listening, url, tmp_path):
    with service(listening, tmp_path, url) as process:
        answer, body = call(listening, "GET", "/healthz")
        assert (answer.status, json.loads(body)) == (200, {"status": "ok"})
        assert answer.headers["Server"] is None

        kind = {"Content-Type": "text/csv"}
        answer, body = call(listening, "POST", "/v1/datasets", flowers(), **kind)
        assert answer.status == 201, body
        dataset = json.loads(body)
        job = {
            "dataset_id": dataset["id"],
            "data": {"target": "species"},
            "architecture": network("auto"),
        }
        started = time.monotonic()
        status, view = send(listening, "/v1/jobs", job)
        assert status == 202, view
        assert time.monotonic() - started < 2  # though no broker answers
        answer, body = call(
            listening, "POST", "/v1/jobs", b"[" * 100_000, **{"Content-Type": "application/json"}
        )
        assert answer.status == 400
        ready = json.loads(call(listening, "GET", "/readyz")[1])
        assert ready["database"] == "ok"
        assert ready["broker"] != "ok"

        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(5) == 0
        assert time.monotonic() - started < 2
    log = (tmp_path / "log").read_text()
    requests = [
        line for line in map(json.loads, log.splitlines()) if line.get("event") == "request"
    ]
    assert [line["path"] for line in requests] == ["/v1/datasets", "/v1/jobs", "/v1/jobs"]
    assert all(re.fullmatch(r"[0-9a-f]{32}", line["request_id"]) for line in requests)
    assert KEY not in log


def test_hundreds_of_idle_connections_keep_nobody_out(listening, url, tmp_path):
    with service(listening, tmp_path, url), ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(listening.getsockname()))
        connection = http.client.HTTPConnection(*listening.getsockname(), timeout=30)
        stack.callback(connection.close)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_what_a_killed_upload_left_is_removed_at_the_next_start(listening, url, tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    stale, fresh = folder / "upload-stale", folder / "upload-fresh"
    for path in (stale, fresh):
        path.touch()
    os.utime(stale, (0, 0))
    with service(listening, tmp_path, url):
        eventually(lambda: not stale.exists())
    assert fresh.exists()


def test_another_process_takes_over_the_socket_when_one_is_killed(listening, url, tmp_path):
    with service(listening, tmp_path, url) as first:
        assert call(listening, "GET", "/healthz")[0].status == 200
        first.kill()
        first.wait()
        with service(listening, tmp_path, url):
            assert call(listening, "GET", "/v1/jobs")[0].status == 200


def test_a_lost_attempt_is_ended_by_the_api_too(listening, url, tmp_path):
    from service.store import transitions

    with service(listening, tmp_path, url):
        call(listening, "POST", "/v1/datasets", flowers(), **{"Content-Type": "text/csv"})
        items = json.loads(call(listening, "GET", "/v1/datasets")[1])["items"]
        job = {
            "dataset_id": items[0]["id"],
            "data": {"target": "species"},
            "architecture": network("auto"),
        }
        _, view = send(listening, "/v1/jobs", job)
        database = Database(url)
        database.transact(
            lambda uow: transitions.claim(uow.session, view["id"], worker="gone", now=time.time())
        )
        database.dispose()

        def state():
            return json.loads(call(listening, "GET", f"/v1/jobs/{view['id']}")[1])

        assert state()["state"] == "running"
        eventually(lambda: state()["state"] == "queued", every_s=0.2)
        assert state()["transitions"][-1]["detail"]["code"] == "crashed"


def test_a_schema_that_is_behind_is_refused_with_the_way_out(listening, tmp_path):
    with service(listening, tmp_path, f"sqlite:///{tmp_path / 'empty.db'}") as process:
        assert process.wait(30) == 1
    log = (tmp_path / "log").read_text()
    assert "make migrate" in log
    assert "Traceback" not in log


def test_bad_settings_are_named_all_at_once(listening, tmp_path, url):
    with service(listening, tmp_path, url, PORT="x", THREADS="0") as process:
        assert process.wait(30) == 1
    log = (tmp_path / "log").read_text()
    assert "CHAINRULE_PORT" in log
    assert "CHAINRULE_THREADS" in log
