"""Recorded passes: the bits of the plain ones, and given up where they would not be."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from chainrule import kernels
from chainrule.checkpoint import Checkpoint
from chainrule.errors import DivergedError
from chainrule.fitting import TrainingLoop, replay
from chainrule.network import Network
from tests.engine.engine_cases import CASES, case, case_id, dense, draw, layer

TRAINING = {"loss": "mean_squared_error", "batch_size": 4, "epochs": 4, "seed": 3}
ROWS = 11  # two full batches, and one of 3


def bidirectional(units, **more):
    return layer("bidirectional", layer=layer("lstm", units=units, return_sequences=True), **more)


MLP = case((5,), dense(6, "relu"), dense(3))


def loop_of(spec, x, y, checkpoint=None, **options):
    return TrainingLoop(Network(spec), (x, y), {**TRAINING, **options}, checkpoint=checkpoint)


def run(spec, x, y, **options):
    """Train; return the losses, the checkpoint at the end, and the loop."""
    loop = loop_of(spec, x, y, **options)
    losses = [report.loss for report in loop.run() if hasattr(report, "loss")]
    return losses, loop.checkpoint().to_bytes(), loop


def programs_of(loop):
    return [shard._replay._programs for shard in loop._shards._shards]


def assert_as_plain(monkeypatch, spec, x, y, **options):
    """Compare a training with one that runs its layers at every step; return its loop."""
    losses, end, loop = run(spec, x, y, **options)
    monkeypatch.setattr(replay, "_MOST_BYTES", 0)
    plain_losses, plain_end, plain = run(spec, x, y, **options)
    assert losses == plain_losses
    assert end == plain_end
    assert all(program is None for of in programs_of(plain) for program in of.values())
    assert [t.scratch_bytes for t in loop._shards.tapes] == [
        t.scratch_bytes for t in plain._shards.tapes
    ]
    return loop


@pytest.mark.parametrize(("spec", "shape"), CASES, ids=map(case_id, CASES))
@pytest.mark.parametrize("shards", [1, 2])
def test_every_network_learns_the_same_bits_as_layer_by_layer(monkeypatch, spec, shape, shards):
    x, y = draw(spec, shape, "mean_squared_error", np.random.default_rng(0), rows=ROWS)
    assert_as_plain(monkeypatch, spec, x, y, shards=shards)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        MLP,
        case((5,), dense(6, "softmax"), layer("activation", activation="gelu"), dense(3)),
        case((5,), dense(6, use_bias=False), layer("batch_norm"), dense(3)),
        case((2, 3), dense(4, "tanh"), layer("layer_norm"), layer("flatten"), dense(3)),
        case(
            (5,),
            dense(6, "tanh", name="a"),
            dense(6, "relu", name="b"),
            layer("add", inputs=["a", "b", "a"]),
            layer("multiply", inputs=["add_1", "b", "a"]),
            layer("concat", inputs=["multiply_1", "b"]),
            dense(3),
        ),
        case((6, 6, 2), layer("max_pool2d"), layer("flatten"), dense(3)),
        case((4, 2), layer("lstm", units=3), dense(3)),
        case((4, 2), layer("gru", units=3, return_sequences=True), layer("gru", units=3)),
        case((4, 2), layer("gru", units=3, reset_after=False, go_backwards=True), dense(3)),
        *(
            case((4, 2), bidirectional(3, merge_mode=mode), layer("global_max_pool1d"))
            for mode in ("concat", "sum", "ave", "mul")
        ),
        case((3,), layer("repeat_vector", n=2), layer("simple_rnn", units=3), dense(3)),
        case((4,), layer("embedding", input_dim=4, output_dim=2), layer("lstm", units=3)),
        case(
            (4, 6),
            layer("positional_embedding"),
            layer("multi_head_attention", num_heads=2, key_dim=3),
            layer("layer_norm"),
            layer("global_max_pool1d"),
            dense(3),
        ),
        case(
            (4, 4, 1),
            layer("max_pool2d"),
            dense(2, "relu"),
            layer("up_sampling2d"),
            layer("global_avg_pool2d"),
        ),
    ],
    ids=lambda one: one["layers"][1]["kind"] if isinstance(one, dict) else "",
)
def test_the_layers_run_twice_for_each_size_of_batch(monkeypatch, spec, shape):
    runs = []
    plain = Network.forward
    monkeypatch.setattr(
        Network, "forward", lambda net, x, *rest: runs.append(len(x)) or plain(net, x, *rest)
    )
    x, y = draw(spec, shape, "mean_squared_error", np.random.default_rng(1), rows=ROWS)
    _, _, loop = run(spec, x, y)
    assert sorted(runs) == [3, 3, 4, 4]
    assert all(program.is_proven for program in programs_of(loop)[0].values())


def test_several_inputs_and_outputs_are_replayed(monkeypatch):
    spec = {
        "name": "two",
        "inputs": {"left": {"shape": [4]}, "right": {"shape": [3]}},
        "layers": [
            dense(5, "tanh", name="a", inputs=["left"]),
            dense(5, name="b", inputs=["right"]),
            layer("add", name="both", inputs=["a", "b"]),
            dense(2, name="one", inputs=["both"]),
            dense(1, name="two", inputs=["both"]),
        ],
        "outputs": ["one", "two"],
    }
    rng = np.random.default_rng(2)
    x = {"left": rng.standard_normal((ROWS, 4)), "right": rng.standard_normal((ROWS, 3))}
    y = {"one": rng.standard_normal((ROWS, 2)), "two": rng.standard_normal((ROWS, 1))}
    loop = assert_as_plain(monkeypatch, spec, x, y)
    assert all(program.is_proven for program in programs_of(loop)[0].values())


def test_dropout_is_found_out(monkeypatch):
    spec, shape = case((5,), dense(6, "relu"), layer("dropout", rate=0.5), dense(3))
    x, y = draw(spec, shape, "mean_squared_error", np.random.default_rng(3), rows=ROWS)
    loop = assert_as_plain(monkeypatch, spec, x, y)
    assert programs_of(loop) == [{(4, 1.0): None, (3, 1.0): None}]


def test_a_mask_is_found_out_though_the_first_batches_have_no_padding(monkeypatch):
    spec, shape = case((3, 2), layer("masking"), layer("batch_norm"), layer("flatten"), dense(2))
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((32, *shape)), rng.standard_normal((32, 2))
    x[16:, -1] = 0.0
    loop = assert_as_plain(monkeypatch, spec, x.astype(float), y, shuffle=False, epochs=2)
    assert programs_of(loop) == [{(4, 1.0): None}]


def test_a_mask_that_only_the_loss_sees_is_found_out(monkeypatch):
    spec, shape = case(
        (3,), layer("embedding", input_dim=4, output_dim=2, mask_zero=True), dense(2)
    )
    rng = np.random.default_rng(8)
    x, y = rng.integers(0, 4, (32, *shape)), rng.standard_normal((32, 3, 2))
    x[:16] = 1
    loop = assert_as_plain(monkeypatch, spec, x, y, shuffle=False, epochs=2)
    assert programs_of(loop) == [{(4, 1.0): None}]


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i2"])
def test_rows_in_their_own_order_are_replayed_and_left_as_they_were(monkeypatch, dtype):
    spec, _ = MLP
    rng = np.random.default_rng(5)
    x, y = (rng.integers(0, 9, (8, n)).astype(dtype) for n in (5, 3))
    kept = x.copy(), y.copy()
    loop = assert_as_plain(monkeypatch, spec, x, y, shuffle=False)
    assert programs_of(loop)[0][4, 1.0].is_proven
    assert (x == kept[0]).all()
    assert (y == kept[1]).all()


@pytest.mark.parametrize(
    ("loss", "units"),
    [("softmax_cross_entropy", 3), ("binary_cross_entropy", 1), ("mean_squared_error", 2)],
)
def test_losses_and_metrics_are_replayed(monkeypatch, loss, units):
    spec, shape = case((5,), dense(6, "tanh"), dense(units))
    x, y = draw(spec, shape, loss, np.random.default_rng(8), rows=ROWS)
    ends = []
    for most in (replay._MOST_BYTES, 0):
        monkeypatch.setattr(replay, "_MOST_BYTES", most)
        loop = loop_of(spec, x, y, loss=loss)
        ends.append([report.train for report in loop.run() if hasattr(report, "train")])
        proven = [program is not None for program in programs_of(loop)[0].values()]
        assert proven == [most > 0] * 2
    assert ends[0] == ends[1]


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_a_resume_from_anywhere_ends_with_the_same_bytes(stop):
    spec, shape = case((5,), dense(6, use_bias=False), layer("batch_norm"), dense(3))
    x, y = draw(spec, shape, "mean_squared_error", np.random.default_rng(6), rows=ROWS)
    loop = loop_of(spec, x, y)
    reports = loop.run()
    while loop.step < stop:
        next(reports)
    saved = Checkpoint.from_bytes(loop.checkpoint().to_bytes())
    list(reports)
    resumed = loop_of(spec, x, y, checkpoint=saved)
    list(resumed.run())
    assert resumed.checkpoint().to_bytes() == loop.checkpoint().to_bytes()


def test_a_replayed_step_that_diverges_says_so():
    spec, shape = MLP
    x, y = draw(spec, shape, "mean_squared_error", np.random.default_rng(7), rows=8)
    loop = loop_of(spec, x, y, shuffle=True)
    reports = loop.run()
    for _ in range(4):
        next(reports)
    loop.net.flat.fill(np.nan)
    with pytest.raises(DivergedError):
        list(reports)


def test_a_record_has_the_calls_of_its_own_thread_alone():
    a, out = np.ones((2, 2)), np.empty((2, 2))
    copy, multiply = kernels.copy, kernels.multiply
    started, ended = threading.Event(), threading.Event()

    def other():
        started.wait()
        kernels.add(a, a, np.empty((2, 2)))
        with kernels.recording() as own:
            kernels.multiply(a, a, np.empty((2, 2)))
        assert [call.kernel for call in own] == [multiply]
        ended.set()

    thread = threading.Thread(target=other)
    thread.start()
    with kernels.recording() as calls:
        started.set()
        assert ended.wait(10)
        kernels.copy(a, out)
    thread.join()
    assert [call.kernel for call in calls] == [copy]
    assert kernels.copy is copy
    out.fill(0.0)
    calls[0].again()
    assert (out == a).all()
