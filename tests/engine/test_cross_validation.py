"""Cross-validation as one run: each fold as if trained alone, wherever the run is taken up."""

import math
import statistics
import weakref
from typing import Any

import numpy as np
import pytest

from chainrule.checkpoint import Checkpoint
from chainrule.errors import CheckpointError, DivergedError
from chainrule.fitting import CrossValidation, EpochReport, TrainingLoop, fold_summary
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, TrainingSpec, parse, stage_rows, stage_steps
from chainrule.spec.splits import KFoldSplitSpec

ROWS, FOLDS = 47, 3
SPEC = parse(
    ArchitectureSpec,
    {
        "input": {"shape": [4]},
        "layers": [
            {"kind": "dense", "units": 6, "activation": "tanh"},
            {"kind": "dense", "units": 1},
        ],
    },
)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, 4))
Y = X[:, :1] * 2 - X[:, 1:2] + RNG.normal(scale=0.3, size=(ROWS, 1))
SIZES = stage_rows(KFoldSplitSpec(kind="k_fold", folds=FOLDS), ROWS)


def training(**changes):
    given = {"loss": "mean_squared_error", "epochs": 4, "batch_size": 8, "seed": 3}
    return parse(TrainingSpec, {**given, "precision": "float64", **changes})


def rows_of(stage):
    """The rows that a stage learns from, and those that it is judged by."""
    numbers = np.arange(ROWS)
    aside = numbers % FOLDS == stage
    return numbers[~aside], numbers[aside]


def loop_of(stage, wanted, checkpoint=None):
    learnt, aside = rows_of(stage)
    validation = (X[aside], Y[aside]) if len(aside) else None
    net = Network(SPEC, wanted.seed, wanted.precision)
    train = X[learnt], Y[learnt]
    return TrainingLoop(net, train, wanted, validation=validation, checkpoint=checkpoint)


def validated(wanted, checkpoint=None):
    return CrossValidation(loop_of, stage_steps(SIZES, SPEC, wanted), wanted, checkpoint)


def alone(stage, wanted):
    """Train one network by itself; return it with what it measured in the epoch that is kept."""
    loop = loop_of(stage, wanted)
    reports = [report for report in loop.run() if isinstance(report, EpochReport)]
    kept = loop.finish()
    last = reports[-1]
    kept = kept or {"epoch": last.epoch, "train": last.train, "validation": last.validation}
    return loop, kept


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"optimizer": {"kind": "momentum", "learning_rate": 0.02}},
    "early": {
        "epochs": 30,
        "early_stopping": {"patience": 1, "restore_best": True},
        "optimizer": {"kind": "adam", "learning_rate": 0.05},
    },
    "plateau": {"schedule": {"kind": "reduce_on_plateau", "patience": 1}, "epochs": 5},
    "average": {"optimizer": {"kind": "adam"}, "ema_momentum": 0.9},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_fold_measures_what_its_network_would_alone(options):
    wanted = training(**options)
    run = validated(wanted)
    list(run.run())
    assert [fold["fold"] for fold in run.folds] == [1, 2, 3]
    for stage, fold in enumerate(run.folds):
        _, kept = alone(stage, wanted)
        assert fold == {"fold": stage + 1, **kept}


def test_the_network_to_keep_learns_from_all_rows():
    run = validated(training())
    list(run.run())
    run.finish()
    other, _ = alone(FOLDS, training())
    assert run.net.flat.tobytes() == other.net.flat.tobytes()
    assert (run.step, run.epoch, run.stopped) == (run.steps, run.epochs, False)


def test_with_early_stopping_it_learns_for_the_folds_mean_of_kept_epochs():
    wanted = training(**OPTIONS["early"])
    run = validated(wanted)
    reports = [report for report in run.run() if isinstance(report, EpochReport)]
    run.finish()
    epochs = round(statistics.fmean(fold["epoch"] for fold in run.folds))
    assert 1 < epochs < wanted.epochs
    assert reports[-1].epoch == FOLDS * wanted.epochs + epochs
    assert run.stopped
    limited = training(epochs=epochs, optimizer=OPTIONS["early"]["optimizer"])
    other, _ = alone(FOLDS, limited)
    assert run.net.flat.tobytes() == other.net.flat.tobytes()


def test_steps_and_epochs_count_through_and_rise():
    wanted = training(**OPTIONS["early"])
    run = validated(wanted)
    steps = stage_steps(SIZES, SPEC, wanted)
    assert (run.steps, run.epochs) == (sum(steps), (FOLDS + 1) * wanted.epochs)
    places, begins = [], set()
    for report in run.run():
        assert (report.step, report.epoch - isinstance(report, EpochReport)) >= (0, 0)
        places.append((report.step, report.epoch))
        begins.add(run.number)
        assert report.step == run.step
    assert places == sorted(places)
    assert begins == {0, 1, 2, 3}
    first_of_each = [sum(steps[:number]) + 1 for number in range(FOLDS + 1)]
    assert {step for step, _ in places} >= set(first_of_each)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_taken_up_anywhere_it_ends_with_the_same_bits(options):
    wanted = training(**options)
    run = validated(wanted)
    kept = [
        run.checkpoint().to_bytes()
        for report in run.run()
        if run.step % 17 == 0
        or (isinstance(report, EpochReport) and report.epoch % wanted.epochs == 0)
    ]
    run.finish()
    assert len(kept) > 5
    for data in kept:
        again = validated(wanted, Checkpoint.from_bytes(data))
        assert again.checkpoint().to_bytes() == data
        list(again.run())
        again.finish()
        assert again.net.flat.tobytes() == run.net.flat.tobytes()
        assert again.folds == run.folds
        assert (again.step, again.stopped) == (run.step, run.stopped)


def test_a_checkpoint_of_one_network_is_refused():
    other = loop_of(0, training()).checkpoint()
    with pytest.raises(CheckpointError, match="not one of a cross-validation"):
        validated(training(), other)


def test_a_divergence_is_told_where_the_run_is():
    wanted = training()
    steps = stage_steps(SIZES, SPEC, wanted)

    def stage(number, given, checkpoint):
        loop = loop_of(number, given, checkpoint)
        if number == 1:
            loop.net.flat[:] = np.nan
        return loop

    run = CrossValidation(stage, steps, wanted)
    with pytest.raises(DivergedError) as caught:
        list(run.run())
    assert (caught.value.epoch, caught.value.step) == (wanted.epochs + 1, steps[0] + 1)


def test_a_stages_memory_is_free_before_the_next_begins():
    made = []

    def stage(number, given, checkpoint):
        assert [one() for one in made] == [None] * number
        loop = loop_of(number, given, checkpoint)
        made.append(weakref.ref(loop.net))
        return loop

    wanted = training()
    list(CrossValidation(stage, stage_steps(SIZES, SPEC, wanted), wanted).run())
    assert len(made) == FOLDS + 1


def test_the_summary_is_mean_and_standard_error():
    measured = [0.5, 0.75, 1.0, 0.25]
    folds: list[dict[str, Any]] = [
        {"fold": n, "validation": {"loss": v, "r2": v}} for n, v in enumerate(measured, 1)
    ]
    folds[2]["validation"]["r2"] = None
    found = fold_summary(folds)
    assert found["folds"] == folds
    assert found["mean"] == {"loss": 0.625, "r2": None}
    deviation = math.sqrt(sum((v - 0.625) ** 2 for v in measured) / 3)
    assert found["standard_error"]["loss"] == pytest.approx(deviation / 2, rel=1e-15)
    assert found["standard_error"]["r2"] is None


@pytest.mark.parametrize("rows", [20, 47, 101])
@pytest.mark.parametrize("folds", [2, 3, 7])
def test_the_stages_rows_add_up(rows, folds):
    *parts, whole = stage_rows(KFoldSplitSpec(kind="k_fold", folds=folds), rows)
    assert whole == rows
    sizes = [rows - part for part in parts]
    assert sum(sizes) == rows
    assert max(sizes) - min(sizes) <= 1
    assert stage_rows(KFoldSplitSpec(kind="k_fold", folds=folds, fold=1), rows) == [rows]
