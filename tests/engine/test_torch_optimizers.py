"""A hundred steps of every optimizer and every schedule beside PyTorch's formula, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule.fitting.stopping import Plateau
from chainrule.optimizers import OPTIMIZERS, optimizer_of
from chainrule.schedules import SCHEDULES, schedule_of
from chainrule.spec import TrainingSpec, parse

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")
rates = torch.optim.lr_scheduler
optim = torch.optim

STEPS, RATE = 100, 0.05


class Lion:
    """Lion by its paper: torch has none.  Source: Chen et al. (2023), algorithm 2."""

    def __init__(self, p, rate, betas, weight_decay):
        self.param_groups = [{"params": p, "lr": rate}]
        self.settings = (*betas, weight_decay)
        self.m = 0.0

    def step(self):
        beta_1, beta_2, decay = self.settings
        group = self.param_groups[0]
        for p in group["params"]:
            update = np.sign(beta_1 * self.m + (1 - beta_1) * p.grad.numpy())
            p.data -= group["lr"] * torch.tensor(update + decay * p.detach().numpy())
            self.m = beta_2 * self.m + (1 - beta_2) * p.grad.numpy()


BETAS = {"beta_1": 0.8, "beta_2": 0.99}
STEPPERS = [
    ("sgd", {}, lambda p: optim.SGD(p, RATE)),
    ("momentum", {}, lambda p: optim.SGD(p, RATE, momentum=0.9)),
    ("momentum", {"momentum": 0.5}, lambda p: optim.SGD(p, RATE, momentum=0.5)),
    ("nesterov", {}, lambda p: optim.SGD(p, RATE, momentum=0.9, nesterov=True)),
    (
        "adagrad",
        {},
        lambda p: optim.Adagrad(p, RATE, initial_accumulator_value=0.1, eps=1e-7),
    ),
    (
        "adagrad",
        {"initial_accumulator_value": 0.0, "epsilon": 1e-3},
        lambda p: optim.Adagrad(p, RATE, eps=1e-3),
    ),
    ("rmsprop", {}, lambda p: optim.RMSprop(p, RATE, alpha=0.9, eps=1e-7)),
    (
        "rmsprop",
        {"rho": 0.8, "momentum": 0.7, "centered": True, "epsilon": 1e-4},
        lambda p: optim.RMSprop(p, RATE, alpha=0.8, eps=1e-4, momentum=0.7, centered=True),
    ),
    (
        "rmsprop",
        {"momentum": 0.5},
        lambda p: optim.RMSprop(p, RATE, alpha=0.9, eps=1e-7, momentum=0.5),
    ),
    ("adam", {}, lambda p: optim.Adam(p, RATE, eps=1e-7)),
    ("adam", {**BETAS, "epsilon": 1e-3}, lambda p: optim.Adam(p, RATE, (0.8, 0.99), 1e-3)),
    ("adamw", {}, lambda p: optim.AdamW(p, RATE, eps=1e-7, weight_decay=0.004)),
    (
        "adamw",
        {**BETAS, "weight_decay": 0.3},
        lambda p: optim.AdamW(p, RATE, (0.8, 0.99), 1e-7, weight_decay=0.3),
    ),
    ("nadam", {}, lambda p: optim.NAdam(p, RATE, eps=1e-7)),
    ("nadam", {**BETAS, "epsilon": 1e-3}, lambda p: optim.NAdam(p, RATE, (0.8, 0.99), 1e-3)),
    ("lion", {}, lambda p: Lion(p, RATE, (0.9, 0.99), 0.0)),
    ("lion", {**BETAS, "weight_decay": 0.2}, lambda p: Lion(p, RATE, (0.8, 0.99), 0.2)),
]


@pytest.fixture
def _in_float64():
    """PyTorch's own numbers too: NAdam has a product that is in the default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("_in_float64")
@pytest.mark.parametrize(("kind", "settings", "theirs"), STEPPERS)
def test_a_hundred_steps_are_pytorchs(kind, settings, theirs):
    rng = np.random.default_rng(0)
    p = rng.standard_normal(50)
    tensor = torch.tensor(p.copy(), requires_grad=True)
    other = theirs([tensor])
    spec = {"kind": kind, "learning_rate": RATE, **settings}
    optimizer = optimizer_of(parse(TrainingSpec, {"optimizer": spec}).optimizer)
    slots = {name: np.full(50, optimizer.initial_slot) for name in optimizer.slots}
    for step in range(1, STEPS + 1):
        gradient = rng.standard_normal(50) * rng.choice([1e-3, 1.0, 1e2]) + 0.1
        tensor.grad = torch.tensor(gradient.copy())
        rate = RATE * 0.99**step  # it changes: the velocity must not have it in it
        other.param_groups[0]["lr"] = rate
        other.step()
        optimizer.step(p, gradient, slots, rate, step)
        np.testing.assert_allclose(p, tensor.detach().numpy(), rtol=1e-11, atol=1e-12)


def test_every_optimizer_is_compared():
    assert {kind for kind, _, _ in STEPPERS} == set(OPTIMIZERS)


SCHEDULERS: list[tuple] = [
    ({"kind": "constant"}, lambda o: rates.ConstantLR(o, 1.0)),
    ({"kind": "step", "decay_steps": 7, "decay_rate": 0.7}, lambda o: rates.StepLR(o, 7, 0.7)),
    (
        {"kind": "exponential", "decay_steps": 1, "decay_rate": 0.96},
        lambda o: rates.ExponentialLR(o, 0.96),
    ),
    ({"kind": "exponential"}, lambda o: rates.ExponentialLR(o, 0.1**0.01)),
    ({"kind": "cosine"}, lambda o: rates.CosineAnnealingLR(o, STEPS)),
    ({"kind": "cosine", "alpha": 0.2}, lambda o: rates.CosineAnnealingLR(o, STEPS, 0.2 * RATE)),
    (
        {"kind": "cosine", "restarts": True, "decay_steps": 10, "alpha": 0.1},
        lambda o: rates.CosineAnnealingWarmRestarts(o, 10, 2, 0.1 * RATE),
    ),
    (
        {"kind": "cosine", "restarts": True, "decay_steps": 15, "t_mul": 1.0},
        lambda o: rates.CosineAnnealingWarmRestarts(o, 15),
    ),
    ({"kind": "polynomial"}, lambda o: rates.PolynomialLR(o, STEPS)),
    (
        {"kind": "polynomial", "decay_steps": 60, "power": 2.5},
        lambda o: rates.PolynomialLR(o, 60, 2.5),
    ),
    (
        {"kind": "one_cycle"},
        lambda o: rates.OneCycleLR(o, RATE, STEPS, cycle_momentum=False),
    ),
    (
        {
            "kind": "one_cycle",
            "pct_start": 0.45,
            "div_factor": 4.0,
            "final_div_factor": 50.0,
            "anneal": "linear",
        },
        lambda o: rates.OneCycleLR(
            o,
            RATE,
            STEPS,
            pct_start=0.45,
            div_factor=4.0,
            final_div_factor=50.0,
            anneal_strategy="linear",
            cycle_momentum=False,
        ),
    ),
]


def their_rates(make, steps=STEPS):
    optimizer = optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def our_rates(document, steps=STEPS):
    schedule = schedule_of(parse(TrainingSpec, {"schedule": document}).schedule)
    return [schedule.rate(RATE, step, steps) for step in range(1, steps + 1)]


@pytest.mark.parametrize(("document", "theirs"), SCHEDULERS)
@pytest.mark.filterwarnings("ignore:.*epoch parameter")
def test_a_hundred_rates_are_pytorchs(document, theirs):
    np.testing.assert_allclose(our_rates(document), their_rates(theirs), rtol=1e-10)


@pytest.mark.parametrize(("document", "theirs"), SCHEDULERS)
def test_a_warmup_is_pytorchs_before_any_of_them(document, theirs):
    before = 12
    got = our_rates({**document, "warmup_steps": before}, before + STEPS)
    after = their_rates(theirs)
    np.testing.assert_allclose(got[before:], after, rtol=1e-10)
    warmup = their_rates(lambda o: rates.LinearLR(o, 1 / before, 1.0, before - 1), before)
    np.testing.assert_allclose(got[:before], np.array(warmup) * after[0] / RATE, rtol=1e-12)


@pytest.mark.parametrize(("alpha", "m_mul"), [(0.1, 1.0), (0.0, 0.5), (0.2, 0.7)])
def test_restarts_are_kerass(alpha, m_mul):
    """Restarts after 10, 30 and 70 steps.  Source: keras CosineDecayRestarts, for t_mul 2."""
    wanted = []
    for k in range(STEPS):
        restart = math.floor(math.log2(1 + k / 10))
        done = (k / 10 - (2**restart - 1)) / 2**restart
        decayed = 0.5 * m_mul**restart * (1 + math.cos(math.pi * done))
        wanted.append(RATE * ((1 - alpha) * decayed + alpha))
    document = {"kind": "cosine", "restarts": True, "decay_steps": 10}
    got = our_rates({**document, "alpha": alpha, "m_mul": m_mul})
    np.testing.assert_allclose(got, wanted, rtol=1e-10)


def test_the_rate_moves_toward_its_target_as_an_average():
    rate, wanted = RATE, []
    for _ in range(STEPS):
        wanted.append(rate)
        rate = 0.9 * rate + (1 - 0.9) * 0.002
    got = our_rates({"kind": "ema", "target": 0.002, "decay": 0.9})
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize(("patience", "cooldown"), [(1, 0), (2, 0), (3, 1), (1, 3), (2, 4)])
def test_a_plateau_lowers_the_rate_as_pytorch_does(patience, cooldown):
    """Keras counts the epoch that runs out of patience, and the first one of a cooldown."""
    optimizer = optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    settings = {"mode": "min", "factor": 0.5, "threshold": 0.01, "threshold_mode": "abs", "eps": 0}
    theirs = rates.ReduceLROnPlateau(
        optimizer,
        patience=patience - 1,
        cooldown=max(0, cooldown - 1),
        min_lr=RATE / 100,
        **settings,
    )
    schedule = {
        "kind": "reduce_on_plateau",
        "factor": 0.5,
        "patience": patience,
        "min_delta": 0.01,
        "cooldown": cooldown,
        "min_learning_rate": RATE / 100,
    }
    document = {"schedule": schedule, "optimizer": {"kind": "sgd", "learning_rate": RATE}}
    plateau = Plateau(parse(TrainingSpec, document))
    losses = np.cumsum(np.random.default_rng(1).normal(-0.005, 0.03, STEPS))
    for loss in losses:
        theirs.step(loss)
        plateau.judge(float(loss))
        assert plateau.rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert plateau.rate < RATE


def test_every_schedule_is_compared():
    compared = {document["kind"] for document, _ in SCHEDULERS}
    assert compared | {"ema", "reduce_on_plateau"} == set(SCHEDULES)
