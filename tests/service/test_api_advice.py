"""Warnings: what a sound job does that was hardly meant."""

from __future__ import annotations

import io
import os

import numpy as np

from tests.api_testing import flowers, network, trained

NPZ = "application/x-npz"


def test_a_softmax_under_a_loss_that_takes_logits_is_pointed_out(api):
    architecture = network(8, "auto")
    architecture["layers"][-1]["activation"] = "softmax"
    request = api.job_request(architecture=architecture)
    for answer in (
        api.post("/v1/jobs?validate_only=true", json=request),
        api.get(f"/v1/jobs/{api.post('/v1/jobs', json=request).json['id']}"),
    ):
        (warning,) = answer.json["warnings"]
        assert warning.startswith("architecture.layers[1].activation: softmax_cross_entropy takes")
        assert warning.endswith("leave the layer linear")


def test_an_output_by_its_default_name_is_looked_at_too(api):
    file = io.BytesIO()
    np.savez(file, inputs=np.ones((20, 3)), kind=np.arange(20) % 2, size=np.ones(20))
    ends = [
        {"kind": "dense", "units": "auto", "inputs": ["input"], "activation": "softmax"},
        {"kind": "dense", "units": "auto", "inputs": ["input"]},
    ]
    request = {
        "dataset_id": api.upload(file.getvalue(), "application/x-npz").json["id"],
        "data": {"target": ["kind", "size"]},
        "architecture": {"layers": ends, "outputs": ["dense_1", "dense_2"]},
    }
    answer = api.post("/v1/jobs?validate_only=true", json=request)
    assert answer.status_code == 200, answer.json
    (warning,) = answer.json["warnings"]
    assert warning.startswith("architecture.layers[0].activation: softmax_cross_entropy takes")


def test_windows_as_long_as_the_sequences_are_pointed_out(api):
    file = io.BytesIO()
    np.savez(file, inputs=np.ones((20, 5, 1)), targets=np.zeros((20, 5, 1)))
    dataset = api.upload(file.getvalue(), NPZ).json["id"]
    layers = [
        {"kind": "gru", "units": 2, "return_sequences": True},
        {"kind": "dense", "units": "auto"},
    ]
    request = {
        "dataset_id": dataset,
        "architecture": {"layers": layers},
        "training": {"bptt_steps": 5},
    }
    warnings = api.post("/v1/jobs?validate_only=true", json=request).json["warnings"]
    assert warnings == ["training.bptt_steps: 5 cuts nothing, the sequences have 5 steps"]
    request["training"]["bptt_steps"] = 3
    assert api.post("/v1/jobs?validate_only=true", json=request).json["warnings"] == []


def refusal(api, arrays, layers, **data):
    file = io.BytesIO()
    np.savez(file, **arrays)
    request = {
        "dataset_id": api.upload(file.getvalue(), NPZ).json["id"],
        "architecture": {"layers": layers},
        "data": data,
    }
    answer = api.post("/v1/jobs?validate_only=true", json=request)
    assert answer.status_code == 422, answer.json
    (error,) = answer.json["errors"]
    return error["pointer"], error["detail"]


def test_a_forgotten_return_sequences_is_named(api):
    arrays = {"inputs": np.ones((20, 5, 1)), "targets": np.zeros((20, 5, 1))}
    layers = [{"kind": "lstm", "units": 2}, {"kind": "dense", "units": "auto"}]
    place, detail = refusal(api, arrays, layers)
    assert place == "/training/loss"
    assert "wants outputs of shape (5, 1)" in detail
    assert detail.endswith("gives (1,): layer 'lstm_1' gives every step with return_sequences true")


def test_a_flat_reconstruction_is_told_to_take_the_inputs_shape(api):
    arrays = {"images": np.ones((20, 2, 2, 1))}
    layers = [{"kind": "flatten"}, {"kind": "dense", "units": 4}]
    _, detail = refusal(api, arrays, layers, task="reconstruction")
    assert detail.endswith(
        'gives (4,): put {"kind": "reshape", "target_shape": [2, 2, 1]} after it'
    )
    place, detail = refusal(api, arrays, layers)
    assert place == "/data/target"
    assert 'or give "task": "reconstruction"' in detail


def test_most_jobs_have_none(api):
    assert api.submit()["warnings"] == []


def warnings_of(api, file, content_type="text/csv", **request):
    dataset = api.upload(file, content_type).json["id"]
    request = {"dataset_id": dataset, "architecture": network(4, "auto"), **request}
    answer = api.post("/v1/jobs?validate_only=true", json=request)
    assert answer.status_code == 200, answer.json
    return answer.json["warnings"]


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_few_whole_numbers_learnt_as_numbers_are_pointed_out_unless_asked_for(api):
    table = "x,digit,count\n" + "".join(f"{i}.5,{i % 10},{i % 11}\n" for i in range(60))
    data = {"inputs": ["x"], "target": "digit"}
    assert warnings_of(api, table.encode(), data=data) == [
        "data.target: 'digit' has 10 distinct whole numbers and is learnt as a number; "
        'give "task": "classification" to learn classes'
    ]
    request = {"dataset_id": api.upload(table.encode()).json["id"], "data": data}
    job = api.post("/v1/jobs", json={**request, "architecture": network("auto")}).json
    assert "'digit' has 10 distinct" in api.get(f"/v1/jobs/{job['id']}").json["warnings"][0]
    for asked in ({"data": {**data, "task": "regression"}}, {"data": {**data, "target": "count"}}):
        assert warnings_of(api, table.encode(), **asked) == []
    asked = {"data": data, "training": {"loss": "mean_squared_error"}}
    assert warnings_of(api, table.encode(), **asked) == []


def test_class_numbers_that_no_row_has_are_named(api):
    for labels, which in (([1, 2, 3, 5], "classes 0, 4 have"), ([0, 1, 2, 4], "class 3 has")):
        data = npz(inputs=np.ones((40, 2)), targets=np.resize(labels, 40))
        (warning,) = warnings_of(api, data, NPZ)
        assert warning.startswith(f"data.target: {which} no row")


def test_what_an_embedding_has_no_row_for_is_refused(api):
    layers = [
        {"kind": "embedding", "input_dim": 9, "output_dim": 2, "name": "wide", "inputs": ["a"]},
        {"kind": "embedding", "input_dim": 5, "output_dim": 2, "name": "words", "inputs": ["b"]},
        {"kind": "concat", "inputs": ["wide", "words"]},
        {"kind": "flatten"},
        {"kind": "dense", "units": "auto"},
    ]
    words = np.tile([[0, 1, 4]], (40, 1))
    arrays = {"a": words, "b": words.copy(), "y": np.zeros(40)}
    data = {"inputs": ["a", "b"], "target": "y"}
    assert warnings_of(api, npz(**arrays), NPZ, architecture={"layers": layers}, data=data) == []
    arrays["b"][7, 1] = 5
    assert refusal(api, arrays, layers, **data) == (
        "/data/inputs",
        "array 'b', row 7: must be whole numbers from 0 to 4, got 5 (layer 'words')",
    )
    arrays["b"] = np.where(words == 4, 0.5, 0.0)
    assert (
        "row 0: must be whole numbers from 0 to 4, got 0.5"
        in refusal(api, arrays, layers, **data)[1]
    )


def test_a_table_of_numbers_is_no_words_to_embed(api):
    layers = [
        {"kind": "embedding", "input_dim": 9, "output_dim": 2},
        {"kind": "flatten"},
        {"kind": "dense", "units": "auto"},
    ]
    answer = api.post(
        "/v1/jobs?validate_only=true", json=api.job_request(architecture={"layers": layers})
    )
    (error,) = answer.json["errors"]
    assert (answer.status_code, error["pointer"]) == (422, "/data/inputs")
    assert error["detail"].startswith("row 0: must be whole numbers from 0 to 8, got ")
    assert error["detail"].endswith(
        "(layer 'embedding_1'); the numbers of a table are standardised"
    )


def test_a_layer_that_wants_every_step_is_told_who_gives_it(api):
    arrays = {"inputs": np.ones((20, 5, 1)), "targets": np.zeros((20, 1))}
    both = {"kind": "bidirectional", "layer": {"kind": "gru", "units": 4}}
    for first, name in (({"kind": "lstm", "units": 8}, "lstm_1"), (both, "bidirectional_1")):
        layers = [first, {"kind": "dropout", "rate": 0.1}, {"kind": "lstm", "units": 2}]
        place, detail = refusal(api, arrays, [*layers, {"kind": "dense", "units": "auto"}])
        assert place == "/architecture/layers/2"
        assert "wants inputs of shape (steps, features), got (8,)" in detail
        assert detail.endswith(f" (return_sequences true in {name!r} gives every step)")


def test_a_head_with_axes_too_many_is_told_to_flatten(api):
    arrays = {"inputs": np.ones((20, 8, 8, 1)), "targets": np.resize(range(10), 20)}
    auto = {"kind": "dense", "units": "auto", "name": "head"}
    place, detail = refusal(api, arrays, [auto, {"kind": "dropout", "rate": 0.1}])
    assert place == "/training/loss"
    assert detail.endswith("gives (8, 8, 10): put a flatten before layer 'head'")
    arrays["inputs"] = np.ones((20, 8, 1))
    lstm = {"kind": "lstm", "units": 2, "return_sequences": True}
    _, detail = refusal(api, arrays, [lstm, auto])
    assert detail.endswith(
        "(8, 10): layer 'lstm_1' gives the last step with return_sequences false"
    )


def test_two_targets_of_one_output_lead_to_the_list_of_outputs(api):
    arrays = {"inputs": np.ones((20, 2)), "a": np.zeros(20), "b": np.zeros(20)}
    layers = [{"kind": "dense", "units": "auto"}]
    place, detail = refusal(api, arrays, layers, inputs="inputs", target=["a", "b"])
    assert place == "/data/target"
    assert detail.endswith("'dense_1'; architecture.outputs lists the layers that give several")


def test_an_only_array_has_the_name_that_the_layers_call_it_by(api):
    dataset = api.upload(npz(left=np.ones((40, 3)), y=np.zeros(40)), NPZ).json["id"]
    layers = [{"kind": "dense", "units": "auto", "inputs": ["left"]}]
    for inputs in (["left"], "left"):
        request = {
            "dataset_id": dataset,
            "architecture": {"layers": layers},
            "data": {"inputs": inputs, "target": "y"},
        }
        config = api.post("/v1/jobs", json=request).json["config"]
        assert config["architecture"]["inputs"] == {"left": {"shape": [3]}}
        assert config["data"]["inputs"] == {"left": "left"}


def test_outputs_that_cannot_reach_a_standardised_target_are_pointed_out(api):
    bent = network(4, "auto")
    bent["layers"][-1]["activation"] = "relu"
    data = {"inputs": ["length"], "target": "height"}
    request = api.job_request(architecture=bent, data=data)
    (warning,) = api.post("/v1/jobs?validate_only=true", json=request).json["warnings"]
    assert warning == (
        "architecture.layers[1].activation: relu gives nothing below 0, 'height' is standardised, "
        "to both sides of 0: leave the layer linear"
    )
    arrays = npz(inputs=np.ones((20, 2)), targets=np.ones(20))
    assert warnings_of(api, arrays, NPZ, architecture=bent) == []


def test_a_warmup_as_long_as_the_job_is_pointed_out(api):
    base = {"epochs": 2, "batch_size": 16}  # 60 flowers, 48 to train on: 6 steps
    for warmup, expected in (
        (5, []),
        (6, ["training.schedule.warmup_steps: 6, the job has 6 steps: the rate rises to the end"]),
    ):
        training = {**base, "schedule": {"kind": "constant", "warmup_steps": warmup}}
        assert api.submit(training=training)["warnings"] == expected


def test_shards_and_threads_without_work_are_pointed_out(api):
    cores, base = os.cpu_count(), {"epochs": 1, "batch_size": 16}
    for shards, threads, expected in (
        (2, 1, []),
        (17, 1, ["training.shards: 17, a batch has 16 rows: the other shards are empty"]),
        (1, 2, ["training.threads: 2, a batch has 1 shard: the other threads have no work"]),
        (2, 3, ["training.threads: 3, a batch has 2 shards: the other threads have no work"]),
    ):
        training = {**base, "shards": shards, "threads": threads}
        found = api.submit(training=training)["warnings"]
        assert [one for one in found if "cores" not in one] == expected
    training = {"batch_size": 1024, "shards": cores + 1, "threads": cores + 1}
    (warning,) = api.submit(training=training)["warnings"]
    assert warning == f"training.threads: {cores + 1}, this machine has {cores} cores for them"


def test_an_input_that_tells_the_target_is_told_of_before_and_at_the_end(api):
    head, *lines = flowers(90).decode().splitlines()
    leaking = "\n".join([f"{head},code", *(f"{line},{line[-1]}{line[-1]}" for line in lines), ""])
    asked = {
        "dataset_id": api.upload(leaking.encode()).json["id"],
        "data": {"inputs": ["width", "code"], "target": "species"},
    }
    request = api.job_request(**asked)
    (said,) = api.post("/v1/jobs?validate_only=true", json=request).json["warnings"]
    assert said.startswith("data.inputs: 'code' alone tells 'species'")
    assert api.submit(**asked)["warnings"] == []  # nobody waits for it
    job = trained(api, **asked)
    assert job["warnings"] == [said]
    assert api.get(job["links"]["self"] + "/evaluation").json["warnings"] == [said]
    honest = trained(api)
    assert honest["warnings"] == []


def test_a_type_of_a_column_that_is_not_there_names_the_one_that_was_meant(api):
    answer = api.upload(types='{"heights": "number"}')
    (error,) = answer.json["errors"]
    assert error["pointer"] == "/types/heights"
    meant = "there is no column 'heights', did you mean 'height'? the columns are 'length', 'width'"
    assert error["detail"].startswith(meant)
