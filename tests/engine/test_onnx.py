"""ONNX: for every kind of layer onnxruntime computes what we do, from a file that passes checks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given, settings

from chainrule.export import to_onnx
from chainrule.export.onnx import CONVERTERS
from chainrule.layers import LAYERS
from chainrule.naming import named
from chainrule.network import Network
from tests.engine.engine_cases import CASES, case_id, dense, draw, layer
from tests.engine.random_graphs import graphs
from tests.engine.test_random_graphs import draw_inputs, random_cases
from tests.onnx_running import session

TWO = {
    "inputs": {"a": {"shape": [3]}, "b": {"shape": [4]}},
    "layers": [
        {"kind": "dense", "units": 2, "inputs": ["a"], "name": "left"},
        {"kind": "dense", "units": 2, "inputs": ["b"], "name": "right"},
        {"kind": "add", "inputs": ["left", "right"], "name": "sum"},
        {"kind": "dropout", "rate": 0.5, "inputs": ["a"], "name": "same"},
    ],
    "outputs": ["sum", "same", "left"],
}


def test_every_kind_has_a_converter():
    assert set(LAYERS) == set(CONVERTERS)


@pytest.mark.parametrize(("spec", "shape"), CASES, ids=map(case_id, CASES))
def test_onnxruntime_gives_our_predictions(spec, shape):
    net = Network(spec, seed=5)
    rng = np.random.default_rng(7)
    stir(net, rng)
    loaded = session(to_onnx(net))
    for rows in (1, 4):
        x = draw(spec, shape, "mean_squared_error", rng, rows=rows)[0].astype(np.float32)
        (theirs,) = loaded.run(None, {"input": x})
        ours = net.predict(x)
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def stir(net, rng):
    """Move biases off zero and moving averages off their start, as training would."""
    net.flat += 0.1 * rng.standard_normal(net.flat.shape).astype(net.dtype)
    net.state += rng.uniform(0.1, 0.5, net.state.shape).astype(net.dtype)


@settings(random_cases, max_examples=60)
@given(graphs())
def test_onnxruntime_runs_random_graphs_as_we_do(spec):
    net = Network(spec, seed=2)
    x = draw_inputs(spec, np.random.default_rng(3)).astype(np.float32)
    theirs = session(to_onnx(net)).run(list(net.output_shapes), {"input": x})
    ours = named(net.predict(x), list(net.output_shapes))
    for other, y in zip(theirs, ours.values(), strict=True):
        assert other.shape == y.shape
        scale = max(1.0, np.abs(y).max(initial=0.0))
        np.testing.assert_allclose(other, y, rtol=1e-4, atol=1e-5 * scale)


def test_a_normalisation_without_weights_is_shared_by_inputs_of_any_shape():
    plain = layer("layer_norm", name="norm", center=False, scale=False)
    layers = [plain, dense(5), layer("shared", layer="norm")]
    net = Network({"input": {"shape": [3]}, "layers": layers}, seed=1)
    x = np.random.default_rng(0).random((4, 3), np.float32)
    (theirs,) = session(to_onnx(net)).run(None, {"input": x})
    np.testing.assert_allclose(theirs, net.predict(x), rtol=1e-4, atol=1e-5)


def test_inputs_and_outputs_have_their_names_and_any_number_of_rows():
    net = Network(TWO, dtype="float64")
    loaded = session(to_onnx(net))
    sides = {"in": loaded.get_inputs(), "out": loaded.get_outputs()}
    shapes = {side: {one.name: one.shape for one in given} for side, given in sides.items()}
    assert shapes["in"] == {"a": ["batch", 3], "b": ["batch", 4]}
    assert shapes["out"] == {"sum": ["batch", 2], "same": ["batch", 3], "left": ["batch", 2]}
    assert {one.type for given in sides.values() for one in given} == {"tensor(float)"}
    rng = np.random.default_rng(0)
    for rows in (1, 3, 17):
        xs = {"a": rng.random((rows, 3), np.float32), "b": rng.random((rows, 4), np.float32)}
        theirs = dict(zip(net.output_shapes, loaded.run(list(net.output_shapes), xs), strict=True))
        for name, ours in net.predict(xs).items():
            np.testing.assert_allclose(theirs[name], ours, rtol=1e-5, atol=1e-6)


def test_equal_networks_give_equal_bytes_in_any_process():
    program = (
        "import hashlib, chainrule.export; from chainrule.network import Network\n"
        f"net = Network({TWO!r}, seed=2)\n"
        "print(hashlib.sha256(chainrule.export.to_onnx(net)).hexdigest())"
    )
    assert printed(program) == printed(program) != ""


def printed(program):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_file_says_what_it_is():
    model = onnx.load_from_string(to_onnx(Network(TWO)))
    assert (model.producer_name, model.ir_version) == ("chainrule", 10)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    assert "features" in model.doc_string
    assert "softmax" in model.doc_string


def test_without_the_onnx_package_the_error_tells_what_to_install():
    program = (
        "import sys; sys.modules['onnx'] = None\n"
        "import chainrule, chainrule.export\n"
        f"net = chainrule.Network({TWO!r})\n"
        "try: chainrule.export.to_onnx(net)\n"
        "except chainrule.ChainruleError as error: print(error)"
    )
    assert "pip install 'chainrule[onnx]'" in printed(program)
