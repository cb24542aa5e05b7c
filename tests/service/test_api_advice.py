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


def test_most_jobs_have_none(api):
    assert api.submit()["warnings"] == []
