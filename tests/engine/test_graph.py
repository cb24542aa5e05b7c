"""Graphs: what feeds what, several inputs and outputs, shared layers; and what does not add up."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.errors import ShapeError, SpecError
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, check_wiring, complete, nodes, parse, summarize
from tests.engine.engine_cases import dense, layer


def graph(*layers, shape=(4,), **more):
    return {"input": {"shape": list(shape)}, "layers": list(layers), **more}


def two_inputs(*layers, **more):
    inputs = {"left": {"shape": [4]}, "right": {"shape": [4]}}
    return {"inputs": inputs, "layers": list(layers), **more}


def refusal(document):
    with pytest.raises(SpecError) as caught:
        nodes(parse(ArchitectureSpec, document))
    (problem,) = caught.value.problems
    return problem.path, problem.detail


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        (
            graph(dense(3, inputs=["dense_2"]), dense(3)),
            "layers[0].inputs",
            ["a cycle: dense_1 <- dense_2 <- dense_1"],
        ),
        (
            graph(dense(4), layer("add", inputs=["dense_1", "add_1"])),
            "layers[1].inputs",
            ["a cycle: add_1 <- add_1"],
        ),
        (
            graph(dense(3, inputs=["x"])),
            "layers[0].inputs[0]",
            ["no layer or input 'x'", "dense_1"],
        ),
        (
            graph(dense(3), dense(4, inputs=["input"])),
            "layers[0]",
            ["'dense_1' feeds no layer and is not an output"],
        ),
        (
            graph(dense(3), dense(2), layer("add", inputs=["dense_1", "dense_2"])),
            "layers[2].inputs",
            ["(3,)", "(2,)", "'add_1'", "'dense_1' (3,), 'dense_2' (2,)"],
        ),
        (
            graph(
                dense(3),
                layer("reshape", target_shape=[3, 1]),
                layer("concat", inputs=["dense_1", "reshape_1"]),
            ),
            "layers[2].inputs",
            ["(3,)", "(3, 1)", "'concat_1'"],
        ),
        (graph(dense(3), layer("add")), "layers[1].inputs", ["is missing", "add joins several"]),
        (graph(dense(3), layer("add", inputs=["dense_1"])), "layers[1].inputs", ["2 to 64, got 1"]),
        (graph(dense(3, inputs=["input", "input"])), "layers[0].inputs", ["takes 1, got 2"]),
        (
            graph(layer("reshape", target_shape=[3, -1])),
            "layers[0].target_shape",
            ["(3, -1)", "4 values of (4,)"],
        ),
        (
            graph(layer("reshape", target_shape=[-1, -1])),
            "layers[0].target_shape",
            ["one of them -1 at most"],
        ),
        (graph(dense(3), outputs=["dense_9"]), "outputs[0]", ["'dense_9' is not a layer"]),
        (
            graph(dense(3), outputs=["dense_1", "dense_1"]),
            "outputs[1]",
            ["'dense_1' is named twice"],
        ),
        (two_inputs(dense(3, inputs=["left"])), "inputs.right", ["'right' feeds no layer"]),
        (graph(dense(3, name="input")), "layers[0].name", ["names the network's input"]),
        (graph(layer("shared", layer="x")), "layers[0].layer", ["there is no layer 'x'"]),
        (
            graph(dense(3), layer("shared", layer="dense_1", inputs=["dense_1"])),
            "layers[1].layer",
            ["(4,)", "(3,)"],
        ),
        (
            graph(
                dense(4),
                layer("shared", layer="dense_1"),
                layer("shared", layer="shared_1"),
            ),
            "layers[2].layer",
            ["itself shared"],
        ),
        (
            graph(layer("concat", inputs=["input", "input"], axis=0)),
            "layers[0].axis",
            ["but the batch's"],
        ),
        (graph(dense(3), shape=(10**7, 10**7)), "input.shape", ["100,000,000,000,000 values"]),
        (
            graph(*[layer("up_sampling2d", size=1024)] * 1000, shape=(1, 1, 1)),
            "layers[1]",
            ["1,099,511,627,776 values a sample, of shape (1048576, 1048576, 1)"],
        ),
        (
            graph(
                layer("conv2d", filters=8, kernel_size=1024, padding="same"), shape=(4096, 4096, 1)
            ),
            "layers",
            ["2.8e+14 FLOPs a sample"],
        ),
    ],
)
def test_a_graph_that_does_not_add_up_is_refused_at_its_place(document, path, words):
    found, detail = refusal(document)
    assert found == path
    assert [word for word in words if word not in detail] == []


def test_the_first_layer_of_several_inputs_says_which_feeds_it():
    document = two_inputs(dense(4), layer("concat", inputs=["dense_1", "right"]))
    found, detail = refusal(document)
    assert found == "layers[0].inputs"
    assert "the network has several inputs, left, right" in detail


def test_one_of_input_and_inputs_is_given():
    with pytest.raises(SpecError, match="inputs: give input or inputs, not both"):
        parse(ArchitectureSpec, two_inputs(dense(1), input={"shape": [2]}))


def test_a_thousand_layers_may_stand_in_any_order():
    layers = [dense(2, name=f"d{i}", inputs=[f"d{i + 1}"]) for i in range(999)]
    layers.append(dense(2, name="d999", inputs=["input"]))
    walked = nodes(parse(ArchitectureSpec, graph(*layers, outputs=["d0"])))
    assert [node.name for node in walked] == [f"d{i}" for i in reversed(range(1000))]


def test_the_graph_is_checked_before_the_input_is_known():
    open_ended = {"layers": [dense(2, inputs=["dense_2"]), dense(2, inputs=["dense_1"])]}
    with pytest.raises(SpecError, match=r"layers\[0\].inputs: a cycle: dense_1 <- dense_2"):
        check_wiring(parse(ArchitectureSpec, open_ended))
    check_wiring(parse(ArchitectureSpec, {"layers": [dense(2), dense("auto")]}))
    named = [layer("add", inputs=["left", "right"]), dense("auto")]
    check_wiring(parse(ArchitectureSpec, {"layers": named}))


SIAMESE = two_inputs(
    dense(5, "tanh", name="twin", inputs=["left"]),
    layer("shared", layer="twin", name="other", inputs=["right"]),
    layer("multiply", inputs=["twin", "other"]),
    dense(3, name="same"),
    dense(2, name="sum", inputs=["multiply_1"]),
    outputs=["same", "sum"],
)


def test_several_inputs_and_outputs_go_by_name():
    net = Network(SIAMESE, dtype="float64")
    rng = np.random.default_rng(0)
    x = {"left": rng.standard_normal((6, 4)), "right": rng.standard_normal((6, 4))}
    y = net.predict(x)
    own = net.parameters
    twin = [np.tanh(x[side] @ own["twin.kernel"] + own["twin.bias"]) for side in ("left", "right")]
    product = twin[0] * twin[1]
    for name in ("same", "sum"):
        wanted = product @ own[f"{name}.kernel"] + own[f"{name}.bias"]
        np.testing.assert_allclose(y[name], wanted, rtol=1e-12, atol=1e-12)
    assert list(own) == [
        f"{name}.{part}" for name in ("twin", "same", "sum") for part in ("kernel", "bias")
    ]
    assert net.predict(x, batch_size=4)["sum"].shape == (6, 2)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 4)), "must be a mapping with"),
        ({"left": np.zeros((2, 4))}, r"must have \['left', 'right'\]"),
        ({"left": np.zeros((2, 4)), "right": np.zeros((2, 5))}, "input 'right' wants"),
        ({"left": np.zeros((2, 4)), "right": np.zeros((3, 4))}, "different numbers of rows"),
    ],
)
def test_inputs_that_do_not_fit_are_named(x, words):
    with pytest.raises(ShapeError, match=words):
        Network(SIAMESE).predict(x)


def test_gradients_of_several_outputs_add_up_where_they_meet():
    net = Network(SIAMESE, dtype="float64")
    rng = np.random.default_rng(1)
    x = {"left": rng.standard_normal((3, 4)), "right": rng.standard_normal((3, 4))}
    dy = {"same": rng.standard_normal((3, 3)), "sum": rng.standard_normal((3, 2))}

    def value():
        y = net.predict(x)
        return sum(float(np.vdot(y[name], dy[name])) for name in dy)

    tape = net.tape()
    tape.begin(0)
    _, backward = net.forward(x, tape, inputs=True)
    dx = backward(dy)
    analytic = {**{n: tape.gradient(p).view for n, p in net.parameters.items()}, **dx}
    for name, array in {**net.parameters, **x}.items():
        flat, numeric = array.reshape(-1), []
        for entry in range(flat.size):
            kept, ends = flat[entry], []
            for change in (1e-6, -1e-6):
                flat[entry] = kept + change
                ends.append(value())
            flat[entry] = kept
            numeric.append((ends[0] - ends[1]) / 2e-6)
        np.testing.assert_allclose(analytic[name].reshape(-1), numeric, rtol=1e-6, atol=1e-8)


def test_only_what_leads_to_a_parameter_is_taken_back():
    net = Network(graph(dense(4), layer("add", inputs=["dense_1", "input"]), dense(2)))
    tape = net.tape()
    tape.begin(0)
    y, backward = net.forward(np.ones((3, 4), np.float32), tape)
    assert backward(np.ones_like(y)) is None
    assert tape.gradient(net.parameters["dense_1.kernel"]).view.any()


def test_the_data_completes_several_inputs_and_outputs():
    document = two_inputs(
        layer("concat", inputs=["left", "right"]),
        dense("auto", name="a"),
        dense("auto", name="b", inputs=["concat_1"]),
        outputs=["a", "b"],
    )
    spec = parse(ArchitectureSpec, document)
    done = complete(spec, {"left": (4,), "right": (4,)}, {"a": 3, "b": 2})
    assert [node.output_shape for node in nodes(done)] == [(8,), (3,), (2,)]
    with pytest.raises(SpecError, match=r"inputs.right.shape: is \(4,\), the data has \(5,\)"):
        complete(spec, {"left": (4,), "right": (5,)})
    with pytest.raises(
        SpecError, match=r"inputs: are \['left', 'right'\], the data has \['left'\]"
    ):
        complete(spec, {"left": (4,)})


def test_a_summary_lists_layers_as_the_document_does():
    document = graph(
        layer("add", inputs=["input", "dense_1"]),
        dense(4, inputs=["input"]),
        layer("shared", layer="dense_1", inputs=["add_1"]),
    )
    summary = summarize(parse(ArchitectureSpec, document))
    assert [row["kind"] for row in summary["layers"]] == ["add", "dense", "shared"]
    assert [row["parameters"] for row in summary["layers"]] == [0, 20, 0]
    assert summary["parameters"] == 20


def test_a_bundle_of_several_inputs_comes_back(tmp_path):
    net = Network(SIAMESE)
    net.save(tmp_path / "net.zip")
    again = chainrule.load(tmp_path / "net.zip").network
    x = {"left": np.ones((2, 4)), "right": np.full((2, 4), 0.5)}
    assert again.predict(x)["same"].tobytes() == net.predict(x)["same"].tobytes()
