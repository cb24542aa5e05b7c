"""The network: names, starts, views, errors; and the tape beneath it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import chainrule
from chainrule.errors import DataError, ShapeError, SpecError
from chainrule.layers import Dense
from chainrule.network import BLOCK_BYTES, Network
from chainrule.streams import generator
from chainrule.tape import Tape, aligned


def spec_of(*layers, shape=(30,)):
    return {"name": "net", "input": {"shape": list(shape)}, "layers": list(layers)}


def dense(units, **more):
    return {"kind": "dense", "units": units, **more}


def test_parameters_are_named_views_of_one_vector():
    net = Network(spec_of(dense(4), dense(2, use_bias=False, name="head")))
    shapes = {name: view.shape for name, view in net.parameters.items()}
    assert shapes == {"dense_1.kernel": (30, 4), "dense_1.bias": (4,), "head.kernel": (4, 2)}
    assert net.flat.size == 30 * 4 + 4 + 4 * 2
    net.flat[:] = np.arange(net.flat.size)
    assert net.parameters["dense_1.bias"].tolist() == [120, 121, 122, 123]
    net.parameters["head.kernel"][:] = 0
    assert not net.flat[124:].any()


def test_a_vector_or_view_that_would_be_replaced_says_how_it_is_written_to():
    net = Network(spec_of(dense(4), {"kind": "batch_norm"}))
    kernel, mean = np.zeros((30, 4), np.float32), np.zeros(4, np.float32)
    with pytest.raises(TypeError, match=r"write into it, flat\[\.\.\.\] = values"):
        net.flat = net.flat.copy()
    with pytest.raises(TypeError, match=r"write into it, state\[\.\.\.\] = values"):
        net.state = net.state.copy()
    with pytest.raises(TypeError, match=r"write into it, \['dense_1.kernel'\]\[\.\.\.\] = values"):
        net.parameters["dense_1.kernel"] = kernel
    with pytest.raises(TypeError, match="write into it"):
        net.states["batch_norm_1.moving_mean"] = mean
    net.flat *= 2
    net.parameters["dense_1.bias"] += 1
    assert net.flat[120:124].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "variance", "limit"),
    [
        ("glorot_uniform", 2 / 500, np.sqrt(6 / 500)),
        ("glorot_normal", 2 / 500, 2 * np.sqrt(2 / 500) / 0.8796256610342398),
        ("he_uniform", 2 / 300, np.sqrt(6 / 300)),
        ("he_normal", 2 / 300, 2 * np.sqrt(2 / 300) / 0.8796256610342398),
    ],
)
def test_initializers_have_the_papers_variance_and_keras_limits(name, variance, limit):
    net = Network(spec_of(dense(200, kernel_initializer=name), shape=(300,)), dtype="float64")
    kernel = net.parameters["dense_1.kernel"]
    assert kernel.var() == pytest.approx(variance, rel=0.03)
    assert abs(kernel.mean()) < 4 * np.sqrt(variance / kernel.size)
    assert 0.98 * limit < np.abs(kernel).max() <= limit
    assert not net.parameters["dense_1.bias"].any()


def test_constant_initializers():
    net = Network(spec_of(dense(2, kernel_initializer="zeros", bias_initializer="ones")))
    assert not net.parameters["dense_1.kernel"].any()
    assert net.parameters["dense_1.bias"].tolist() == [1.0, 1.0]


def test_a_seed_gives_the_same_start_in_every_precision_and_around_a_dropout():
    single = Network(spec_of(dense(4), dense(3)), seed=8)
    double = Network(spec_of(dense(4), dense(3)), seed=8, dtype="float64")
    between = Network(spec_of(dense(4), {"kind": "dropout", "rate": 0.5}, dense(3)), seed=8)
    assert single.flat.tobytes() == double.flat.astype(np.float32).tobytes()
    assert single.flat.tobytes() == between.flat.tobytes()
    assert single.flat.tobytes() != Network(spec_of(dense(4), dense(3)), seed=9).flat.tobytes()


def test_prediction_in_blocks_is_prediction_at_once_but_for_rounding():
    net = Network(spec_of(dense(16, activation="relu"), dense(3)), dtype="float64")
    x = np.random.default_rng(0).standard_normal((2500, 30))
    at_once = net.predict(x, 2500)
    for size in (None, 1, 999):
        np.testing.assert_allclose(net.predict(x, size), at_once, rtol=1e-12, atol=1e-13)
    assert net.predict(x[:0]).shape == (0, 3)
    assert net.predict(x[:2].tolist()).shape == (2, 3)


def test_shapes_that_do_not_fit_are_named_on_both_sides():
    net = Network(spec_of(dense(3)))
    with pytest.raises(ShapeError, match=r"wants an array of shape \(rows, 30\), got \(4, 29\)"):
        net.predict(np.zeros((4, 29)))
    with pytest.raises(ShapeError, match="4 rows of inputs, 5 of targets"):
        net.gradients(np.zeros((4, 30)), np.zeros(5, int), loss="softmax_cross_entropy")
    with pytest.raises(DataError, match="class numbers must be 0 to 2"):
        net.gradients(np.zeros((4, 30)), np.full(4, 3), loss="softmax_cross_entropy")


def test_dense_names_itself_when_the_width_is_wrong():
    layer = Dense(np.zeros((4, 2)), None, "linear")
    with pytest.raises(
        ShapeError, match=r"Dense wants an array of shape \(batch, 4\), got \(3, 5\)"
    ):
        layer.forward(np.zeros((3, 5)), Tape())


def test_a_saved_network_predicts_the_same_bits_when_loaded(tmp_path):
    net = Network(spec_of(dense(5, activation="tanh"), dense(3)), seed=2)
    net.save(tmp_path / "net.zip")
    x = np.random.default_rng(0).standard_normal((4, 30))
    loaded = chainrule.load(tmp_path / "net.zip").network
    assert loaded.predict(x).tobytes() == net.predict(x).tobytes()


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copied_network_learns_by_itself_what_the_first_one_learns(copied):
    spec = spec_of(dense(4), {"kind": "batch_norm"}, dense(2), shape=(3,))
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    net = Network(spec, seed=2, dtype="float64")
    list(chainrule.fit(net, rows, {"epochs": 2}))
    before, other = net.flat.copy(), copied(net)
    assert (other.predict(rows[0]) == net.predict(rows[0])).all()
    learnt = [report.train for report in chainrule.fit(other, rows, {"epochs": 3})]
    assert (net.flat == before).all()
    assert learnt == [report.train for report in chainrule.fit(net, rows, {"epochs": 3})]
    assert learnt[-1]["loss"] < learnt[0]["loss"]
    assert (other.flat == net.flat).all()
    assert (other.state == net.state).all()
    assert (other.predict(rows[0]) == net.predict(rows[0])).all()


def test_an_unknown_precision_and_a_missing_input_are_refused():
    with pytest.raises(SpecError, match="dtype: must be 'float32' or 'float64', got 'float16'"):
        Network(spec_of(dense(1)), dtype="float16")
    with pytest.raises(SpecError, match="input: is missing"):
        Network({"layers": [dense(1)]})


def test_dropout_scales_what_it_keeps_and_differs_by_step():
    net = Network(spec_of({"kind": "dropout", "rate": 0.25}, shape=(20_000,)), dtype="float64")
    tape = net.tape(training=True, seed=4)
    masks = []
    for step in (1, 2, 1):
        tape.begin(step)
        masks.append(net.forward(np.ones((1, 20_000)), tape)[0].copy())
    assert set(np.unique(masks[0])) == {0.0, 1 / 0.75}
    assert masks[0].mean() == pytest.approx(1.0, abs=0.02)
    assert masks[0].tobytes() == masks[2].tobytes()
    assert masks[0].tobytes() != masks[1].tobytes()
    assert net.predict(np.ones((1, 20_000))).tolist() == [[1.0] * 20_000]


def test_a_gradient_is_written_first_and_added_to_later():
    parameter = np.zeros((2, 2))
    tape = Tape([parameter], dtype="float64")
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.eye(2)
    for step in (1, 2):
        tape.begin(step)
        gradient = tape.gradient(parameter)
        gradient.add_matmul(a, b)
        gradient.add_matmul(a, b)
        gradient.add_sum(np.ones((3, 2, 2)))
        gradient.add(b)
        assert tape.gradients.tolist() == [6.0, 7.0, 9.0, 12.0]
    tape.begin(3)
    tape.gradient(parameter).add_sum(np.ones((3, 2, 2)))
    assert tape.gradients.tolist() == [3.0] * 4
    tape.begin(4)
    tape.gradient(parameter).add(b)
    assert tape.gradients.tolist() == [1.0, 0.0, 0.0, 1.0]


def test_vectors_start_on_a_cache_line():
    for size in (0, 1, 7, 1000):
        vector = aligned(size, "float32")
        assert vector.size == size
        assert vector.ctypes.data % 64 == 0 or size == 0


def test_vectors_that_are_read_and_written_together_start_at_different_places_of_a_page():
    places = [aligned(1 << 18, "float32").ctypes.data % 4096 for _ in range(6)]
    gaps = [(a - b) % 4096 for a in places for b in places if a is not b]
    assert min(gaps) >= 512  # bytes


def test_streams_differ_by_seed_purpose_and_key():
    names = [
        (0, "shuffle"),
        (1, "shuffle"),
        (0, "dropout"),
        (0, "shuffle", 0),
        (0, "shuffle", 0, 1),
    ]
    names += [(0, "shuffle", 1), (2**40, "shuffle"), (2**40, "dropout")]
    draws = {generator(*name).bytes(16) for name in names}
    assert len(draws) == len(names)
    assert generator(3, "split", 1, 2).bytes(16) == generator(3, "split", 1, 2).bytes(16)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "a"])
def test_a_batch_size_that_is_none_is_refused(batch_size):
    net = Network({"input": {"shape": [3]}, "layers": [{"kind": "dense", "units": 2}]})
    with pytest.raises(SpecError, match="batch_size: must be a whole number >= 1"):
        net.predict(np.zeros((4, 3)), batch_size)
    with pytest.raises(SpecError, match="batch_size: must be a whole number >= 1"):
        chainrule.evaluate(net, np.zeros((4, 3)), [0, 1, 0, 1], "hinge", batch_size)


def test_a_batch_size_may_be_one_of_numpys_whole_numbers():
    net = Network({"input": {"shape": [3]}, "layers": [{"kind": "dense", "units": 2}]})
    x = np.ones((4, 3))
    assert (net.predict(x, np.int64(3)) == net.predict(x, 3)).all()


def test_wide_layers_are_predicted_fewer_rows_at_once():
    def rows(units):
        return Network({"input": {"shape": [3]}, "layers": [{"kind": "dense", "units": units}]})

    assert rows(2).block_rows() == 1024
    assert rows(1_000_000).block_rows() == BLOCK_BYTES // 4_000_000
    assert rows(2).block_rows(256) == 256
