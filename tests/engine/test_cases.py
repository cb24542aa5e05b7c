"""Every kind of layer and every activation, through the same tests."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule
from chainrule.checkpoint import Checkpoint
from chainrule.fitting import TrainingLoop
from chainrule.layers import LAYERS
from chainrule.network import Network
from chainrule.spec import KINDS, summarize
from chainrule.spec.layers import ACTIVATIONS
from tests.engine.engine_cases import CASES, MAIN_LOSSES, case_id, draw

every_case = pytest.mark.parametrize(("spec", "shape"), CASES, ids=map(case_id, CASES))


def test_every_kind_and_activation_has_a_case():
    layers = [layer for spec, _ in CASES for layer in spec["layers"]]
    assert {layer["kind"] for layer in layers} == set(KINDS) == {*LAYERS, "shared"}
    for kind in ("dense", "activation"):
        used = {layer["activation"] for layer in layers if layer["kind"] == kind}
        assert used == set(ACTIVATIONS)


@every_case
@pytest.mark.parametrize("loss", MAIN_LOSSES)
def test_gradients_agree_with_central_differences(spec, shape, loss):
    probes = 1000 if loss == "mean_squared_error" else 30  # all entries once, then some of them
    errors = chainrule.check_gradients(spec, loss=loss, rows=3, probes=probes)
    net = Network(spec)
    layers = {name.partition(".")[0] for name in net.parameters}
    assert set(errors) == (layers if net.vocabularies else {*layers, "inputs"})
    assert max(errors.values()) < 1e-6, errors


@every_case
def test_outputs_have_the_inferred_shape(spec, shape):
    net = Network(spec)
    x, _ = draw(spec, shape, "mean_squared_error", np.random.default_rng(0), rows=3)
    assert net.predict(x).shape == (3, *net.output_shape)
    for layer, node in zip(net.layers, net.nodes, strict=True):
        tape = net.tape()
        tape.begin(0)
        xs = [np.zeros((3, *shape), np.float32) for shape in node.input_shapes]
        given = xs if node.spec.most_inputs > 1 else xs[0]
        assert layer.forward(given, tape)[0].shape == (3, *node.output_shape)


@every_case
def test_prediction_is_pure(spec, shape):
    net = Network(spec)
    before = net.flat.tobytes(), json.dumps({k: str(v) for k, v in vars(net).items()})
    x, _ = draw(spec, shape, "mean_squared_error", np.random.default_rng(1), rows=5)
    x = x.astype(np.float32)
    kept = x.copy()
    first, second = net.predict(x), net.predict(x)
    assert first.tobytes() == second.tobytes()
    assert x.tobytes() == kept.tobytes()
    assert (net.flat.tobytes(), json.dumps({k: str(v) for k, v in vars(net).items()})) == before


@every_case
def test_backward_leaves_inputs_targets_and_parameters_alone(spec, shape):
    net = Network(spec, dtype="float64")
    x, target = draw(spec, shape, "mean_squared_error", np.random.default_rng(2))
    kept = x.copy(), target.copy(), net.flat.copy()
    first = net.gradients(x, target, loss="mean_squared_error")
    second = net.gradients(x, target, loss="mean_squared_error")
    assert first[0] == second[0]
    assert all(first[1][name].tobytes() == second[1][name].tobytes() for name in first[1])
    for array, copy in zip((x, target, net.flat), kept, strict=True):
        assert array.tobytes() == copy.tobytes()


@every_case
def test_a_spec_comes_back_from_its_own_rendering(spec, shape):
    net = Network(spec, seed=3)
    again = Network(json.dumps(net.spec.render()), seed=3)
    assert again.spec == net.spec
    assert list(again.parameters) == list(net.parameters)
    assert again.flat.tobytes() == net.flat.tobytes()


@every_case
def test_a_checkpoint_comes_back_from_its_bytes(spec, shape):
    x, target = draw(spec, shape, "mean_squared_error", np.random.default_rng(4), rows=6)
    training = {"loss": "mean_squared_error", "batch_size": 4, "epochs": 1}
    loop = TrainingLoop(Network(spec), (x, target), training)
    next(loop.run())
    saved = loop.checkpoint().to_bytes()
    other = Network(spec, seed=9)
    resumed = TrainingLoop(other, (x, target), training, checkpoint=Checkpoint.from_bytes(saved))
    assert other.flat.tobytes() == loop.net.flat.tobytes()
    assert resumed.checkpoint().to_bytes() == saved


@every_case
def test_the_memory_estimate_is_what_a_step_takes(spec, shape):
    rows = 256
    net = Network(spec)
    x, target = draw(spec, shape, "mean_squared_error", np.random.default_rng(6), rows=rows)
    x, target = x.astype(np.float32), target.astype(np.float32)
    training = {"loss": "mean_squared_error", "batch_size": rows, "epochs": 1, "optimizer": "adam"}
    loop = TrainingLoop(net, (x, target), training)
    list(loop.run())
    tapes = loop._shards.tapes
    measured = net.flat.nbytes + net.state.nbytes + 2 * net.flat.nbytes
    measured += sum(tape.gradients.nbytes + tape.scratch_bytes for tape in tapes)
    estimate = summarize(net.spec, batch_size=rows, slots=2)["memory_bytes"]
    assert estimate == pytest.approx(measured, rel=0.1)
