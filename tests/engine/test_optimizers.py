"""Optimizers and schedules beside their formulas, written out for one number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule.optimizers import OPTIMIZERS, optimizer_of
from chainrule.schedules import SCHEDULES, schedule_of
from chainrule.spec import TrainingSpec, parse


def travel(kind, gradients, **settings):
    """Return where a parameter at 1 is after steps of rate 0.1 with given gradients."""
    spec = parse(TrainingSpec, {"optimizer": {"kind": kind, **settings}}).optimizer
    optimizer = optimizer_of(spec)
    p, slots = np.ones(3), {name: np.zeros(3) for name in optimizer.slots}
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
    schema = TrainingSpec.model_json_schema()
    kinds = schema["properties"]["optimizer"]["discriminator"]["mapping"]
    assert set(OPTIMIZERS) == set(kinds)
    assert set(SCHEDULES) == {"constant"}


def test_a_constant_schedule_changes_nothing():
    schedule = schedule_of(TrainingSpec().schedule)
    assert {schedule.factor(step, 100) for step in (1, 50, 100)} == {1.0}
