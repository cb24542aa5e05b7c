"""The training loop: exact resumes, one set of numbers whoever watches, and loud divergence."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc

import numpy as np
import pytest

import chainrule
from chainrule.checkpoint import Checkpoint
from chainrule.errors import CheckpointError, DataError, DivergedError, SpecError
from chainrule.fitting import EpochReport, StepReport, TrainingLoop, evaluate
from chainrule.network import Network

SPEC = {
    "name": "small",
    "input": {"shape": [6]},
    "layers": [
        {"kind": "dense", "units": 9, "activation": "relu"},
        {"kind": "dropout", "rate": 0.3},
        {"kind": "dense", "units": 4},
    ],
}
LINEAR = {"name": "line", "input": {"shape": [3]}, "layers": [{"kind": "dense", "units": 1}]}
TRAINING = {"batch_size": 16, "epochs": 3, "seed": 5}


def rows_of(number=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((number, 6)), rng.integers(0, 4, number)


def digest(checkpoint):
    return hashlib.sha256(checkpoint.to_bytes()).hexdigest()


def facts(report):
    """Return what of a report must not depend on the clock."""
    if isinstance(report, StepReport):
        return report
    return report.epoch, report.step, report.train, report.validation, report.learning_rate


def test_steps_and_epochs_are_counted_with_the_last_smaller_batch():
    loop = TrainingLoop(Network(SPEC), rows_of(50), TRAINING)
    assert (loop.steps_per_epoch, loop.steps, loop.epochs) == (4, 12, 3)
    seen = [(type(r).__name__, r.step, r.epoch) for r in loop.run()]
    wanted = []
    for epoch in (1, 2, 3):
        wanted += [("StepReport", 4 * epoch - 3 + i, epoch) for i in range(4)]
        wanted.append(("EpochReport", 4 * epoch, epoch))
    assert seen == wanted
    assert (loop.step, loop.epoch) == (12, 3)
    assert list(loop.run()) == []


@pytest.mark.parametrize("place", ["train", "validation"])
@pytest.mark.parametrize(
    ("rows", "got"),
    [
        ((np.zeros((4, 6)),), "1 of them"),
        ([0, 1, 2, 3], "4 of them"),
        (np.zeros((4, 6)), "ndarray"),
    ],
    ids=["one", "four", "array"],
)
def test_rows_without_their_targets_are_refused_by_what_is_wanted(place, rows, got):
    given = {"train": rows_of(), "validation": None, place: rows}
    with pytest.raises(DataError) as refused:
        chainrule.fit(Network(SPEC), given["train"], {}, validation=given["validation"])
    wanted = "must be (inputs, targets) or (inputs, targets, weights)"
    assert str(refused.value) == f"{place}: {wanted}, got {got}"


def test_targets_in_the_place_of_the_training_are_not_read_as_a_document():
    with pytest.raises(DataError, match=r"train: must be \(inputs, targets\)"):
        chainrule.fit(Network(SPEC), *rows_of())


def test_a_precision_that_is_not_the_networks_is_refused():
    single, double = Network(SPEC), Network(SPEC, dtype="float64")
    with pytest.raises(SpecError, match="precision: is the network's, which is float32: make one"):
        chainrule.fit(single, rows_of(), {"precision": "float64"})
    for net in (single, double):
        fits = chainrule.fit(net, rows_of(), {"precision": net.dtype.name, "epochs": 1})
        assert len(list(fits)) == 1
    assert len(list(chainrule.fit(double, rows_of(), {"epochs": 1}))) == 1


NORMALISED = {
    "name": "normalised",
    "input": {"shape": [6]},
    "layers": [
        {"kind": "dense", "units": 9, "use_bias": False},
        {"kind": "batch_norm", "momentum": 0.8},
        {"kind": "dense", "units": 4},
    ],
}


def test_a_resume_goes_on_from_the_very_same_moving_averages():
    def loop_of(seed, checkpoint=None):
        net = Network(NORMALISED, seed=seed)
        rows = rows_of(20, seed=1)
        return TrainingLoop(net, rows_of(50), TRAINING, validation=rows, checkpoint=checkpoint)

    straight, reports, saved = loop_of(7), [], []
    for report in straight.run():
        reports.append(facts(report))
        saved.append((straight.checkpoint().to_bytes(), straight.net.state.copy()))
    assert len({state.tobytes() for _, state in saved}) == straight.steps
    for number, (data, state) in enumerate(saved, start=1):
        resumed = loop_of(99, Checkpoint.from_bytes(data))
        assert resumed.net.state.tobytes() == state.tobytes()
        assert [facts(report) for report in resumed.run()] == reports[number:]
        assert resumed.checkpoint().to_bytes() == saved[-1][0]


def test_moving_averages_that_are_not_finite_are_divergence():
    loop = TrainingLoop(Network(NORMALISED), rows_of(50), TRAINING)
    loop.net.states["batch_norm_1.moving_mean"][0] = np.inf
    with pytest.raises(DivergedError, match="a moving average is not finite"):
        loop.checkpoint()


@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_resume_at_any_report_ends_with_the_very_same_bits(kind, dtype):
    training = {**TRAINING, "optimizer": kind}
    data, validation = rows_of(50), rows_of(20, seed=1)

    def loop_of(seed, checkpoint=None):
        net = Network(SPEC, seed=seed, dtype=dtype)
        return TrainingLoop(net, data, training, validation=validation, checkpoint=checkpoint)

    straight = loop_of(7)
    saved = [straight.checkpoint().to_bytes()]
    reports = []
    for report in straight.run():
        reports.append(facts(report))
        saved.append(straight.checkpoint().to_bytes())
    assert len(saved) == 1 + 12 + 3
    for number, data_bytes in enumerate(saved):
        resumed = loop_of(99, Checkpoint.from_bytes(data_bytes))
        assert digest(resumed.checkpoint()) == hashlib.sha256(data_bytes).hexdigest()
        assert [facts(report) for report in resumed.run()] == reports[number:]
        assert resumed.checkpoint().to_bytes() == saved[-1]


def test_the_numbers_do_not_depend_on_who_watches():
    alone = TrainingLoop(Network(SPEC), rows_of(), TRAINING)
    for _ in alone.run():
        pass
    watched = TrainingLoop(Network(SPEC), rows_of(), TRAINING)
    while watched.epoch < watched.epochs:
        for _ in watched.run():
            watched.net.predict(rows_of(5)[0])
            watched.checkpoint()
            evaluate(watched.net, *rows_of(9), watched.objective)
            np.random.default_rng().standard_normal(3)
            break
    assert digest(watched.checkpoint()) == digest(alone.checkpoint())


def test_fit_yields_one_report_an_epoch_and_moves_the_network():
    net = Network(SPEC)
    before = net.flat.copy()
    reports = list(chainrule.fit(net, rows_of(), {**TRAINING, "epochs": 5}))
    assert [type(r) for r in reports] == [EpochReport] * 5
    assert reports[-1].train["loss"] < reports[0].train["loss"]
    assert set(reports[0].train) == {"loss", "accuracy"}
    assert reports[0].validation is None
    assert reports[0].learning_rate == 0.001
    assert reports[0].samples_per_s > 0
    assert not np.array_equal(net.flat, before)


def test_the_train_loss_of_an_epoch_weighs_every_row_alike():
    loop = TrainingLoop(Network(SPEC), rows_of(50), {**TRAINING, "epochs": 1})
    *steps, epoch = loop.run()
    sizes = [16, 16, 16, 2]
    wanted = sum(s.loss * n for s, n in zip(steps, sizes, strict=True)) / 50
    assert epoch.train["loss"] == pytest.approx(wanted, rel=1e-12)


def test_every_row_is_learnt_once_an_epoch_in_an_order_of_its_own():
    # A linear unit with weights 0 and a tiny rate: the step losses are the targets' squares.
    spec = {**LINEAR, "layers": [{"kind": "dense", "units": 1, "kernel_initializer": "zeros"}]}
    target = np.arange(1.0, 8.0)
    training = {
        "optimizer": {"kind": "sgd", "learning_rate": 1e-30},
        "batch_size": 1,
        "epochs": 3,
    }
    loop = TrainingLoop(Network(spec, dtype="float64"), (np.ones((7, 3)), target), training)
    losses = [r.loss for r in loop.run() if isinstance(r, StepReport)]
    epochs = [tuple(np.sqrt(losses[i : i + 7]).round(6)) for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(target) for epoch in epochs)
    assert len(set(epochs)) == 3


def test_validation_and_best_follow_the_network_after_each_epoch():
    kept_aside = rows_of(20, seed=1)
    loop = TrainingLoop(Network(SPEC), rows_of(), TRAINING, validation=kept_aside)
    losses = []
    for report in loop.run():
        if isinstance(report, EpochReport):
            wanted = evaluate(loop.net, *kept_aside, "softmax_cross_entropy")
            assert report.validation == wanted
            losses.append(report.validation["loss"])
    best = int(np.argmin(losses))
    assert loop.best == {"epoch": best + 1, "step": 4 * best + 4, "loss": losses[best]}


def test_a_least_squares_fit_finds_the_line():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((200, 3))
    weights = np.array([1.0, -2.0, 0.5])
    net = Network(LINEAR, dtype="float64")
    training = {"optimizer": {"kind": "momentum", "learning_rate": 0.05}, "epochs": 60}
    *_, last = chainrule.fit(net, (x, x @ weights + 3.0), training)
    np.testing.assert_allclose(net.parameters["dense_1.kernel"][:, 0], weights, atol=1e-6)
    np.testing.assert_allclose(net.parameters["dense_1.bias"], 3.0, atol=1e-6)
    assert last.train["r2"] > 0.999999


@pytest.mark.parametrize(("row", "epoch", "step"), [(0, 1, 1), (11, 1, 3), (19, 1, 4)])
def test_a_loss_that_is_not_finite_names_the_epoch_and_the_step(row, epoch, step):
    x, target = np.ones((20, 3)), np.ones(20)
    x[row] = 1e300  # its square is not a float64
    loop = TrainingLoop(
        Network(LINEAR, dtype="float64"), (x, target), {"batch_size": 5, "shuffle": False}
    )
    with pytest.raises(DivergedError) as caught:
        list(loop.run())
    assert (caught.value.epoch, caught.value.step) == (epoch, step)
    assert loop.step == step - 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov"])
def test_a_rate_far_too_large_diverges_without_a_warning(kind, dtype):
    training = {"optimizer": {"kind": kind, "learning_rate": 1e8}, "batch_size": 10, "epochs": 40}
    x = np.random.default_rng(0).standard_normal((40, 3))
    loop = TrainingLoop(Network(LINEAR, dtype=dtype), (x, x.sum(1)), training)
    with pytest.raises(DivergedError, match="diverged in epoch") as caught:
        [loop.checkpoint() for _ in loop.run()]
    assert caught.value.epoch == (caught.value.step - 1) // 4 + 1


def test_parameters_that_are_not_finite_are_never_saved():
    loop = TrainingLoop(Network(SPEC), rows_of(), TRAINING)
    run = loop.run()
    for _ in range(6):
        next(run)
    loop.net.flat[3] = np.inf
    with pytest.raises(DivergedError, match="a parameter is not finite") as caught:
        loop.checkpoint()
    assert (caught.value.epoch, caught.value.step) == (2, 5)


def test_optimizer_slots_that_are_not_finite_are_never_saved():
    loop = TrainingLoop(Network(SPEC), rows_of(), TRAINING)
    next(loop.run())
    loop._update.slots["v"][0] = np.inf  # hides in the parameters: what is divided by it is 0
    with pytest.raises(DivergedError, match="the optimizer's v is not finite"):
        loop.checkpoint()


@pytest.mark.parametrize(
    ("x", "y", "what"),
    [
        (np.nan, 1.0, "the inputs of this step have numbers that are not finite in float32"),
        (1e300, 1.0, "the inputs of this step have numbers that are not finite in float32"),
        (1.0, np.inf, "the targets of this step have numbers that are not finite in float32"),
        (3e38, 1.0, "the loss is not finite"),
    ],
    ids=["nan", "too large", "target", "overflow"],
)
def test_data_that_is_not_finite_is_named_where_it_makes_a_step_diverge(x, y, what):
    rows = np.ones((20, 3)), np.ones(20)
    rows[0][17, 1], rows[1][17] = x, y
    training = {"batch_size": 4, "shuffle": False, "loss": "mean_squared_error"}
    with pytest.raises(DivergedError) as caught:
        list(chainrule.fit(Network(LINEAR), rows, training))
    assert str(caught.value) == f"diverged in epoch 1, step 5: {what}"


def test_a_validation_loss_that_is_not_finite_diverges():
    kept_aside = np.full((2, 3), 1e300), np.zeros(2)
    data = np.ones((8, 3)), np.ones(8)
    loop = TrainingLoop(
        Network(LINEAR, dtype="float64"), data, {"batch_size": 4}, validation=kept_aside
    )
    with pytest.raises(DivergedError, match="the validation loss is not finite") as caught:
        list(loop.run())
    assert (caught.value.epoch, caught.value.step) == (1, 2)


@pytest.mark.parametrize(
    ("x", "target", "message"),
    [
        (
            np.zeros((5, 7)),
            np.zeros(5, int),
            r"inputs: the network wants an array of shape \(rows, 6\), got \(5, 7\)",
        ),
        (
            np.zeros(6),
            np.zeros(5, int),
            r"inputs: the network wants an array of shape \(rows, 6\), got \(6,\)",
        ),
        (np.zeros((0, 6)), np.zeros(0, int), "inputs: has no rows"),
        (np.zeros((5, 6)), np.zeros(4, int), "target: has 4 rows, the inputs have 5"),
        (np.zeros((5, 6)), np.array([0, 1, 2, 3, 4]), "target: class numbers must be 0 to 3"),
        (np.array([["a"] * 6] * 5), np.zeros(5, int), "inputs: must be numbers"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_the_first_step(x, target, message):
    with pytest.raises(DataError, match=message):
        chainrule.fit(Network(SPEC), (x, target), {})


def test_validation_that_does_not_fit_is_named():
    with pytest.raises(DataError, match=r"validation.inputs: the network wants"):
        chainrule.fit(Network(SPEC), rows_of(), {}, (np.zeros((2, 5)), np.zeros(2, int)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "seed"),
        ({"batch_size": 15}, "batch_size"),
        ({"optimizer": "sgd"}, "optimizer"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, message):
    checkpoint = TrainingLoop(Network(SPEC), rows_of(), TRAINING).checkpoint()
    with pytest.raises(CheckpointError, match=message):
        TrainingLoop(Network(SPEC), rows_of(), {**TRAINING, **change}, checkpoint=checkpoint)


def test_a_damaged_loop_record_is_refused():
    loop = TrainingLoop(Network(SPEC), rows_of(), TRAINING)
    checkpoint = loop.checkpoint()
    for damage in ({}, {"version": 1}, {**checkpoint.loop, "sums": "00"}):
        broken = Checkpoint(checkpoint.parameters, checkpoint.slots, checkpoint.state, {}, damage)
        with pytest.raises(CheckpointError):
            TrainingLoop(Network(SPEC), rows_of(), TRAINING, checkpoint=broken)


def test_a_longer_run_may_resume_from_a_shorter_one():
    short = TrainingLoop(Network(SPEC), rows_of(), TRAINING)
    for _ in short.run():
        pass
    longer = {**TRAINING, "epochs": 5}
    straight = TrainingLoop(Network(SPEC), rows_of(), longer)
    for _ in straight.run():
        pass
    resumed = TrainingLoop(Network(SPEC), rows_of(), longer, checkpoint=short.checkpoint())
    for _ in resumed.run():
        pass
    assert digest(resumed.checkpoint()) == digest(straight.checkpoint())


@pytest.mark.parametrize("shuffle", [True, False])
def test_memory_mapped_rows_give_the_same_bits(tmp_path, shuffle):
    x, target = rows_of()
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    np.save(tmp_path / "y.npy", target.astype(np.int32))
    mapped = tuple(np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    ends = []
    for data in ((x, target), mapped, (np.asfortranarray(x), target.astype(np.uint8))):
        loop = TrainingLoop(Network(SPEC), data, {**TRAINING, "shuffle": shuffle})
        for _ in loop.run():
            pass
        ends.append(digest(loop.checkpoint()))
    assert len(set(ends)) == 1


def wide_run(width, batch_size):
    spec = {
        "name": "wide",
        "input": {"shape": [width]},
        "layers": [
            {"kind": "dense", "units": width, "activation": "relu"},
            {"kind": "dropout", "rate": 0.2},
            {"kind": "dense", "units": width, "activation": "tanh"},
            {"kind": "dense", "units": width},
        ],
    }
    x = np.random.default_rng(0).standard_normal((3 * batch_size + 1, width)).astype(np.float32)
    training = {"batch_size": batch_size, "epochs": 1000, "loss": "mean_squared_error"}
    return TrainingLoop(Network(spec), (x, x), training).run()


def traced(run, warm_up, steps):
    """Return by how much memory grew over some reports, and its peak above the start."""
    for _ in range(warm_up):
        next(run)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            next(run)
        gc.collect()  # which empties the interpreter's free lists too, before each reading
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(steps):
            next(run)
        _, peak = tracemalloc.get_traced_memory()
        gc.collect()
        end, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return end - start, peak - start


def test_memory_does_not_grow_over_a_thousand_steps():
    growth, _ = traced(wide_run(20, 32), 20, 1000)
    assert growth < 5_000


def test_a_step_allocates_no_array_of_the_size_of_an_activation():
    _, peak = traced(wide_run(256, 1024), 5, 10)
    assert peak < 1024 * 256 * 4 / 4  # a quarter of one: numpy's own casting buffers are smaller


def test_evaluate_does_not_depend_on_the_block_size_but_for_rounding():
    net = Network(SPEC, dtype="float64")
    whole = evaluate(net, *rows_of(50), "softmax_cross_entropy", 50)
    parts = evaluate(net, *rows_of(50), "softmax_cross_entropy", 7)
    assert whole["accuracy"] == parts["accuracy"]
    assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-12)
