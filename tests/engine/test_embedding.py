"""Embeddings: bad numbers are named where they come in, and gradients reach the right rows."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

import chainrule
from chainrule import kernels
from chainrule.bundle import write_bundle
from chainrule.errors import DataError, ShapeError, SpecError
from chainrule.fitting import TrainingLoop
from chainrule.network import Network
from chainrule.tape import Tape
from tests.engine.engine_cases import dense, embedding, layer


def spec_of(*layers, shape=(4,)):
    return {"input": {"shape": list(shape)}, "layers": list(layers)}


TEXT = spec_of(embedding(10, 3), layer("flatten"), dense(2))


def test_a_row_that_is_named_often_gets_every_gradient():
    rng = np.random.default_rng(0)
    rows, values = rng.integers(0, 7, 5000), rng.standard_normal((5000, 6))
    out, wanted = np.ones((9, 6)), np.ones((9, 6))
    kernels.add_rows(rows, values, out)
    for row in range(9):
        wanted[row] += values[rows == row].sum(axis=0)
    np.testing.assert_allclose(out, wanted, rtol=1e-10)


def test_inputs_of_an_embedding_are_known_by_its_size():
    assert Network(TEXT).vocabularies == {"input": 10}
    assert Network(spec_of(dense(2))).vocabularies == {}
    two = {
        "inputs": {"word": {"shape": [2, 2]}, "size": {"shape": [3]}},
        "layers": [
            layer("reshape", target_shape=[4], inputs=["word"], name="line"),
            embedding(9, 3, inputs=["line"], name="wide"),
            embedding(5, 3, inputs=["line"], name="narrow"),
            layer("add", inputs=["wide", "narrow"]),
            layer("flatten"),
            layer("concat", inputs=["flatten_1", "size"]),
            dense(2),
        ],
    }
    net = Network(two)
    assert net.vocabularies == {"word": 5}
    x = {"word": np.zeros((3, 2, 2)), "size": np.ones((3, 3))}
    x["word"][2, 1] = 5
    with pytest.raises(DataError, match=r"word\[2\]: must be whole numbers from 0 to 4, got 5$"):
        net.predict(x)


@pytest.mark.parametrize("bad", [10, -1, 0.5, np.nan, np.inf, 1e300])
def test_what_is_no_row_of_the_table_is_named_with_its_row(bad):
    x, target = np.zeros((5, 4)), np.zeros((5, 2))
    x[3, 2] = bad
    told = rf"\[3\]: must be whole numbers from 0 to 9, got {bad:.10g}".replace("+", r"\+")
    net, fine = Network(TEXT), (np.zeros((5, 4)), target)
    with pytest.raises(DataError, match=told):
        net.predict(x)
    with pytest.raises(DataError, match="inputs" + told):
        TrainingLoop(net, (x, target), {"loss": "mean_squared_error"})
    with pytest.raises(DataError, match="validation.inputs" + told):
        TrainingLoop(net, fine, {"loss": "mean_squared_error"}, validation=(x, target))


@pytest.mark.parametrize("bad", [10, -1, np.nan, np.inf, -1e30])
def test_numbers_that_nobody_checked_never_read_beyond_the_table(bad):
    net = Network(TEXT)
    tape = net.tape()
    tape.begin(0)
    with (
        np.errstate(all="ignore"),
        pytest.raises(DataError, match="an embedding takes whole numbers from 0 to 9"),
    ):
        net.forward(np.full((2, 4), bad, np.float32), tape)


def test_numbers_of_any_kind_are_taken():
    net = Network(TEXT)
    x = np.arange(8).reshape(2, 4)
    wanted = net.predict(x)
    for dtype in ("uint8", "int16", "float32", "float64"):
        assert net.predict(x.astype(dtype)).tobytes() == wanted.tobytes()
    assert net.predict(x.tolist()).tobytes() == wanted.tobytes()


def test_an_embedding_of_computed_numbers_is_refused_where_it_stands():
    for layers in ([dense(4), embedding(5, 2)], [dense(4), layer("flatten"), embedding(5, 2)]):
        index = len(layers) - 1
        told = rf"layers\[{index}\]\.inputs: an embedding takes whole numbers .* 'dense_1'"
        with pytest.raises(SpecError, match=told):
            Network(spec_of(*layers))


def test_fields_out_of_range_are_refused_with_their_place():
    for bad in ({"input_dim": 0}, {"output_dim": 0}, {"input_dim": 10_000_001}):
        (name,) = bad
        with pytest.raises(SpecError, match=rf"layers\[0\]\.{name}"):
            Network(spec_of({**embedding(5, 2), **bad}))
    with pytest.raises(
        SpecError, match=r"layers\[0\]\.mask_zero: wants inputs of shape \(steps,\)"
    ):
        Network(spec_of(embedding(5, 2, mask_zero=True), shape=(2, 3)))


def test_zero_is_padding_if_the_layer_says_so():
    x = np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 2.0, 2.0, 0.0]], np.float32)
    for mask_zero in (True, False):
        net = Network(spec_of(embedding(5, 2, mask_zero=mask_zero), dense(2)))
        tape = net.tape()
        tape.begin(0)
        net.forward(x, tape)
        assert (tape.masks[0] is not None) == mask_zero
        if mask_zero:
            assert tape.masks[0].tolist() == (x != 0).tolist()


def test_the_golden_inputs_of_a_bundle_are_numbers_of_the_table():
    net = Network(TEXT)
    data = write_bundle(net)
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        golden = np.load(io.BytesIO(bundle.read("golden.npz")))
    assert golden["inputs"].tolist() == (np.arange(16).reshape(4, 4) % 10).tolist()
    model = chainrule.load(data)
    assert model.network.predict(golden["inputs"]).tobytes() == golden["outputs"].tobytes()
    with pytest.raises(DataError, match=r"inputs\[0\]: must be whole numbers from 0 to 9, got 11"):
        model.predict([[1, 2, 3, 11]])


def test_places_are_counted_on_through_the_windows_of_a_sequence():
    net = Network(spec_of(layer("positional_embedding"), shape=(6, 2)), dtype="float64")
    x = np.random.default_rng(1).standard_normal((3, 6, 2))
    whole = net.predict(x)
    one, tape = net.layers[0], Tape(net.parameters.values(), dtype="float64", training=True)
    table = net.parameters["positional_embedding_1.position_embeddings"]
    tape.carried = {}
    for start in (0, 2, 4):
        tape.begin(start)
        y, backward = one.forward(x[:, start : start + 2], tape)
        np.testing.assert_array_equal(y, whole[:, start : start + 2])
        backward(np.ones_like(y))
        wanted = np.zeros((6, 2))
        wanted[start : start + 2] = 3
        np.testing.assert_array_equal(tape.gradient(table).view, wanted)
    tape.carried = None
    tape.begin(9)
    np.testing.assert_array_equal(one.forward(x[:, :3], tape)[0], whole[:, :3])
    with pytest.raises(ShapeError, match="has places for 6 steps, got 7"):
        one.forward(np.zeros((3, 7, 2)), tape)


def test_windows_of_truncated_backpropagation_learn_the_vectors_of_their_places():
    spec = spec_of(embedding(5, 2), layer("positional_embedding"), dense(2), shape=(6,))
    data = np.random.default_rng(2).integers(0, 5, (4, 6)), np.ones((4, 6, 2))
    training = {"loss": "mean_squared_error", "epochs": 1, "bptt_steps": 2, "optimizer": "sgd"}
    loop = TrainingLoop(Network(spec), data, training)
    table = loop.net.parameters["positional_embedding_1.position_embeddings"]
    run = loop.run()
    for window in range(3):
        before, saved = table.copy(), loop.checkpoint()
        next(run)
        moved = (table != before).any(axis=1)
        assert moved.tolist() == [2 * window <= place < 2 * window + 2 for place in range(6)]
        again = TrainingLoop(Network(spec), data, training, checkpoint=saved)
        next(again.run())
        assert again.checkpoint().to_bytes() == loop.checkpoint().to_bytes()


def test_positional_embedding_wants_steps_and_features():
    with pytest.raises(SpecError, match=r"wants inputs of shape \(steps, features\), got \(4,\)"):
        Network(spec_of(layer("positional_embedding")))
