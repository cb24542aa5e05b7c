"""The client against the real service."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import chainrule
from chainrule import Client
from chainrule.cli.stack import Stack
from chainrule.errors import ApiError, ClientError, UnreachableError
from tests.graph_jobs import pair_job, pairs
from tests.waiting import eventually

NETWORK = {
    "layers": [
        {"kind": "dense", "units": 8, "activation": "tanh"},
        {"kind": "dense", "units": "auto"},
    ]
}
TRAINING = {"epochs": 30, "batch_size": 16, "optimizer": {"kind": "adam", "learning_rate": 0.02}}
ENDLESS = {"epochs": 1_000_000, "batch_size": 1}
COLOR = {"inputs": ["x", "y"], "target": "color"}


@pytest.fixture
def trained(client, table):
    return client.train(client.upload(table), NETWORK, TRAINING, data=COLOR).wait(timeout_s=60)


def test_the_same_file_is_the_same_dataset(client, table):
    first, again = client.upload(table), client.upload(table)
    assert first.id == again.id
    assert first.rows == 200
    assert client.dataset(first.id).view["sha256"] == first.view["sha256"]


def test_a_frame_is_a_dataset(client):
    frame = pl.DataFrame({"x": [1.5, None, 2.0], "city": ["Köln", "Ulm", "Ulm"]})
    dataset = client.upload(frame, name="towns")
    types = {column["name"]: column["type"] for column in dataset.view["columns"]}
    assert (dataset.rows, dataset.view["name"]) == (3, "towns")
    assert types == {"x": "number", "city": "categorical"}


def test_a_file_is_read_with_other_types_without_being_sent_again(client, table):
    first = client.upload(table)
    second = first.parse_again(types={"x": "text"})
    assert (second.id != first.id, second.view["sha256"]) == (True, first.view["sha256"])
    assert [one["type"] for one in second.view["columns"] if one["name"] == "x"] == ["text"]
    assert first.parse_again().id == first.id


def test_a_job_is_followed_to_its_end_and_its_model_predicts(client, table):
    dataset = client.upload(table)
    seen = []
    job = client.train(dataset, NETWORK, TRAINING, data=COLOR, name="clouds")
    assert job.wait(lambda job: seen.append(job.state), timeout_s=60) is job
    assert seen[-1] == job.state == "succeeded"
    assert job.view["name"] == "clouds"
    answer = job.predict([{"x": 1.2, "y": 1.0}, {"x": "0.1", "y": -0.2}])
    with pytest.raises(ClientError, match="wants a list of rows, got one"):
        job.predict({"x": 1.2, "y": 1.0})
    assert answer["predictions"] == ["blue", "amber"]
    assert np.allclose(np.sum(answer["probabilities"], axis=1), 1)


@pytest.mark.parametrize("kind", [Path, str])
def test_a_file_is_uploaded_to_be_trained_on(client, table, kind):
    job = client.train(kind(table), NETWORK, TRAINING, data=COLOR, name="clouds")
    assert job.view["dataset_id"] == client.upload(table).id
    assert repr(job) == f"<Job {job.id} 'clouds': queued, epoch 0/30>"
    model = client.model(job.wait(timeout_s=60).view["model_id"])
    assert repr(model) == f"<Model {model.id} 'clouds'>"


def test_the_downloaded_bundle_predicts_the_same_without_the_service(trained, tmp_path):
    path = trained.download(tmp_path)
    assert path == tmp_path / f"{trained.view['model_id']}.zip"
    rows = [{"x": 0.01 * i, "y": 0.5} for i in range(100)]
    local, remote = chainrule.load(path).predict(rows), trained.predict(rows)
    assert remote["predictions"] == list(local["predictions"])
    assert np.allclose(remote["probabilities"], local["probabilities"], atol=1e-6)


def test_a_dataset_is_predicted_in_a_job_and_its_result_saved(client, table, trained, tmp_path):
    seen = []
    job = trained.model().predict_dataset(client.upload(table), name="again")
    assert repr(job).endswith("row 0/200>")
    job.wait(lambda job: seen.append(job.progress()), timeout_s=60)
    assert (job.state, seen[-1], job.view["name"]) == ("succeeded", "row 200/200", "again")
    result = job.result()
    path = result.download(tmp_path)
    assert (path.name, result.rows) == (f"{result.id}.csv", 200)
    head, *lines = path.read_text().splitlines()
    assert head == "prediction,probability_amber,probability_blue"
    assert [line.partition(",")[0] for line in lines] == ["amber", "blue"] * 100
    with pytest.raises(ClientError, match="has no result"):
        trained.result()


@pytest.mark.parametrize("format_", ["safetensors", "npz", "onnx"])
def test_a_model_is_downloaded_in_other_formats(trained, tmp_path, format_):
    assert trained.download(tmp_path / f"w.{format_}", format_).stat().st_size > 100


def test_metrics_have_a_row_for_each_epoch(trained):
    rows = trained.metrics()
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["train"]["loss"] < rows[0]["train"]["loss"]


def test_a_certificate_tells_each_layers_error(trained):
    certificate = trained.certificate()
    assert certificate["status"] == "passed"
    assert [row["name"] for row in certificate["layers"]] == ["dense_1", "dense_2"]
    assert max(row["max_relative_error"] for row in certificate["layers"]) < 1e-6


def test_an_evaluation_tells_whether_the_network_has_learnt(trained):
    report = trained.evaluation()
    assert report["status"] == "complete"
    (output,) = report["outputs"].values()
    assert output["verdict"]["null_model"] in ("majority", "linear")
    assert output["parts"]["test"]["metrics"]["accuracy"]["value"] > 0.9
    assert trained.model().evaluation() == report


def test_more_rows_than_one_request_takes_are_predicted_in_order(trained):
    rows = [
        {"x": (i % 2) + 0.123456789012345, "y": (i % 2) - 0.123456789012345} for i in range(25_000)
    ]
    answer = trained.predict(rows)
    assert answer["predictions"] == ["amber", "blue"] * 12_500
    assert len(answer["probabilities"]) == len(rows)


def test_a_bad_row_beyond_the_first_request_is_named_by_its_own_number(trained):
    rows = [{"x": 1.123456789012345, "y": 0.123456789012345}] * 30_000 + [{"x": "many", "y": 0}]
    with pytest.raises(ApiError) as caught:
        trained.predict(rows)
    assert caught.value.problem["errors"][0]["pointer"] == "/rows/30000/x"


def test_arrays_are_trained_on_as_they_are(client):
    x = np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32)
    dataset = client.upload((x, x @ [[1.0], [2.0], [3.0]]), name="plane")
    data = {"inputs": "inputs", "target": "targets"}
    linear = {"layers": [{"kind": "dense", "units": "auto"}]}
    training = {**TRAINING, "epochs": 60}
    job = client.train(dataset, linear, training, data=data).wait(timeout_s=60)
    assert job.state == "succeeded", job.summary()
    answer = job.predict(inputs=np.eye(3))
    assert job.predict(np.eye(3)) == answer  # as a bundle takes them
    assert np.allclose(np.ravel(answer["predictions"]), [1, 2, 3], atol=0.2)


def test_several_arrays_are_trained_on_and_predicted_by_name(client, tmp_path):
    arrays = pairs(300)
    job = client.train(client.upload(arrays, name="pairs"), **pair_job()).wait(timeout_s=60)
    assert job.state == "succeeded", job.summary()
    inputs = {name: np.tile(arrays[name], (120, 1)) for name in ("left", "right")}
    answer = job.predict(inputs=inputs)  # 36,000 rows in several requests
    local = chainrule.load(job.download(tmp_path)).predict(inputs)
    assert answer["predictions"]["same"] == local["predictions"]["same"]
    np.testing.assert_allclose(answer["predictions"]["far"], local["predictions"]["far"], rtol=1e-5)
    assert answer["classes"] == {"same": [0, 1]}
    inputs["right"] = inputs["right"].tolist()
    inputs["right"][35_000][0] = "far"
    with pytest.raises(ApiError) as caught:
        job.predict(inputs=inputs)
    assert caught.value.problem["errors"][0]["pointer"] == "/inputs/right/35000/0"


def test_what_does_not_add_up_is_refused_with_its_place(client, table):
    with pytest.raises(ApiError) as caught:
        client.train(client.upload(table), NETWORK, {"epochs": 0}, data=COLOR)
    assert caught.value.status == 422
    assert caught.value.problem["errors"][0]["pointer"] == "/training/epochs"
    assert str(caught.value) == "422: training.epochs: must be >= 1, got 0"


def test_a_job_that_is_not_there_is_a_404(client):
    with pytest.raises(ApiError) as caught:
        client.job("job_00000000000070008000000000000000")
    assert caught.value.status == 404


def test_a_wrong_key_is_a_401(stack):
    with Client(stack.url, "wrong") as stranger, pytest.raises(ApiError) as caught:
        stranger.system()
    assert caught.value.status == 401


def test_a_cancelled_job_ends_and_says_why_it_has_no_model(client, table):
    job = client.train(client.upload(table), NETWORK, ENDLESS, data=COLOR)
    with pytest.raises(TimeoutError):
        job.wait(timeout_s=0.2)
    job.cancel()
    assert job.wait(timeout_s=30).state == "cancelled"
    with pytest.raises(ClientError, match="no model: cancelled"):
        job.model()


def test_a_wait_has_the_service_hold_its_answers_back(client, table):
    job = client.train(client.upload(table), NETWORK, ENDLESS, data=COLOR)
    job.pause()
    eventually(lambda: job.refresh().state == "paused")
    job, other = client.job(job.id), client.job(job.id)
    asked, ended_at = [], []

    def cancel():
        other.cancel()
        ended_at.append(time.monotonic())

    def note(request):
        if request.method == "GET":
            asked.append(request.headers.get("prefer"))
            if asked[-1]:  # it waits now
                threading.Timer(1.0, cancel).start()

    client._transport._http.event_hooks["request"].append(note)
    assert job.wait(timeout_s=60).state == "cancelled"
    assert time.monotonic() - ended_at[0] < 3
    assert asked[0] is None, "it does not yet know what there is news of"
    assert set(asked[1:]) == {"wait=5"}


def test_every_change_of_a_job_is_heard_of_as_it_comes(client, table):
    job = client.train(client.upload(table), NETWORK, ENDLESS, data=COLOR)
    events = job.events()
    heard = [next(events), next(events)]
    assert [event["to_state"] for event in heard] == ["queued", "running"]
    job.pause()
    heard += [next(events), next(events)]
    assert heard[2]["detail"] == {"asked": "pause"}
    assert heard[3]["to_state"] == "paused"
    assert job.resume().state == "queued"
    heard.append(next(events))
    job.cancel()
    heard += list(events)
    assert heard[-1]["to_state"] == "cancelled"
    assert list(job.events()) == heard
    assert list(job.events(after=heard[2]["id"])) == heard[3:]
    job.delete()
    with pytest.raises(ApiError, match="404"):
        list(job.events())


def test_jobs_are_listed_newest_first_page_after_page(client, table):
    dataset = client.upload(table)
    made = [
        client.train(dataset, NETWORK, {"epochs": 1}, data=COLOR, name="page").id for _ in range(3)
    ]
    assert [job.id for job in client.jobs(name="page", limit="2")] == made[::-1]


def test_a_client_needs_no_arguments_where_up_has_left_its_key(configured):
    with Client() as client:
        assert client.url == configured.url
        assert "ok" in client.readiness().values()
        assert client.system()


def test_the_key_of_this_machine_is_not_sent_to_another(configured):
    with Client("http://192.0.2.1:8000") as client:
        assert "authorization" not in client._transport._http.headers


def test_an_address_where_nobody_listens_is_unreachable():
    started = time.monotonic()
    with Client("http://127.0.0.1:1", "key") as client, pytest.raises(UnreachableError):
        client.system()
    assert time.monotonic() - started < 3


def test_a_wait_outlives_a_crash_of_the_api(stack, client, table):
    job = client.train(client.upload(table), NETWORK, {**TRAINING, "epochs": 800}, data=COLOR)
    killed = []

    def kill_once(job):
        if job.state == "running" and not killed:
            killed.append(api_of(stack))
            os.kill(killed[0], signal.SIGKILL)

    job.wait(kill_once, timeout_s=60)
    assert job.state == "succeeded"
    assert api_of(stack) not in killed


def api_of(stack):
    """Return the process id of a stack's API."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"service" in words and b"--fd" in words and int(parent) == stack.process.pid:
            return int(place.name)
    raise AssertionError("the stack has no API")


def test_a_file_that_a_job_parses_is_waited_for(tmp_path, table):
    """Every file is a large one to this service: API, worker and parser as processes."""
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n3\n")
    heard = []
    variables = {"CHAINRULE_PARSE_INLINE_MIB": "0"}
    with Stack(tmp_path / "stack", variables) as stack, stack.client() as client:
        dataset = client.upload(table, on_progress=lambda what, _share: heard.append(what))
        assert (dataset.view["state"], dataset.rows) == ("ready", 200)
        assert "parsing" in heard
        (parsing,) = client.jobs(dataset_id=dataset.id)
        assert (parsing.view["kind"], parsing.progress()) == ("parsing", "parsed 100%")
        job = client.train(dataset.id, NETWORK, TRAINING, data=COLOR).wait(timeout_s=60)
        assert job.state == "succeeded"
        with pytest.raises(ApiError) as refused:
            client.upload(bad)
    assert refused.value.status == 422
    (place,) = refused.value.problem["errors"]
    assert (place["pointer"], "line 3" in place["detail"]) == ("/file", True)
