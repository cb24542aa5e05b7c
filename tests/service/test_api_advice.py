"""Warnings: what a sound job does that was hardly meant."""

from __future__ import annotations

import io

import numpy as np

from tests.api_testing import network


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


def test_windows_as_long_as_the_sequences_are_pointed_out(api):
    file = io.BytesIO()
    np.savez(file, inputs=np.ones((20, 5, 1)), targets=np.zeros((20, 5, 1)))
    dataset = api.upload(file.getvalue(), "application/x-npz").json["id"]
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
        "dataset_id": api.upload(file.getvalue(), "application/x-npz").json["id"],
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
