"""A database that somebody else holds (F20), as a client of the API meets it."""

import threading
import time

import pysqlite3.dbapi2
import pytest

from service.store import engines


@pytest.fixture
def impatient(monkeypatch):
    """Connections that wait a tenth of a second for a lock, and not five."""
    monkeypatch.setitem(engines.PRAGMAS, "busy_timeout", 100)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_while_another_process_holds_the_lock_reads_go_on_and_writes_wait_or_are_told_to(
    impatient, api, database_url
):
    api.database.retry_s = 0.3
    request = api.job_request()
    job = api.post("/v1/jobs", json=request).json
    path = database_url.removeprefix("sqlite:///")
    other = pysqlite3.dbapi2.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    for answer in (
        api.post("/v1/jobs", json=request),
        api.post(f"/v1/jobs/{job['id']}/pause"),
        api.upload(b"a,b\n1,2\n"),
    ):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
    for read in ("/v1/jobs", f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/events"):
        assert api.get(read).status_code == 200
    threading.Timer(0.2, lambda: other.execute("ROLLBACK")).start()
    begun = time.monotonic()
    assert api.post("/v1/jobs", json=request).status_code == 202
    assert time.monotonic() - begun > 0.1, "it waited for the lock"
    other.close()
    assert len(api.get("/v1/jobs").json["items"]) == 2
