"""The certificate of a job: what it finds, what it leaves out, and that it is always the same."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from chainrule import gradcheck
from chainrule.certificate import PROBES, TOLERANCE, certify
from chainrule.gradcheck import check_gradients
from chainrule.layers import LAYERS
from chainrule.layers.activation import Activation
from chainrule.layers.dense import Dense
from chainrule.losses import Objective
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, parse
from tests.engine.engine_cases import CASES, LOSS_NAMES, MAIN_LOSSES, case_id, dense, layer


def architecture(shape, *layers):
    return parse(ArchitectureSpec, {"input": {"shape": list(shape)}, "layers": list(layers)})


def check(shape, *layers, loss="mean_squared_error", seed=0):
    return certify(architecture(shape, *layers), loss, seed)


def errors(certificate):
    return {row["name"]: row["max_relative_error"] for row in certificate["layers"]}


@pytest.mark.parametrize(("spec", "shape"), CASES, ids=map(case_id, CASES))
@pytest.mark.parametrize("loss", MAIN_LOSSES)
def test_every_kind_passes(spec, shape, loss):
    certificate = certify(parse(ArchitectureSpec, spec), loss, 0)
    net = Network(spec)
    wanted = "passed" if net.parameters else "skipped"
    assert (certificate["status"], certificate["loss"]) == (wanted, loss), certificate
    owners = {name.partition(".")[0] for name in net.parameters}
    if owners:
        assert [row["name"] for row in certificate["layers"]] == [n.name for n in net.nodes]
        assert {n for n, error in errors(certificate).items() if error is not None} == owners
        assert max(e for e in errors(certificate).values() if e is not None) <= TOLERANCE
    for row in certificate["layers"]:
        assert (row["reason"] is None) == (row["max_relative_error"] is not None)
    assert json.loads(json.dumps(certificate, allow_nan=False)) == certificate


def test_as_many_entries_are_probed_as_there_are_up_to_32_a_tensor():
    rows = check((64,), dense(32, "tanh"), dense(2))["layers"]
    assert [row["probes"] for row in rows] == [2 * PROBES, PROBES + 2]


@dataclass(frozen=True)
class Factor(Dense):
    """A dense layer one of whose gradients is off by a factor."""

    kernel_factor: float = 1.0
    input_factor: float = 1.0

    def forward(self, x, tape):
        y, back = super().forward(x, tape)

        def backward(dy):
            dx = back(dy)
            tape.gradient(self.kernel).view[...] *= self.kernel_factor
            return dx * self.input_factor if dx is not dy else dx

        return y, backward


@pytest.fixture
def break_layer(monkeypatch):
    """Make the dense layer of a name wrong by factors."""

    def act(name, **factors):
        class Some(Dense):
            @classmethod
            def build(cls, spec, number, parameters):
                if spec.name != name:
                    return Dense.build(spec, number, parameters)
                kernel, bias = parameters["kernel"], parameters["bias"]
                return Factor(kernel, bias, spec.activation, **factors)

        monkeypatch.setitem(LAYERS, "dense", Some)

    return act


NAMED = [dense(6, "tanh", name=name) for name in ("a", "b", "c")]


@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0, 1.0001, 1.0 + 1e-5, float("nan")])
def test_a_wrong_gradient_of_a_parameter_names_its_layer(break_layer, factor):
    break_layer("b", kernel_factor=factor)
    certificate = check((5,), *NAMED, dense(3, name="last"))
    assert (certificate["status"], certificate["layer"]) == ("failed", "b")
    assert "'b'" in certificate["reason"]
    found = errors(certificate)
    wanted = {1.0 + 1e-5: 1e-5, 1.0001: 1e-4, 0.0: 1.0, 0.5: 0.5, -1.0: 2.0}.get(factor, 2.0)
    assert found["b"] == pytest.approx(wanted, rel=0.02)
    assert max(found[name] for name in ("a", "c", "last")) < TOLERANCE


def test_a_wrong_gradient_handed_on_names_the_layer_fed_by_nothing_wrong(break_layer):
    break_layer("c", input_factor=1.5)
    certificate = check((5,), *NAMED, dense(3))
    found = errors(certificate)
    assert {name for name, error in found.items() if error > TOLERANCE} == {"a", "b"}
    assert (certificate["status"], certificate["layer"]) == ("failed", "b")


def test_a_fault_of_a_layer_without_parameters_names_the_one_before_it(monkeypatch):
    class Wrong(Activation):
        def forward(self, x, tape):
            y, back = super().forward(x, tape)
            return y, lambda dy: back(dy) * 1.1

    monkeypatch.setitem(LAYERS, "activation", Wrong)
    certificate = check((5,), *NAMED, layer("activation", activation="swish"), dense(3))
    assert (certificate["status"], certificate["layer"]) == ("failed", "c")


def test_kinks_are_no_faults():
    """Leaky slopes over many units: some of the probes cross, and are left out."""
    for seed in range(20):
        certificate = check((20,), *[dense(64, "relu")] * 6, dense(3), seed=seed)
        assert certificate["status"] == "passed", certificate


def test_a_kink_right_at_the_point_is_no_fault_and_is_told(monkeypatch):
    """All units rest at zero: the slopes to both sides of it differ, and none is wrong."""
    monkeypatch.setattr(gradcheck, "_STIR", 0.0)
    layers = dense(4, "relu", kernel_initializer="zeros", name="dead"), dense(3, name="last")
    certificate = check((5,), *layers)
    rows = {row["name"]: row for row in certificate["layers"]}
    assert certificate["status"] == "passed"
    assert (rows["dead"]["max_relative_error"], rows["dead"]["probes"]) == (None, 0)
    assert rows["dead"]["reason"] == "every probe met a kink"


def test_a_kink_that_every_step_jumps_over_is_no_fault(monkeypatch):
    """The cosine of a zero vector: within 1e-7 its slope is 1e7, a step of 1e-5 sees none of it."""
    monkeypatch.setattr(gradcheck, "_STIR", 0.0)
    hidden = dense(4, "relu", kernel_initializer="zeros")
    certificate = check((3,), hidden, dense(2, name="last"), loss="cosine_similarity")
    assert certificate["status"] != "failed", certificate


def test_units_that_nothing_reaches_do_not_rest_at_their_kink():
    """Dropout leaves a row nothing but biases: were these zero, all units would bend at once."""
    for seed in range(40):
        layers = [layer("dropout", rate=0.9), dense(8, "relu"), dense(8, "leaky_relu"), dense(2)]
        certificate = check((2,), *layers, seed=seed)
        assert certificate["status"] == "passed", certificate


def test_kernels_of_zeros_do_not_rest_at_their_kink():
    for seed in range(20):
        dead = dense(4, "relu", kernel_initializer="zeros", use_bias=False)
        certificate = check((5,), dead, dense(3), seed=seed)
        assert certificate["status"] == "passed", certificate


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_every_loss_passes(loss):
    spec = architecture((5,), dense(6, "tanh"), dense(3))
    certificate = certify(spec, loss, 0)
    assert (certificate["status"], certificate["loss"]) == ("passed", loss), certificate


def test_the_losses_of_several_outputs_and_their_weights_are_the_ones_checked():
    layers = [dense(6, "tanh"), dense(3, name="a", inputs=["dense_1"])]
    layers.append(dense(2, name="b", inputs=["dense_1"]))
    document = {"input": {"shape": [5]}, "layers": layers, "outputs": ["a", "b"]}
    spec = parse(ArchitectureSpec, document)
    certificate = certify(spec, {"a": {"kind": "huber", "weight": 0.5}, "b": "focal"}, 0)
    assert certificate["status"] == "passed", certificate
    assert certificate["loss"] == {"a": "huber", "b": "focal"}
    costs = [[0.0, 9.0, 1.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    objective = Objective({"dense_2": (3,)}, "softmax_cross_entropy", costs)
    single = architecture((5,), dense(6, "tanh"), dense(3))
    assert certify(single, objective, 0)["status"] == "passed"


TWO_SIDES = {
    "inputs": {"words": {"shape": [3]}, "numbers": {"shape": [4]}},
    "layers": [
        layer("embedding", input_dim=7, output_dim=2, inputs=["words"]),
        layer("flatten"),
        dense(5, "tanh", name="twin", inputs=["numbers"]),
        layer("concat", inputs=["flatten_1", "twin"]),
        dense(3, name="a"),
        dense(1, name="b", inputs=["concat_1"]),
    ],
    "outputs": ["a", "b"],
}


def test_several_inputs_are_checked_in_whatever_order_the_document_has_them():
    losses = {"a": "softmax_cross_entropy", "b": "mean_squared_error"}
    certificate = certify(parse(ArchitectureSpec, TWO_SIDES), losses, 0)
    assert certificate["status"] == "passed", certificate
    assert {n for n, e in errors(certificate).items() if e is not None} == {
        "embedding_1", "twin", "a", "b"
    }  # fmt: skip
    turned = {**TWO_SIDES, "inputs": {"numbers": {"shape": [4]}, "words": {"shape": [3]}}}
    assert certify(parse(ArchitectureSpec, turned), losses, 0) == certificate
    found = check_gradients(TWO_SIDES, loss=losses)
    assert set(found) == {"embedding_1", "twin", "a", "b", "numbers"}
    assert max(found.values()) < 1e-6


def test_gradients_that_vanish_are_no_faults():
    """Forty sigmoids: the first layer's gradients are far below the rounding of the loss."""
    spec = architecture((8,), *[dense(8, "sigmoid")] * 40, dense(3))
    net = Network(spec, dtype="float64")
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((2, 8)), rng.standard_normal((2, 3))
    first = net.gradients(x, target, loss="mean_squared_error")[1]["dense_1.kernel"]
    assert 0 < abs(first).max() < 1e-16
    assert certify(spec, "mean_squared_error", 0)["status"] == "passed"


def test_a_large_loss_that_rounds_coarsely_is_no_fault():
    scaled = {"kind": "constant", "value": 3000.0}
    certificate = check((5,), dense(6, "tanh"), dense(3, bias_initializer=scaled))
    assert certificate["status"] == "passed", certificate


def test_a_deep_network_is_checked_evenly_over_its_depth():
    certificate = check((4,), *[dense(4, "tanh")] * 100)
    checked = [n for n, row in enumerate(certificate["layers"]) if row["probes"]]
    assert certificate["status"] == "passed"
    assert 8 <= len(checked) < 50
    assert max(np.diff([0, *checked, 99])) <= 2 * 100 / len(checked)
    unchecked = {row["reason"] for row in certificate["layers"] if not row["probes"]}
    assert unchecked == {"not checked within the time"}


def test_a_network_that_would_take_too_long_is_not_checked():
    certificate = check((2000,), dense(2000), dense(2000), dense(1))
    assert certificate["status"] == "skipped"
    assert certificate["layers"] == []
    assert "too large" in certificate["reason"]


SCRIPT = """
import json, sys
import numpy as np
kept = [np.empty(n) for n in range(1, int(sys.argv[1]))]  # other addresses for all that follows
from chainrule.certificate import certify
from chainrule.spec import ArchitectureSpec, parse
print(json.dumps(certify(parse(ArchitectureSpec, sys.argv[2]), "softmax_cross_entropy", 5)))
"""


def test_another_process_finds_the_very_same():
    layers = [dense(33, "gelu"), layer("dropout", rate=0.3), dense(17, "relu"), dense(3)]
    document = json.dumps({"input": {"shape": [13]}, "layers": layers})
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, number, document], capture_output=True, check=True
        ).stdout
        for number in ("1", "200", "333")
    }
    assert len(found) == 1
    (text,) = found
    assert json.loads(text)["status"] == "passed"
