"""What a training may add to plain steps, beside the formulas, and its resumes to the last bit."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc

import numpy as np
import pytest

import chainrule
from chainrule.checkpoint import Checkpoint
from chainrule.errors import CheckpointError, DivergedError, SpecError
from chainrule.fitting import EpochReport, StepReport, TrainingLoop, evaluate, kept_vectors
from chainrule.network import Network
from chainrule.optimizers import OPTIMIZERS
from chainrule.schedules import SCHEDULES
from chainrule.spec import TrainingSpec, parse

SPEC: dict = {
    "name": "small",
    "input": {"shape": [6]},
    "layers": [
        {"kind": "dense", "units": 9, "activation": "relu"},
        {"kind": "dropout", "rate": 0.3},
        {"kind": "dense", "units": 4},
    ],
}
PLAIN = {**SPEC, "layers": [SPEC["layers"][0], SPEC["layers"][2]]}
TRAINING: dict = {"batch_size": 8, "epochs": 4, "seed": 5}  # 25 rows: batches of 8, 8, 8 and 1
NEEDED: dict[str, dict] = {"step": {"decay_steps": 3}, "ema": {"target": 0.0001}}
STOPPING: dict = {"early_stopping": {"patience": 2, "min_delta": 0.02}, "epochs": 12}
OPTIONS: dict[str, dict] = {
    **{f"optimizer {kind}": {"optimizer": kind} for kind in OPTIMIZERS},
    "rmsprop centered": {"optimizer": {"kind": "rmsprop", "momentum": 0.5, "centered": True}},
    **{
        f"schedule {kind}": {"schedule": {"kind": kind, "warmup_steps": 3, **NEEDED.get(kind, {})}}
        for kind in SCHEDULES
    },
    "plateau": {
        "schedule": {
            "kind": "reduce_on_plateau",
            "patience": 1,
            "min_delta": 0.02,
            "factor": 0.5,
            "cooldown": 2,
        },
        "epochs": 8,
    },
    "clip value": {"clip": {"value": 0.01}},
    "clip norm": {"clip": {"norm": 0.1}},
    "clip global norm": {"clip": {"global_norm": 0.1}},
    "accumulation": {"gradient_accumulation_steps": 3},
    "penalties": {"l1": 0.01, "l2": 0.1},
    "max-norm": {"max_norm": 0.5},
    "average": {"ema_momentum": 0.9},
    "early stopping": STOPPING,
    "early stopping of the last": {
        **STOPPING,
        "early_stopping": {"patience": 1, "restore_best": False},
    },
    "all": {
        **STOPPING,
        "optimizer": {"kind": "adamw", "learning_rate": 0.02},
        "schedule": {"kind": "reduce_on_plateau", "patience": 1, "warmup_steps": 4},
        "gradient_accumulation_steps": 3,
        "clip": {"global_norm": 0.5},
        "l1": 0.001,
        "l2": 0.01,
        "max_norm": 2.0,
        "ema_momentum": 0.7,
    },
}


def rows_of(number=25, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((number, 6)), rng.integers(0, 4, number)


def loop_of(options, *, spec=SPEC, dtype="float32", seed=7, checkpoint=None, kept_aside=True):
    return TrainingLoop(
        Network(spec, seed=seed, dtype=dtype),
        rows_of(),
        {**TRAINING, **options},
        validation=rows_of(12, seed=1) if kept_aside else None,
        checkpoint=checkpoint,
    )


def facts(report):
    """Return what of a report must not depend on the clock."""
    if isinstance(report, StepReport):
        return report
    return report.epoch, report.step, report.train, report.validation, report.learning_rate


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_resume_at_any_report_ends_with_the_very_same_bits(name, dtype):
    options = OPTIONS[name]
    straight = loop_of(options, dtype=dtype)
    saved, reports = [straight.checkpoint().to_bytes()], []
    for report in straight.run():
        reports.append(facts(report))
        saved.append(straight.checkpoint().to_bytes())
    finished = straight.finish()
    weights = straight.net.flat.tobytes()
    for number, data in enumerate(saved):
        resumed = loop_of(options, dtype=dtype, seed=99, checkpoint=Checkpoint.from_bytes(data))
        assert resumed.checkpoint().to_bytes() == data
        assert [facts(report) for report in resumed.run()] == reports[number:]
        assert resumed.checkpoint().to_bytes() == saved[-1]
        assert resumed.finish() == finished
        assert resumed.net.flat.tobytes() == weights


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "optimizer adam"])
def test_every_option_changes_something(name):
    default, other = loop_of({}), loop_of(OPTIONS[name])
    for loop in (default, other):
        for _ in loop.run():
            pass
        loop.finish()
    assert not np.array_equal(default.net.flat, other.net.flat)


def first_update(options, spec=PLAIN):
    """Return the gradients by a loop's own network and what one update of rate 1 takes away."""
    documents = {"optimizer": {"kind": "sgd", "learning_rate": 1.0}, "shuffle": False, **options}
    loop = loop_of(documents, spec=spec, dtype="float64")
    before = {name: p.copy() for name, p in loop.net.parameters.items()}
    x, y = rows_of()
    _, gradients = loop.net.gradients(x[:8], y[:8], loss="softmax_cross_entropy")
    next(loop.run())
    moved = {name: before[name] - p for name, p in loop.net.parameters.items()}
    return {n: g for n, g in gradients.items() if n != "inputs"}, moved, before


def test_a_gradient_is_clipped_by_value():
    gradients, moved, _ = first_update({"clip": {"value": 0.02}})
    assert max(abs(g).max() for g in gradients.values()) > 0.02
    for name, gradient in gradients.items():
        np.testing.assert_allclose(moved[name], np.clip(gradient, -0.02, 0.02), atol=1e-15)


def test_each_tensors_gradient_is_clipped_by_its_norm():
    """Source: keras.optimizers clipnorm: g * clipnorm / max(norm, clipnorm)."""
    gradients, moved, _ = first_update({"clip": {"norm": 0.5}})
    norms = {name: np.linalg.norm(gradient) for name, gradient in gradients.items()}
    assert min(norms.values()) < 0.5 < max(norms.values())
    for name, gradient in gradients.items():
        wanted = gradient * 0.5 / max(norms[name], 0.5)
        np.testing.assert_allclose(moved[name], wanted, atol=1e-15)


@pytest.mark.parametrize("bound", [0.1, 100.0])
def test_the_whole_gradient_is_clipped_by_its_norm(bound):
    """Source: keras.optimizers global_clipnorm."""
    gradients, moved, _ = first_update({"clip": {"global_norm": bound}})
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    for name, gradient in gradients.items():
        np.testing.assert_allclose(moved[name], gradient * min(1, bound / norm), atol=1e-15)


def test_a_huge_float32_gradient_is_clipped_and_one_that_is_not_finite_diverges():
    from chainrule import kernels

    large = np.full(200_000, 1e30, np.float32)
    with np.errstate(all="ignore"):  # as in the loop
        assert kernels.norm(large) == pytest.approx(1e30 * np.sqrt(200_000), rel=1e-6)
    assert kernels.norm(np.array([3.0, -4.0])) == 5.0
    loop = loop_of({"clip": {"global_norm": 1.0}})
    run = loop.run()
    next(run)
    loop.net.flat[0] = np.nan
    with pytest.raises(DivergedError):
        list(run)


def test_penalties_are_on_kernels_alone_and_not_in_the_reported_loss():
    """Source: keras.regularizers.L1L2: l1 * sum(|w|) + l2 * sum(w ** 2)."""
    gradients, moved, before = first_update({"l1": 0.01, "l2": 0.1})
    for name, gradient in gradients.items():
        w = before[name]
        penalty = 0.01 * np.sign(w) + 2 * 0.1 * w if name.endswith("kernel") else 0.0
        np.testing.assert_allclose(moved[name], gradient + penalty, atol=1e-15)
    losses = [next(loop_of(options).run()).loss for options in ({}, {"l1": 0.01, "l2": 0.1})]
    assert losses[0] == losses[1]


def test_penalties_come_before_the_clipping():
    _, moved, _ = first_update({"l2": 100.0, "clip": {"value": 0.5}})
    assert abs(moved["dense_1.kernel"]).max() == pytest.approx(0.5)


def test_max_norm_bounds_the_weights_into_each_unit():
    """Source: keras.constraints.MaxNorm(axis=0), whose epsilon is 1e-7."""
    gradients, moved, before = first_update({"max_norm": 0.8})
    bounded = 0
    for name, gradient in gradients.items():
        w = before[name] - gradient
        if name.endswith("kernel"):
            norms = np.sqrt((w**2).sum(axis=0, keepdims=True))
            bounded += (norms > 0.8).sum()
            w *= np.clip(norms, 0, 0.8) / (1e-7 + norms)
        np.testing.assert_allclose(before[name] - moved[name], w, rtol=1e-6)
    assert 0 < bounded < 13


def test_an_update_takes_the_mean_gradient_of_its_group_which_ends_with_the_epoch():
    options = {"optimizer": {"kind": "sgd", "learning_rate": 0.5}, "shuffle": False, "epochs": 1}
    loop = loop_of({**options, "gradient_accumulation_steps": 3}, spec=PLAIN, dtype="float64")
    net = Network(PLAIN, seed=7, dtype="float64")
    x, y = rows_of()
    for group in ([0, 8, 16], [24]):
        sums = dict.fromkeys(net.parameters, 0.0)
        for start in group:
            rows = slice(start, start + 8)
            _, found = net.gradients(x[rows], y[rows], loss="softmax_cross_entropy")
            sums = {name: total + found[name] for name, total in sums.items()}
        for name in net.parameters:
            net.parameters[name][...] -= 0.5 * sums[name] / len(group)
    weights = [loop.net.flat.copy() for _ in loop.run()]
    np.testing.assert_allclose(weights[-1], net.flat, rtol=1e-12)
    assert weights[0].tobytes() == weights[1].tobytes()
    assert weights[1].tobytes() != weights[2].tobytes()


def test_bias_correction_and_schedule_count_updates():
    """Two batches alike in each group: the very run without groups, each batch once."""
    x, y = rows_of(32)
    twice = np.arange(32).reshape(4, 8).repeat(2, axis=0).ravel()
    doubled = x[twice], y[twice]
    common = {**TRAINING, "shuffle": False, "schedule": {"kind": "cosine", "warmup_steps": 2}}
    ends = []
    for data, group in (((x, y), 1), (doubled, 2)):
        net = Network(PLAIN, seed=7, dtype="float64")
        options = {**common, "gradient_accumulation_steps": group}
        rates = [report.learning_rate for report in chainrule.fit(net, data, options)]
        ends.append((net.flat.copy(), rates))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-12)
    assert ends[0][1] == ends[1][1]


def test_the_average_of_the_weights_is_evaluated_and_becomes_the_model():
    """Source: keras.optimizers, use_ema: the first update is copied, then 0.8 a + 0.2 w."""
    loop = loop_of({"ema_momentum": 0.8}, dtype="float64")
    average, evaluated = None, Network(SPEC, dtype="float64")
    for report in loop.run():
        if isinstance(report, StepReport):
            w = loop.net.flat.copy()
            average = w if average is None else 0.8 * average + 0.2 * w
        else:
            evaluated.flat[:] = average
            wanted = evaluate(evaluated, *rows_of(12, seed=1), loop.objective)
            assert report.validation["loss"] == pytest.approx(wanted["loss"], rel=1e-12)
    assert loop.finish() is None
    np.testing.assert_allclose(loop.net.flat, average, rtol=1e-12)


def losses_of(options, **more):
    """Return the reports of a run of many epochs, and its loop."""
    loop = loop_of({"optimizer": {"kind": "adam", "learning_rate": 0.05}, **options}, **more)
    return [r for r in loop.run() if isinstance(r, EpochReport)], loop


@pytest.mark.parametrize("kept_aside", [True, False])
@pytest.mark.parametrize(("patience", "min_delta"), [(0, 0.0), (1, 0.0), (3, 0.0), (2, 0.1)])
def test_early_stopping_stops_when_keras_would(patience, min_delta, kept_aside):
    full, _ = losses_of({"epochs": 40}, kept_aside=kept_aside)
    wait, best, stop = 0, None, 40  # keras.callbacks.EarlyStopping.on_epoch_end
    for epoch, report in enumerate(full):
        loss = (report.validation or report.train)["loss"]
        wait += 1
        if best is None or loss < best - min_delta:
            best, wait = loss, 0
        elif wait >= patience and epoch > 0:
            stop = epoch + 1
            break
    stopping = {"patience": patience, "min_delta": min_delta}
    got, loop = losses_of({"epochs": 40, "early_stopping": stopping}, kept_aside=kept_aside)
    assert stop < 40
    assert [facts(r) for r in got] == [facts(r) for r in full[:stop]]
    assert (loop.stopped, loop.epoch, loop.step) == (True, stop, 4 * stop)
    assert list(loop.run()) == []


def test_early_stopping_restores_the_best_epoch_and_tells_its_metrics():
    reports, loop = losses_of({"epochs": 40, "early_stopping": {"patience": 3}})
    best = min(reports, key=lambda report: report.validation["loss"])
    assert best is not reports[-1]
    assert loop.finish() == {
        "epoch": best.epoch,
        "train": best.train,
        "validation": best.validation,
    }
    assert evaluate(loop.net, *rows_of(12, seed=1), loop.objective) == best.validation


def test_early_stopping_without_restoring_keeps_the_last_weights():
    stopping = {"patience": 3, "restore_best": False}
    reports, loop = losses_of({"epochs": 40, "early_stopping": stopping})
    weights = loop.net.flat.copy()
    assert loop.finish() is None
    assert np.array_equal(loop.net.flat, weights)
    assert evaluate(loop.net, *rows_of(12, seed=1), loop.objective) == reports[-1].validation


def test_epochs_before_the_start_do_not_count():
    reports, loop = losses_of(
        {"epochs": 40, "early_stopping": {"patience": 0, "start_from_epoch": 20}}
    )
    assert len(reports) > 21
    best = loop.finish()["epoch"]
    assert best == len(reports) - 1 >= 21


def test_the_best_epoch_is_restored_at_the_last_one_too():
    reports, loop = losses_of({"epochs": 30, "early_stopping": {"patience": 100}})
    assert not loop.stopped
    best = min(reports, key=lambda report: report.validation["loss"])
    assert loop.finish()["epoch"] == best.epoch < 30


def test_fit_leaves_the_weights_to_keep():
    net = Network(SPEC, seed=7)
    options = {**TRAINING, "epochs": 40, "early_stopping": {"patience": 3}}
    options["optimizer"] = {"kind": "adam", "learning_rate": 0.05}
    kept_aside = rows_of(12, seed=1)
    reports = list(chainrule.fit(net, rows_of(), options, kept_aside))
    best = min(reports, key=lambda report: report.validation["loss"])
    assert evaluate(net, *kept_aside, "softmax_cross_entropy") == best.validation


@pytest.mark.parametrize("change", ["clip value", "average", "accumulation", "plateau", "max-norm"])
def test_a_checkpoint_of_other_options_is_refused(change):
    plain, other = loop_of({}), loop_of(OPTIONS[change])
    with pytest.raises(CheckpointError, match="another run"):
        loop_of(OPTIONS[change], checkpoint=plain.checkpoint())
    with pytest.raises(CheckpointError, match="another run"):
        loop_of({}, checkpoint=other.checkpoint())


def test_a_schedule_over_the_run_resumes_in_no_longer_one():
    cosine = {"schedule": "cosine"}
    checkpoint = loop_of(cosine).checkpoint()
    with pytest.raises(CheckpointError, match="epochs 4, not 5"):
        loop_of({**cosine, "epochs": 5}, checkpoint=checkpoint)
    loop_of({"schedule": {"kind": "cosine", "decay_steps": 9}, "epochs": 5})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": {}}, "clip: must have exactly one of value, norm and global_norm"),
        ({"clip": {"value": 1.0, "norm": 1.0}}, "clip: must have exactly one"),
        ({"clip": {"norm": 0.0}}, "clip.norm: must be > 0, got 0"),
        ({"schedule": "step"}, "schedule.decay_steps: is missing"),
        ({"schedule": "cosine_decay"}, "schedule: must be one of 'constant', 'step'"),
        ({"optimizer": "adamax"}, "optimizer: must be one of 'sgd', 'momentum'"),
        ({"ema_momentum": 1.0}, "ema_momentum: must be < 1, got 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: must be >= 1, got 0"),
        ({"early_stopping": {"patience": -1}}, "early_stopping.patience: must be >= 0, got -1"),
    ],
)
def test_a_bad_option_names_its_place(options, message):
    with pytest.raises(SpecError, match=message):
        parse(TrainingSpec, options)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_vectors_of_a_run_are_as_many_as_are_planned_for(name):
    checkpoint = loop_of(OPTIONS[name]).checkpoint()
    sizes = [v.size for v in (*checkpoint.slots.values(), *checkpoint.kept.values())]
    whole = checkpoint.parameters.size
    training = parse(TrainingSpec, {**TRAINING, **OPTIONS[name]})
    assert sizes.count(whole) == kept_vectors(training)
    assert set(sizes) <= {whole, checkpoint.state.size}


def test_no_option_allocates_anything_of_the_weights_size():
    spec = {"input": {"shape": [1000]}, "layers": [{"kind": "dense", "units": 1000}]}
    x = np.zeros((40, 1000), np.float32)
    options = {**OPTIONS["all"], "batch_size": 4, "epochs": 1, "loss": "mean_squared_error"}
    run = TrainingLoop(Network(spec), (x, x), options).run()
    for _ in range(4):
        next(run)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(4):
            next(run)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1000 * 1000 * 4 / 8


def test_the_weights_of_the_default_training_are_what_they_were_in_the_loop():
    """finish() moves nothing where no option asks for it."""
    loop = loop_of({})
    for _ in loop.run():
        pass
    before = hashlib.sha256(loop.net.flat).hexdigest()
    assert loop.finish() is None
    assert hashlib.sha256(loop.net.flat).hexdigest() == before
    assert loop.checkpoint().kept == {}
