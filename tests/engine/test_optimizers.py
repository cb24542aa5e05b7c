"""Optimizers and schedules beside their formulas, written out for one number."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from chainrule.optimizers import OPTIMIZERS, optimizer_of
from chainrule.schedules import SCHEDULES, schedule_of
from chainrule.spec import TrainingSpec, parse


def travel(kind, gradients, **settings):
    """Return where a parameter at 1 is after steps of rate 0.1 with given gradients."""
    spec = parse(TrainingSpec, {"optimizer": {"kind": kind, **settings}}).optimizer
    optimizer = optimizer_of(spec)
    p = np.ones(3)
    slots = {name: np.full(3, optimizer.initial_slot) for name in optimizer.slots}
    for step, gradient in enumerate(gradients, 1):
        optimizer.step(p, np.full(3, gradient), slots, 0.1, step)
    assert p[0] == p[1] == p[2]
    return p[0]


def test_sgd_moves_against_the_gradient():
    assert travel("sgd", [2.0, -1.0]) == pytest.approx(1 - 0.1 * 2 + 0.1 * 1, rel=1e-15)


def test_momentum_keeps_its_velocity_outside_the_rate():
    assert travel("momentum", [2.0, 1.0], momentum=0.5) == pytest.approx(1 - 0.2 - 0.1 * 2.0)


def test_nesterov_looks_ahead():
    first, second = 2.0 + 0.5 * 2.0, 1.0 + 0.5 * (0.5 * 2.0 + 1.0)
    wanted = 1 - 0.1 * first - 0.1 * second
    assert travel("nesterov", [2.0, 1.0], momentum=0.5) == pytest.approx(wanted)


def test_adam_adds_epsilon_outside_the_corrected_root():
    p, m, v = 1.0, 0.0, 0.0
    for step, g in enumerate([2.0, -1.0, 1e-4], 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p -= 0.1 * m / (1 - 0.9**step) / (math.sqrt(v / (1 - 0.999**step)) + 0.5)
    assert travel("adam", [2.0, -1.0, 1e-4], epsilon=0.5) == pytest.approx(p, rel=1e-14)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_long_vector_moves_as_a_short_one(kind):
    optimizer = optimizer_of(parse(TrainingSpec, {"optimizer": kind}).optimizer)
    rng = np.random.default_rng(0)
    p, g = rng.standard_normal((2, 200_001)).astype(np.float32)
    slots = {name: np.zeros_like(p) for name in optimizer.slots}
    tail, tail_slots = p[-3:].copy(), {name: np.zeros(3, np.float32) for name in slots}
    optimizer.step(p, g, slots, 0.01, 1)
    optimizer.step(tail, g[-3:], tail_slots, 0.01, 1)
    assert p[-3:].tobytes() == tail.tobytes()


def test_every_optimizer_and_schedule_of_the_language_is_there():
    fields = TrainingSpec.model_json_schema()["properties"]
    assert set(OPTIMIZERS) == set(fields["optimizer"]["discriminator"]["mapping"])
    assert set(SCHEDULES) == set(fields["schedule"]["discriminator"]["mapping"])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_allocates_nothing_of_the_vectors_size(kind):
    optimizer = optimizer_of(parse(TrainingSpec, {"optimizer": kind}).optimizer)
    p, g = np.ones((2, 1_000_000), np.float32)
    slots = {name: np.ones_like(p) for name in optimizer.slots}
    optimizer.step(p, g, slots, 0.01, 1)
    tracemalloc.start()
    try:
        optimizer.step(p, g, slots, 0.01, 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_nadam_needs_no_memory_of_its_steps():
    spec = parse(TrainingSpec, {"optimizer": "nadam"}).optimizer
    rng = np.random.default_rng(0)
    ends = []
    for every in (1, 100):  # a new optimizer at each step, as after a resume, or one for all
        p, slots = np.ones(5), {"m": np.zeros(5), "v": np.zeros(5)}
        rng = np.random.default_rng(0)
        for step in range(1, 101):
            if step % every == 1 % every:
                optimizer = optimizer_of(spec)
            optimizer.step(p, rng.standard_normal(5), slots, 0.01, step)
        ends.append(p.tobytes())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("warmup", [0, 1, 5, 20])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_rate_is_a_number_from_0_to_the_bases_however_short_the_run(kind, warmup, steps):
    needed: dict[str, dict] = {"step": {"decay_steps": 3}, "ema": {"target": 0.01}}
    document = {"schedule": {"kind": kind, "warmup_steps": warmup, **needed.get(kind, {})}}
    schedule = schedule_of(parse(TrainingSpec, document).schedule)
    for step in range(1, steps + 1):
        assert 0.0 <= schedule.rate(0.1, step, steps) <= 0.1


def test_a_rate_far_beyond_every_float_is_0():
    for kind in ("step", "exponential"):
        document = {"schedule": {"kind": kind, "decay_steps": 1, "decay_rate": 0.1}}
        assert schedule_of(parse(TrainingSpec, document).schedule).rate(1.0, 10**9, 10**9) == 0.0
