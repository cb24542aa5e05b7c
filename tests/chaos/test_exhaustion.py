"""An API that may open no further file (F21); tests/worker has a worker without processes."""

from __future__ import annotations

import http.client
import itertools
import resource
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.api_testing import flowers, network
from tests.services import Api
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
CSV = {"Content-Type": "text/csv"}


@contextmanager
def descriptors(pid, spare):
    """Let a process open so many files more; the limit is one of their numbers, which have gaps."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    eventually(lambda: opened(pid) == (time.sleep(0.1) or opened(pid)))  # connections are closed
    free = (number for number in itertools.count() if number not in opened(pid))
    limit = next(itertools.islice(free, spare, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def opened(pid):
    """The numbers of a process's open files."""
    return {int(place.name) for place in Path(f"/proc/{pid}/fd").iterdir()}


def test_an_api_out_of_descriptors_asks_to_come_again_and_recovers(database_url, tmp_path):
    """With one to spare a connection is taken, and nothing can be opened to answer it with."""
    with ExitStack() as stack:
        api = Api(stack, tmp_path, database_url).start()
        _, _, dataset = api.insist("POST", "/v1/datasets", flowers(), **CSV)
        request = {"dataset_id": dataset["id"], "data": {"target": "species"}}
        request["architecture"] = network("auto")
        heard = set()
        with descriptors(api.process.pid, 1):
            for method, path, body, headers in [
                ("GET", "/v1/jobs", None, {}),
                ("POST", "/v1/jobs", request, {}),
                ("POST", "/v1/datasets", flowers(rows=40_000), CSV),
                ("GET", f"/v1/datasets/{dataset['id']}/content", None, {}),
            ]:
                for _ in range(3):
                    try:
                        status, sent, told = api.call(method, path, body, timeout_s=3.0, **headers)
                    except (OSError, http.client.HTTPException):
                        continue  # not even the connection is to be had
                    heard.add(status)
                    assert status in (200, 201, 202, 503), (path, told)
                    assert status != 503 or sent["Retry-After"] == "1"
        eventually(api.answers)
        for path in ("/v1/jobs", f"/v1/datasets/{dataset['id']}/content"):
            assert api.call("GET", path)[0] == 200
        assert api.call("POST", "/v1/jobs", request)[0] == 202
        assert api.call("POST", "/v1/datasets", flowers(rows=40_000), **CSV)[0] in (200, 201)
        assert api.process.poll() is None, "it is the same process"
    assert 503 in heard, "it was out of descriptors"
