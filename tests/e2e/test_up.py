"""``python -m worker.up``: the whole service as its user runs it."""

import json
import os
import signal
import socket
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest

from tests.processes import group, of_group
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)

ARCHITECTURE = {
    "layers": [
        {"kind": "dense", "units": 32, "activation": "relu"},
        {"kind": "dense", "units": "auto"},
    ]
}
CHILDREN = {"API": "service --fd", "worker": "worker --id", "broker": "broker.sock"}


def digits_csv():
    return (files("chainrule") / "data" / "digits.csv").read_bytes()


def upload(up):
    status, dataset = up.call("POST", "/v1/datasets?name=digits", digits_csv(), "text/csv")
    assert status in {200, 201}, dataset
    return dataset["id"]


def submit(up, **training):
    body = {
        "dataset_id": upload(up),
        "data": {"target": "digit", "task": "classification"},
        "architecture": ARCHITECTURE,
        "training": {"epochs": 5, "batch_size": 32, "seed": 1} | training,
    }
    status, job = up.call("POST", "/v1/jobs", body)
    assert status == 202, job
    return job["id"]


def job_of(up, job_id, *states):
    """The job, once it is in one of the states."""
    return eventually(lambda: (job := up.get(f"/v1/jobs/{job_id}"))["state"] in states and job)


def test_a_job_goes_from_the_upload_to_predictions(running):
    up = running
    job = job_of(up, submit(up), "succeeded", "failed")
    assert job["error"] is None
    assert job["metrics"]["test"]["accuracy"] > 0.8
    rows = [{f"p{i}": 0 for i in range(64)}] * 2
    status, answer = up.call("POST", f"/v1/models/{job['model_id']}/predict", {"rows": rows})
    assert status == 200, answer
    assert len(answer["predictions"]) == 2


@pytest.mark.parametrize("child", CHILDREN)
def test_a_killed_child_is_back_on_the_same_port_with_the_same_data(running, child):
    up = running
    before = job_of(up, submit(up, epochs=1), "succeeded")
    key = up.key
    pid = up.child(CHILDREN[child])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in group(up.pid))
    assert up.child(CHILDREN[child]) != pid
    eventually(up.answers)
    assert up.key == key
    assert up.get(f"/v1/jobs/{before['id']}") == before
    job_of(up, submit(up, epochs=1, seed=2), "succeeded")


def test_a_job_survives_the_death_of_its_worker_and_loses_no_time(start):
    up = start().ready()
    job_id = submit(up, epochs=3000)
    eventually(lambda: up.get(f"/v1/jobs/{job_id}")["progress"]["epoch"] > 0)
    os.kill(up.child(CHILDREN["worker"]), signal.SIGKILL)
    # Well before the lease of 15 s is over: ``up`` knows that the worker is dead.
    eventually(lambda: up.get(f"/v1/jobs/{job_id}")["attempt"] == 2, within_s=12)
    assert up.call("POST", f"/v1/jobs/{job_id}/cancel")[0] in {200, 202}
    job_of(up, job_id, "cancelled", "succeeded")


def test_every_signal_gives_one_clean_end_with_a_job_under_way(start):
    up = start().ready()
    job_id = submit(up, epochs=100_000)
    ways = list(product([signal.SIGTERM, signal.SIGINT], [False, True]))
    for ends, (number, whole_group) in enumerate(ways, 1):
        epoch = job_of(up, job_id, "running")["progress"]["epoch"]
        eventually(
            lambda up=up, epoch=epoch: up.get(f"/v1/jobs/{job_id}")["progress"]["epoch"] > epoch
        )
        code, took_s = up.end(number, whole_group=whole_group)
        assert code == 0, (number, whole_group, up.log.read_text())
        assert took_s < 10, (number, whole_group)
        assert group(up.pid) == {}
        assert not (up.data_dir / "broker.sock").exists()
        up = start().ready()
        job = job_of(up, job_id, "running")
        assert [t["to_state"] for t in job["transitions"]].count("queued") == 1 + ends
        assert "crashed" not in json.dumps(job["transitions"])


def test_nothing_outlives_an_up_that_is_killed(start):
    up = start().ready()
    os.kill(up.pid, signal.SIGKILL)
    eventually(lambda: not group(up.pid), within_s=20)


def test_a_second_up_on_the_same_data_is_refused_with_a_reason(start):
    up = start().ready()
    second = start()
    assert second.process.wait(30) == 1
    assert "another chainrule is up" in second.log.read_text()
    assert up.answers()


def test_a_port_that_is_taken_is_refused_with_a_reason(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = start(PORT=port)
        assert up.process.wait(30) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in up.log.read_text()
    assert group(up.pid) == {}


def test_every_bad_setting_is_named_at_once(start):
    up = start(PORT="eighty", TRAINERS="-1")
    assert up.process.wait(30) == 1
    assert "CHAINRULE_PORT" in up.log.read_text()
    assert "CHAINRULE_TRAINERS" in up.log.read_text()


def test_a_data_directory_that_is_not_empty_or_too_long_for_a_socket_is_accepted(start, tmp_path):
    folder = "long/" + "x" * 120
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "notes.txt").write_text("mine")
    up = start(folder).ready()
    assert (tmp_path / folder / "notes.txt").read_text() == "mine"
    assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
    assert len(of_group(up.pid, "broker.sock")) == 1
    assert up.end()[0] == 0


def test_it_speaks_json_if_asked_to(start):
    up = start(arguments=["--json"])
    first = json.loads(up.lines.readline())
    assert first["url"].startswith("http://127.0.0.1:")
    assert first["key_path"] == str(up.data_dir / "api-key")
    assert json.loads(up.lines.readline()) == {"ready": True}


def test_no_secret_reaches_the_trainer(start):
    up = start(API_KEY="canary-of-the-key").ready()
    trainer = up.child("worker.trainer")
    place = Path(f"/proc/{trainer}")
    environ = (place / "environ").read_bytes()
    assert b"CHAINRULE" not in environ
    assert b"canary" not in environ
    assert b"canary" not in (place / "cmdline").read_bytes()
