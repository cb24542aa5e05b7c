"""Warm starts: what is taken over from where, what is not, and what the receipt says of it."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.bundle import write_bundle
from chainrule.errors import CheckpointError, SpecError
from chainrule.fitting import TrainingLoop
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, parse
from chainrule.warmstart import tensor_shapes
from tests.engine.engine_cases import CASES, case_id


def network(*layers, seed=0, shape=(3,), dtype="float32"):
    return Network({"input": {"shape": list(shape)}, "layers": list(layers)}, seed, dtype)


def dense(units, **fields):
    return {"kind": "dense", "units": units, **fields}


def tensors(net):
    return {name: view.copy() for name, view in {**net.parameters, **net.states}.items()}


def normed(*, seed, trained=False, units=2):
    """A network with moving statistics, and after a few steps with others than it began with."""
    net = network(dense(4), {"kind": "batch_norm"}, dense(units), seed=seed)
    if trained:
        rng = np.random.default_rng(5)
        x, y = rng.standard_normal((16, 3)), rng.standard_normal((16, units))
        training = {"loss": "mean_squared_error", "epochs": 2, "batch_size": 8}
        list(chainrule.fit(net, (x, y), training))
    return net


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_same_architecture_takes_over_every_number(case):
    spec, shape = case
    document = {**spec, "input": {"shape": list(shape)}} if "inputs" not in spec else spec
    source, net = Network(document, seed=1), Network(document, seed=2)
    if not tensors(net):
        with pytest.raises(SpecError, match="nothing matches"):
            chainrule.warm_start(net, tensors(source))
        return
    found = chainrule.warm_start(net, tensors(source))
    assert net.flat.tobytes() == source.flat.tobytes()
    assert net.state.tobytes() == source.state.tobytes()
    assert set(found.restored) == {name.partition(".")[0] for name in tensors(net)}
    assert (found.skipped, found.unused) == ((), ())
    assert tensor_shapes(net.spec) == {n: t.shape for n, t in tensors(net).items()}


def test_a_bundle_its_path_a_model_and_a_checkpoint_of_the_same_run_give_the_same_network(tmp_path):
    source = normed(seed=1, trained=True)
    bundle, path = write_bundle(source), tmp_path / "model.zip"
    path.write_bytes(bundle)
    x = np.zeros((4, 3)), np.zeros((4, 2))
    checkpoint = TrainingLoop(source, x, {"loss": "mean_squared_error"}).checkpoint()
    assert source.state.any()
    for given in (bundle, path, str(path), chainrule.load(bundle), source, tensors(source)):
        net = normed(seed=2)
        assert chainrule.warm_start(net, given).restored == ("dense_1", "batch_norm_1", "dense_2")
        assert write_bundle(net) == bundle
    for spec in (source.spec, source.spec.render()):
        net = normed(seed=2)
        chainrule.warm_start(net, checkpoint, spec)
        assert write_bundle(net) == bundle


def test_layers_that_do_not_fit_keep_their_own_weights_and_the_receipt_says_why():
    source, net = normed(seed=1, trained=True, units=2), normed(seed=2, units=5)
    before, theirs = tensors(net), tensors(source)
    found = chainrule.warm_start(net, theirs)
    assert found.to_json() == {
        "restored": ["dense_1", "batch_norm_1"],
        "skipped": [
            {
                "layer": "dense_2",
                "reason": "kernel: (4, 5) here, (4, 2) in the source; "
                "bias: (5,) here, (2,) in the source",
            }
        ],
        "unused": ["dense_2"],
    }
    for name, now in tensors(net).items():
        wanted = before if name.startswith("dense_2.") else theirs
        assert (now == wanted[name]).all()


def test_what_only_one_side_has_is_told():
    source = network(dense(4, name="first"), dense(2, name="old"), seed=1)
    net = network(
        dense(4, name="first", use_bias=False),
        dense(2, name="new"),
        {"kind": "activation", "activation": "relu"},
        seed=2,
    )
    found = chainrule.warm_start(net, tensors(source))
    assert found.restored == ("first",)
    assert [vars(one) for one in found.skipped] == [
        {"layer": "new", "reason": "the source has no layer new"}
    ]
    assert found.unused == ("old",)
    back = chainrule.warm_start(source, tensors(net))
    assert back.restored == ("first",)
    assert vars(back.skipped[0]) == {
        "layer": "first",
        "reason": "bias: (4,) here, not in the source",
    }


@pytest.mark.parametrize(("here", "there"), [("float32", "float64"), ("float64", "float32")])
def test_the_precision_is_that_of_the_network(here, there):
    source = network(dense(2), seed=1, dtype=there)
    net = network(dense(2), seed=2, dtype=here)
    chainrule.warm_start(net, write_bundle(source))
    assert net.flat.dtype == here
    assert (net.flat == source.flat.astype(here)).all()


def test_a_layer_used_twice_is_taken_over_once():
    layers = [dense(3, name="first"), {"kind": "shared", "layer": "first"}, dense(1)]
    source, net = network(*layers, seed=1), network(*layers, seed=2)
    found = chainrule.warm_start(net, tensors(source))
    assert found.restored == ("first", "dense_2")
    assert (net.flat == source.flat).all()


def test_where_nothing_matches_both_sides_are_named_and_the_network_stays():
    source, net = network(dense(2, name="theirs"), seed=1), network(dense(2), seed=2)
    before = net.flat.copy()
    with pytest.raises(SpecError) as refused:
        chainrule.warm_start(net, tensors(source))
    assert str(refused.value) == (
        "nothing matches: the network has dense_1.kernel (3, 2), dense_1.bias (2,); "
        "the source has theirs.kernel (3, 2), theirs.bias (2,)"
    )
    with pytest.raises(SpecError, match="the source has no tensors"):
        chainrule.warm_start(net, {})
    assert (net.flat == before).all()


def test_what_is_not_a_source_is_refused():
    net = network(dense(2), seed=2)
    loop = TrainingLoop(net, (np.zeros((4, 3)), np.zeros((4, 2))), {"loss": "mean_squared_error"})
    with pytest.raises(SpecError, match="spec: is missing"):
        chainrule.warm_start(net, loop.checkpoint())
    for units in (1, 3):
        other = {"input": {"shape": [3]}, "layers": [dense(units)]}
        with pytest.raises(CheckpointError, match="not those of the architecture"):
            chainrule.warm_start(net, loop.checkpoint(), other)
    with pytest.raises(CheckpointError, match="not a bundle"):
        chainrule.warm_start(net, b"something else")
    with pytest.raises(SpecError, match=r"dense_1.kernel: must be an array of numbers"):
        chainrule.warm_start(net, {"dense_1.kernel": [["a", "b"]] * 3})


def test_numbers_too_large_for_the_precision_are_infinite():
    net = network(dense(1), seed=2)
    chainrule.warm_start(net, {"dense_1.bias": np.array([1e300])})
    assert np.isinf(net.parameters["dense_1.bias"]).all()


def test_a_warm_start_is_written_as_a_model_or_as_a_checkpoint_of_a_job():
    for good in ({"model_id": "mdl_1"}, {"job_id": "job_1"}, {"job_id": "job_1", "step": 0}):
        training = parse(chainrule.TrainingSpec, {"warm_start": good})
        rendered = training.render()["warm_start"]
        assert {k: v for k, v in rendered.items() if v is not None} == good
        assert parse(chainrule.TrainingSpec, training.render()) == training
    for bad, said in (
        ({}, "exactly one of model_id and job_id"),
        ({"model_id": "mdl_1", "job_id": "job_1"}, "exactly one of model_id and job_id"),
        ({"model_id": "mdl_1", "step": 1}, "step is that of a job's checkpoint"),
        ({"job_id": "job_1", "step": -1}, "warm_start.step: must be >= 0, got -1"),
        ({"job_id": "job_1", "epoch": 1}, "warm_start.epoch: is not a known field"),
    ):
        with pytest.raises(SpecError, match="warm_start") as refused:
            parse(chainrule.TrainingSpec, {"warm_start": bad})
        assert said in str(refused.value)


def test_the_library_alone_has_no_models_to_name():
    training = {"warm_start": {"model_id": "mdl_1"}}
    with pytest.raises(SpecError, match=r"warm_start: names what a service has"):
        chainrule.fit(network(dense(1)), (np.zeros((4, 3)), np.zeros(4)), training)


def test_an_architecture_names_the_tensors_of_its_network():
    spec = parse(ArchitectureSpec, {"input": {"shape": [3]}, "layers": [dense(2)]})
    assert tensor_shapes(spec) == {"dense_1.kernel": (3, 2), "dense_1.bias": (2,)}
