"""The benchmark compares like with like: each side computes our losses from our weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.engine.cases import ADAM, CASES, find
from benchmarks.engine.ours import Ours
from benchmarks.engine.runs import CHECKED_STEPS, TOLERANCE, difference

SMALL = ["MLP 64-32-10", "CNN 1-8-16", "LSTM 1-32"]


def small(case, steps, batch):
    """Return a case of which two epochs have so many steps."""
    return replace(case, batch=batch, steps=steps // 2)


def losses(side):
    return [*side.epoch(0), *side.epoch(1)]


def torch_side(case):
    pytest.importorskip("torch", reason="PyTorch is the other side")
    from benchmarks.engine.torch_side import PyTorch

    return PyTorch(case, 1)


def jax_side(case):
    pytest.importorskip("jax", reason="JAX is the other side")
    from benchmarks.engine.jax_side import Jax

    return Jax(case, 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ten_steps_of_a_few_rows_have_pytorchs_losses(case):
    case = small(case, 10, batch=4)
    ours, theirs = losses(Ours(case, 1)), losses(torch_side(case))
    assert ours == pytest.approx(theirs, rel=TOLERANCE)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("other", [torch_side, jax_side])
def test_a_hundred_steps_end_with_the_peers_loss(name, other):
    case = small(find(name)[0], CHECKED_STEPS, batch=16)
    ours, theirs = losses(Ours(case, 1)), losses(other(case))
    assert difference(ours, theirs) <= TOLERANCE


def test_another_learning_rate_is_seen_as_a_difference(monkeypatch):
    case = small(find(SMALL[0])[0], CHECKED_STEPS, batch=16)
    ours = losses(Ours(case, 1))
    monkeypatch.setitem(ADAM, "learning_rate", 2 * ADAM["learning_rate"])
    assert difference(ours, losses(Ours(case, 1))) > TOLERANCE
