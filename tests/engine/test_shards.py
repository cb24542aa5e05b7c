"""Gradient shards: the same gradient however a batch is cut, the same bits whoever learns it."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from chainrule.checkpoint import Checkpoint
from chainrule.errors import CheckpointError, DivergedError
from chainrule.fitting import StepReport, TrainingLoop, sharding
from chainrule.fitting.cutting import Place
from chainrule.fitting.pool import ThreadPool, parts, spans
from chainrule.losses import LOSSES
from chainrule.network import Network
from chainrule.optimizers import OPTIMIZERS
from chainrule.spec import summarize
from chainrule.streams import generator
from tests.engine.engine_cases import (
    CASES,
    MAIN_LOSSES,
    case_id,
    dense,
    draw,
    embedding,
    layer,
    norm,
    rnn,
)

ROWS = 7


@pytest.fixture(autouse=True)
def _threads_are_used(monkeypatch):
    """Have the threads of these tests take part, however short a step is."""
    monkeypatch.setattr(sharding, "_WORTH", 0.0)


def network(shape, *layers, dtype="float32", **more):
    spec = {"input": {"shape": list(shape)}, "layers": list(layers), **more}
    return Network(spec, seed=3, dtype=dtype)


def gradient(net, data, shards, **training):
    """Return the loss of the rows as one batch, and its gradient."""
    options = {"loss": "mean_squared_error", "batch_size": 100, "shards": shards, **training}
    loop = TrainingLoop(net, data, options)
    with ThreadPool(1) as pool:
        loss = loop._shards.learn(np.arange(len(data[0])), Place(1, 0, begins_epoch=True), pool)
    return loss, loop._shards.gradients, loop._shards.tallies


def same_whatever_the_shards(net, data, **training):
    loss, whole, tallies = gradient(net, data, 1, **training)
    assert np.abs(whole).max() > 0.0
    for shards in (2, 3, ROWS, 20):
        found, summed, sums = gradient(net, data, shards, **training)
        assert found == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(summed, whole, rtol=0, atol=1e-12 * np.abs(whole).max())
        np.testing.assert_allclose(sums.sums, tallies.sums, rtol=1e-11, atol=1e-11)


def draws_or_mixes(spec):
    """Return whether a network drops units or normalises over the rows of a batch."""
    layers = [one.get("layer", one) for one in spec["layers"]]
    layers = [one for one in layers if isinstance(one, dict)]
    rates = [one.get(name) for one in layers for name in ("rate", "dropout", "recurrent_dropout")]
    return any(rates) or any(one["kind"] == "batch_norm" for one in layers)


EXACT = [one for one in CASES if not draws_or_mixes(one[0])]


@pytest.mark.parametrize(("spec", "shape"), EXACT, ids=map(case_id, EXACT))
@pytest.mark.parametrize("loss", MAIN_LOSSES)
def test_the_gradient_is_the_same_however_a_batch_is_cut(spec, shape, loss):
    net = Network(spec, dtype="float64")
    if not net.flat.size or (loss.startswith("softmax") and net.output_shape[-1] == 1):
        return  # nothing to learn: no parameters, or one class that is always right
    data = draw(spec, shape, loss, np.random.default_rng(0), rows=ROWS)
    same_whatever_the_shards(net, data, loss=loss)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("weighted", ["", "rows", "steps"])
def test_weights_of_rows_and_steps_count_alike_in_every_shard(loss, weighted):
    net = network((4, 3), dense(5, "tanh"), dense(3), dtype="float64")
    rng = np.random.default_rng(1)
    data = rng.standard_normal((ROWS, 4, 3)), LOSSES[loss].draw((ROWS, 4, 3), rng)
    weights = {"": [], "rows": [rng.random(ROWS)], "steps": [rng.random((ROWS, 4))]}[weighted]
    same_whatever_the_shards(net, (*data, *weights), loss=loss)


@pytest.mark.parametrize("costs", [[1.0, 2.0, 0.5], [[0, 1, 4], [2, 0, 1], [1, 3, 0]]])
def test_weights_of_classes_count_alike_in_every_shard(costs):
    net = network((3,), dense(3), dtype="float64")
    rng = np.random.default_rng(2)
    data = rng.standard_normal((ROWS, 3)), rng.integers(0, 3, ROWS)
    same_whatever_the_shards(net, data, loss="softmax_cross_entropy", class_weights=costs)


def two_masked_outputs():
    """Return a network whose outputs have masks of their own, and rows where a shard has no step.

    Some positions count in one output only: no one number can weigh a shard's whole gradient.
    """
    layers = [
        embedding(6, 3, mask_zero=True, name="a", inputs=["first"]),
        rnn("lstm", return_sequences=True, name="left", inputs=["a"]),
        embedding(6, 2, mask_zero=True, name="b", inputs=["second"]),
        rnn("gru", return_sequences=True, name="right", inputs=["b"]),
        layer("shared", layer="left", name="again", inputs=["a"]),
        layer("flatten", inputs=["again"]),
        dense(1, name="plain", inputs=["flatten_1"]),
    ]
    inputs = {"first": {"shape": [4]}, "second": {"shape": [5]}}
    document = {"inputs": inputs, "layers": layers, "outputs": ["left", "right", "plain"]}
    net = Network(document, seed=3, dtype="float64")
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 6, (ROWS, 4)), rng.integers(0, 3, (ROWS, 5))
    first[-2:] = 0
    y = {name: rng.standard_normal((ROWS, *shape)) for name, shape in net.output_shapes.items()}
    return net, {"first": first, "second": second}, y


def test_every_output_counts_its_own_positions():
    net, x, y = two_masked_outputs()
    losses = {
        "left": "mean_squared_error",
        "right": {"kind": "huber", "weight": 2.5},
        "plain": {"kind": "mean_squared_error", "weight": 0.25},
    }
    options = {"batch_size": 100, "losses": losses}
    found = []
    for shards in (1, 2, 3, ROWS):
        loop = TrainingLoop(net, (x, y), {**options, "shards": shards})
        with ThreadPool(2) as pool:
            loss = loop._shards.learn(np.arange(ROWS), Place(1, 0, begins_epoch=True), pool)
        found.append((loss, loop._shards.gradients, loop._shards.tallies.result()))
    for loss, summed, metrics in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-12)
        np.testing.assert_allclose(summed, found[0][1], rtol=0, atol=1e-13)
        assert metrics == pytest.approx(found[0][2], rel=1e-10)


TRAINED = {
    "mlp": lambda: (
        network((6,), dense(16, "relu"), layer("dropout", rate=0.4), dense(3)),
        np.random.default_rng(4).standard_normal((50, 6)),
    ),
    "cnn": lambda: (
        network(
            (6, 6, 2),
            layer("conv2d", filters=4, kernel_size=3),
            norm("batch_norm"),
            layer("flatten"),
            dense(3),
        ),
        np.random.default_rng(5).standard_normal((50, 6, 6, 2)),
    ),
    "lstm": lambda: (
        network((5,), embedding(6, 4, mask_zero=True), rnn("lstm", units=5, dropout=0.2), dense(3)),
        np.random.default_rng(6).integers(0, 6, (50, 5)),
    ),
}


def trained(name, checkpoint=None, until=None, **more):
    """Train two epochs in batches of 16, 16, 16 and 2 rows."""
    net, x = TRAINED[name]()
    target = np.random.default_rng(7).integers(0, 3, 50)
    options = {"epochs": 2, "batch_size": 16, "seed": 11, **more}
    loop = TrainingLoop(net, (x, target), options, checkpoint=checkpoint)
    for report in loop.run():
        if until is not None and isinstance(report, StepReport) and report.step == until:
            break
    return loop


def test_every_shard_draws_its_own_and_the_first_what_one_shard_draws():
    loop = trained("mlp", shards=3, until=2)
    for number, tape in enumerate(loop._shards.tapes):
        keys = (2, 1, number) if number else (2, 1)  # step, layer, shard
        wanted = generator(11, "dropout", *keys).random(5)
        assert tape.random(1).random(5).tolist() == wanted.tolist()


@pytest.mark.parametrize("name", TRAINED)
def test_any_number_of_threads_gives_the_same_bits(name):
    runs = [trained(name, shards=3, threads=threads) for threads in (1, 2, 3, 5)]
    hashes = {hashlib.sha256(loop.checkpoint().to_bytes()).hexdigest() for loop in runs}
    assert len(hashes) == 1
    assert trained(name, shards=2).net.flat.tobytes() != runs[0].net.flat.tobytes()


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("stop", range(1, 8))
def test_a_run_taken_up_between_two_steps_ends_with_the_same_bytes(name, stop):
    whole = trained(name, shards=2)
    part = trained(name, shards=2, until=stop)
    assert part.step == stop
    saved = Checkpoint.from_bytes(part.checkpoint().to_bytes())
    resumed = trained(name, checkpoint=saved, shards=2, threads=2)
    assert resumed.checkpoint().to_bytes() == whole.checkpoint().to_bytes()


def test_a_checkpoint_belongs_to_its_shards_but_to_no_number_of_threads():
    saved = trained("mlp", shards=2, threads=2, until=1).checkpoint()
    trained("mlp", checkpoint=saved, shards=2, threads=1)
    with pytest.raises(CheckpointError, match="shards 2, not 3"):
        trained("mlp", checkpoint=saved, shards=3)


WINDOWED = {"bptt_steps": 2, "gradient_accumulation_steps": 2, "shuffle": False}


def windowed(shards, checkpoint=None, until=None, **more):
    """Train on batches of 4, 4 and 1 rows in windows of 2, 2 and 1 steps, going on from each other.

    A batch has 3 steps, an epoch 9.
    """
    net = network(
        (5, 2),
        rnn("lstm", return_sequences=True, stateful=True),
        layer("positional_embedding"),
        dense(1),
        dtype="float64",
    )
    rng = np.random.default_rng(8)
    data = rng.standard_normal((9, 5, 2)), rng.standard_normal((9, 5, 1))
    options = {"epochs": 2, "batch_size": 4, "shards": shards, **WINDOWED, **more}
    loop = TrainingLoop(net, data, options, checkpoint=checkpoint)
    for report in loop.run():
        if until is not None and isinstance(report, StepReport) and report.step == until:
            break
    return loop


@pytest.mark.parametrize("shards", [2, 3, 4])
def test_states_go_on_from_batch_to_batch_row_by_row(shards):
    whole, cut = windowed(1), windowed(shards)
    np.testing.assert_allclose(cut.net.flat, whole.net.flat, rtol=1e-9)


@pytest.mark.parametrize("stop", range(1, 18))
def test_a_run_taken_up_between_two_windows_ends_with_the_same_bytes(stop):
    saved = Checkpoint.from_bytes(windowed(3, until=stop).checkpoint().to_bytes())
    resumed = windowed(3, checkpoint=saved, threads=2)
    assert resumed.checkpoint().to_bytes() == windowed(3).checkpoint().to_bytes()


def test_states_of_a_checkpoint_are_those_of_the_batch_whole():
    one, cut = (windowed(shards, until=8).checkpoint().kept for shards in (1, 3))
    assert set(one) == set(cut)
    assert one["carried.0"].shape == cut["carried.0"].shape == (1, 6)


def test_batch_norm_is_pytorchs_in_each_shard_with_averaged_gradients():
    torch = pytest.importorskip("torch", reason="PyTorch is the other side of this comparison")
    net = network((3,), dense(4), layer("batch_norm", momentum=0.9), dense(2), dtype="float64")
    rng = np.random.default_rng(9)
    x, target = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    first, second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    norms = [torch.nn.BatchNorm1d(4, eps=1e-3, momentum=1.0) for _ in range(2)]
    torch.nn.Sequential(first, second, *norms).double()  # turns all of them, in place
    with torch.no_grad():
        for module, name in ((first, "dense_1"), (second, "dense_2")):
            module.weight.copy_(torch.tensor(net.parameters[f"{name}.kernel"].T))
            module.bias.copy_(torch.tensor(net.parameters[f"{name}.bias"]))
    cut, wanted, means, variances = (slice(0, 3), slice(3, 5)), 0.0, 0.0, 0.0
    for rows, one in zip(cut, norms, strict=True):
        n = rows.stop - rows.start
        y = second(one(first(torch.tensor(x[rows]))))
        loss = torch.nn.functional.mse_loss(y, torch.tensor(target[rows])) * n / 5
        loss.backward()
        wanted += loss.item()
        means += n / 5 * one.running_mean.numpy()
        variances += n / 5 * one.running_var.numpy() * (n - 1) / n  # PyTorch's has n - 1 below
    gamma = sum(one.weight.grad for one in norms)
    kept = {"kind": "sgd", "learning_rate": 1.0}
    before = {name: value.copy() for name, value in net.parameters.items()}
    options = {"loss": "mean_squared_error", "batch_size": 5, "epochs": 1, "shards": 2}
    loop = TrainingLoop(net, (x, target), {**options, "shuffle": False, "optimizer": kept})
    assert next(loop.run()).loss == pytest.approx(wanted, rel=1e-12)
    moved = {name: before[name] - net.parameters[name] for name in before}
    close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    close(moved["batch_norm_1.gamma"], gamma.numpy())
    close(moved["dense_1.kernel"], first.weight.grad.numpy().T)
    close(moved["dense_2.kernel"], second.weight.grad.numpy().T)
    close(net.states["batch_norm_1.moving_mean"], 0.1 * means)
    moving = net.states["batch_norm_1.moving_variance"]
    close(moving, 0.9 + 0.1 * variances)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 33, 34])
def test_batches_smaller_than_the_shards_leave_some_without_rows(rows):
    x = np.random.default_rng(10).standard_normal((rows, 6))
    target = x[:, :1]
    ends = []
    for shards, threads in ((1, 1), (4, 1), (4, 3)):
        net = network((6,), dense(5, "tanh"), dense(1), dtype="float64")
        options = {"epochs": 3, "batch_size": 32, "shards": shards, "threads": threads}
        list(TrainingLoop(net, (x, target), options).run())
        ends.append(net.flat)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9)
    assert ends[2].tobytes() == ends[1].tobytes()


@pytest.mark.parametrize(("size", "most"), [(7, 3), (2, 5), (6, 3), (1, 1), (0, 4)])
def test_parts_are_numpys(size, most):
    wanted = [part.tolist() for part in np.array_split(np.arange(size), most) if len(part)]
    found = [list(range(part.start, part.stop)) for part in parts(size, most)]
    assert [part for part in found if part] == wanted


@pytest.mark.parametrize("size", [0, 1, 40_000, 65_535, 65_536, 200_001])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_spans_cover_a_vector_once_and_none_is_short(size, most):
    found = spans(size, most)
    ends = [0, *(span.stop for span in found)]
    assert [span.start for span in found] == ends[:-1]
    assert ends[-1] == size
    assert len(found) == max(1, min(most, size // 32_768))
    assert all(span.start % 1024 == 0 for span in found)


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_large_networks_are_moved_by_several_threads_to_the_same_bits(kind):
    ends = []
    for threads in (1, 2, 3):
        net = network((100,), dense(1001), dense(3))  # 104,107 numbers: three spans
        rng = np.random.default_rng(13)
        data = rng.standard_normal((9, 100)), rng.standard_normal((9, 3))
        options = {"loss": "mean_squared_error", "optimizer": kind, "epochs": 2, "batch_size": 3}
        options |= {"shards": 3, "threads": threads}
        ends.append(TrainingLoop(net, data, options))
        list(ends[-1].run())
    assert len({loop.checkpoint().to_bytes() for loop in ends}) == 1


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_the_memory_estimate_counts_every_shard(shards):
    net = network(
        (12, 12, 2),
        layer("conv2d", filters=8, kernel_size=3, padding="same", activation="relu"),
        layer("flatten"),
        dense(32, "relu"),
        dense(3),
    )
    rng = np.random.default_rng(12)
    data = (
        rng.standard_normal((64, 12, 12, 2)).astype("f"),
        rng.standard_normal((64, 3)).astype("f"),
    )
    options = {"loss": "mean_squared_error", "batch_size": 64, "epochs": 1, "shards": shards}
    loop = TrainingLoop(net, data, options)
    list(loop.run())
    measured = 3 * net.flat.nbytes
    measured += sum(t.gradients.nbytes + t.scratch_bytes for t in loop._shards.tapes)
    estimate = summarize(net.spec, batch_size=64, slots=2, shards=shards)["memory_bytes"]
    assert estimate == pytest.approx(measured, rel=0.1)


def test_no_thread_outlives_a_run_however_it_ends():
    before = threading.active_count()
    loop = trained("mlp", shards=3, threads=3)
    assert threading.active_count() == before
    ones = np.ones((8, 6)), np.ones((8, 3))
    run: Any = TrainingLoop(loop.net, ones, {"shards": 2, "threads": 2}).run()
    next(run)
    assert threading.active_count() == before + 1
    run.close()
    assert threading.active_count() == before
    net = network((6,), dense(3))
    net.flat[:] = 1e38
    data = np.full((8, 6), 1e30), np.ones((8, 3))
    with pytest.raises(DivergedError):
        list(TrainingLoop(net, data, {"shards": 2, "threads": 2}).run())
    assert threading.active_count() == before


def test_an_error_in_a_thread_is_raised_once_no_work_is_under_way():
    begun, ended = threading.Barrier(2, timeout=10), []

    def fail(name):
        begun.wait()
        raise ValueError(name)

    def work():
        begun.wait()
        ended.append(threading.current_thread().name)

    with ThreadPool(2) as pool:
        with pytest.raises(ValueError, match="second"):
            pool.run([work, lambda: fail("second")])
        assert len(ended) == 1
        with pytest.raises(ValueError, match="first"):
            pool.run([lambda: fail("first"), lambda: fail("second")])
        assert pool.run([int, float, lambda: 3]) == [0, 0.0, 3]  # it works on


def test_an_error_in_a_shard_ends_the_run(monkeypatch):
    loop = trained("mlp", shards=2, threads=2, until=3)
    before = threading.active_count()

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(loop._shards._shards[1], "learn", fail)
    with pytest.raises(MemoryError):
        list(loop.run())
    assert loop.step == 3
    assert threading.active_count() == before
