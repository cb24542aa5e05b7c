"""Every loss beside PyTorch, scikit-learn or Keras's formula, and beside central differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

import chainrule
from chainrule.losses import LOSSES, CostMatrix, loss_of
from chainrule.spec import TrainingSpec, parse
from tests.engine.engine_cases import LOSS_NAMES, case, dense

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")
F = torch.nn.functional

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
SHAPES = [(7, 4), (5, 3, 4), (2, 3, 2, 5)]  # rows, sequences, images
ONE_UNIT = [(7, 1), (5, 3, 1)]
NETWORKS = [
    case((5,), dense(6, "tanh"), dense(3)),
    case((5,), dense(4, "relu"), dense(2)),
    case((2, 3), {"kind": "activation", "activation": "tanh"}),
]


def made(kind, **settings):
    """The loss of a document."""
    return loss_of(parse(TrainingSpec, {"loss": {"kind": kind, **settings}}).loss)


def classes_first(y):
    """PyTorch has the classes on the second axis."""
    return torch.movedim(y, -1, 1)


def one_hot(target, y):
    if target.ndim == y.ndim:
        return target
    return F.one_hot(target, y.shape[-1]).to(y.dtype)


def hinge(y, target):
    """Crammer & Singer's, written with a sort instead of an infinity."""
    t = one_hot(target, y)
    right = (t * y).sum(-1)
    wrong = y[t == 0].reshape(*y.shape[:-1], -1).max(-1).values
    return torch.clamp(1 + wrong - right, min=0).mean()


def binary_hinge(y, target):
    """Keras's Hinge: mean(maximum(1 - y_true * y_pred, 0))."""
    return torch.clamp(1 - (2 * target - 1) * y, min=0).mean()


def focal(y, target, gamma=2.0, alpha=0.25):
    """Keras's CategoricalFocalCrossentropy: sum(alpha (1 - p)^gamma (-t log p))."""
    p = torch.softmax(y, -1)
    return (alpha * (1 - p) ** gamma * -one_hot(target, y) * torch.log(p)).sum(-1).mean()


def binary_focal(y, target, gamma=2.0):
    """Keras's BinaryFocalCrossentropy: (1 - p_t)^gamma times the binary cross-entropy."""
    p = torch.sigmoid(y)
    p_t = target * p + (1 - target) * (1 - p)
    return ((1 - p_t) ** gamma * -torch.log(p_t)).mean()


def smoothed(share):
    def loss(y, target):
        return F.cross_entropy(classes_first(y), target, label_smoothing=share)

    return loss


def smoothed_binary(share):
    def loss(y, target):
        return F.binary_cross_entropy_with_logits(y, target * (1 - share) + 0.5 * share)

    return loss


PEERS = [
    ("mean_squared_error", {}, F.mse_loss, SHAPES),
    ("mean_absolute_error", {}, F.l1_loss, SHAPES),
    ("huber", {}, F.huber_loss, SHAPES),
    ("huber", {"delta": 0.3}, lambda y, t: F.huber_loss(y, t, delta=0.3), SHAPES),
    ("binary_cross_entropy", {}, F.binary_cross_entropy_with_logits, SHAPES),
    ("binary_cross_entropy", {"label_smoothing": 0.2}, smoothed_binary(0.2), SHAPES),
    (
        "softmax_cross_entropy",
        {},
        lambda y, t: F.cross_entropy(classes_first(y), t),
        SHAPES,
    ),
    ("softmax_cross_entropy", {"label_smoothing": 0.3}, smoothed(0.3), SHAPES),
    ("hinge", {}, hinge, SHAPES),
    ("hinge", {}, binary_hinge, ONE_UNIT),
    ("focal", {}, focal, SHAPES),
    ("focal", {"gamma": 0.5, "alpha": 1.0}, lambda y, t: focal(y, t, 0.5, 1.0), SHAPES),
    ("focal", {"gamma": 0.0, "alpha": 0.5}, lambda y, t: focal(y, t, 0.0, 0.5), SHAPES),
    ("focal", {"gamma": 3.0}, lambda y, t: binary_focal(y, t, 3.0), ONE_UNIT),
    (
        "kullback_leibler",
        {},
        lambda y, t: (
            F.kl_div(torch.log_softmax(y, -1), t, reduction="sum") / (y.numel() // y.shape[-1])
        ),
        SHAPES,
    ),
    ("poisson", {}, lambda y, t: F.poisson_nll_loss(y, t, log_input=True, full=False), SHAPES),
    ("cosine_similarity", {}, lambda y, t: -F.cosine_similarity(y, t, -1).mean(), SHAPES),
]
CASES = [
    pytest.param(kind, settings, peer, shape, id=f"{kind}-{settings}-{shape}")
    for kind, settings, peer, shapes in PEERS
    for shape in shapes
]


def test_every_loss_has_a_peer():
    assert {kind for kind, *_ in PEERS} == set(LOSSES)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("kind", "settings", "peer", "shape"), CASES)
def test_value_and_gradient_are_the_peers(kind, settings, peer, shape, dtype):
    rng = np.random.default_rng(0)
    loss = made(kind, **settings)
    y, target = 2 * rng.standard_normal(shape), loss.draw(shape, rng)
    if target.dtype.kind == "f":
        target = target.astype(dtype)
    given = torch.tensor(y.astype(dtype), requires_grad=True)
    wanted = peer(given, torch.tensor(target))
    wanted.backward()
    value, dy = loss(y.astype(dtype), target)
    assert value == pytest.approx(wanted.item(), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype] * 1e-3)
    scale = given.grad.abs().max().item()
    assert np.abs(dy - given.grad.numpy()).max() <= TOLERANCE[dtype] * scale
    assert dy.dtype == dtype


@pytest.mark.parametrize("kind", ["softmax_cross_entropy", "hinge", "focal"])
def test_one_hot_rows_are_class_numbers(kind):
    rng = np.random.default_rng(1)
    y, classes = rng.standard_normal((4, 3, 5)), rng.integers(0, 5, (4, 3))
    loss = made(kind)
    for other in (loss, made(kind, label_smoothing=0.1) if kind.startswith("soft") else loss):
        (a, da), (b, db) = other(y, classes), other(y, np.eye(5)[classes])
        assert a == pytest.approx(b, rel=1e-13)
        np.testing.assert_allclose(da, db, rtol=1e-11, atol=1e-16)


def test_the_hinge_of_several_classes_is_scikit_learns():
    rng = np.random.default_rng(2)
    y, classes = rng.standard_normal((40, 4)), rng.integers(0, 4, 40)
    assert LOSSES["hinge"](y, classes)[0] == pytest.approx(
        sklearn_metrics.hinge_loss(classes, y, labels=range(4)), rel=1e-12
    )


@pytest.mark.parametrize(("spec", "shape"), NETWORKS)
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_gradients_through_a_network_agree_with_central_differences(loss, spec, shape):
    assert max(chainrule.check_gradients(spec, loss=loss, rows=3).values()) < 1e-6


@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "huber", "delta": 0.2},
        {"kind": "softmax_cross_entropy", "label_smoothing": 0.2},
        {"kind": "binary_cross_entropy", "label_smoothing": 0.2},
        {"kind": "focal", "gamma": 0.7},
    ],
)
def test_gradients_of_a_loss_with_settings_agree_with_central_differences(loss):
    assert max(chainrule.check_gradients(NETWORKS[0][0], loss=loss).values()) < 1e-6


@pytest.mark.parametrize("loss", ["hinge", "focal"])
def test_gradients_of_one_unit_agree_with_central_differences(loss):
    spec, _ = case((5,), dense(4, "tanh"), dense(1))
    assert max(chainrule.check_gradients(spec, loss=loss).values()) < 1e-6


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", sorted(set(LOSSES) - {"poisson"}))
def test_extreme_outputs_give_numbers(kind, dtype):
    loss = made(kind)
    size = 1e4 if "square" in kind else 1e30
    for n in (1, 3) if kind in ("hinge", "focal") else (3,):
        y = np.array([[size], [-size], [0.0], [1e-30]], dtype) * np.array([1, -1, 0.5], dtype)[:n]
        target = loss.draw(y.shape, np.random.default_rng(0))
        value, dy = loss(y, target.astype(dtype) if target.dtype.kind == "f" else target)
        assert math.isfinite(value)
        assert np.isfinite(dy).all()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_focal_loss_of_a_confident_error_grows_linearly_and_of_a_hit_vanishes(dtype):
    y = np.array([[100.0, -100.0], [-100.0, 100.0]], dtype)
    value, dy = LOSSES["focal"](y, np.array([0, 0]))
    assert value == pytest.approx(0.25 * 200 / 2, rel=1e-6)
    assert not dy[0].any()
    np.testing.assert_allclose(dy[1], [-0.125, 0.125], rtol=1e-6)
    value, dy = LOSSES["focal"](np.array([[-300.0], [300.0]], dtype), np.array([1.0, 1.0], dtype))
    assert value == pytest.approx(150.0, rel=1e-6)
    np.testing.assert_allclose(dy, [[-0.5], [0.0]], rtol=1e-6)


def test_the_hinge_is_flat_from_a_lead_of_one():
    value, dy = LOSSES["hinge"](np.array([[3.0, 1.5, -9.0], [0.5, 0.0, -9.0]]), np.array([0, 0]))
    assert value == 0.25
    assert dy.tolist() == [[0, 0, 0], [-0.5, 0.5, 0]]
    assert LOSSES["hinge"](np.array([[1.0]]), np.array([1.0]))[0] == 0.0


def test_poissons_rate_may_vanish_and_one_beyond_all_numbers_is_infinite_but_no_nan():
    value, dy = LOSSES["poisson"](np.array([[-1e4], [0.0]]), np.array([[0.0], [2.0]]))
    assert value == 0.5
    assert dy.tolist() == [[0.0], [-0.5]]
    with np.errstate(over="ignore"):
        assert LOSSES["poisson"](np.array([[1e4]]), np.array([[3.0]]))[0] == math.inf


def test_the_divergence_of_equal_distributions_is_zero_and_shares_of_zero_count_nothing():
    shares = np.array([[0.5, 0.25, 0.25], [0.125, 0.375, 0.5]])
    value, dy = LOSSES["kullback_leibler"](np.log(shares) + 7.0, shares)
    assert abs(value) < 1e-15
    assert np.abs(dy).max() < 1e-15
    value, _ = LOSSES["kullback_leibler"](np.zeros((1, 4)), np.array([[0.5, 0.5, 0.0, 0.0]]))
    assert value == pytest.approx(math.log(2), rel=1e-14)


def test_a_vector_of_zeros_has_no_direction():
    """Keras: x / max(norm, 1e-7), so the cosine is 0, its slope -target / 1e-7 per row."""
    value, dy = LOSSES["cosine_similarity"](np.zeros((1, 2)), np.array([[3.0, 4.0]]))
    assert value == 0.0
    np.testing.assert_allclose(dy, [[-0.6e7, -0.8e7]])
    assert LOSSES["cosine_similarity"](np.ones((1, 2)), np.zeros((1, 2)))[0] == 0.0


def costly(y, target, costs):
    """sum_j cost[t, j] (-log(1 - p_j)), as it is written."""
    p = torch.softmax(y, -1)
    return (torch.tensor(costs)[target] * -torch.log(1 - p)).sum(-1).mean()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cost_matrix_has_the_gradient_of_its_formula(shape):
    rng = np.random.default_rng(3)
    costs = rng.uniform(0, 5, (shape[-1], shape[-1]))
    np.fill_diagonal(costs, 0.0)
    y, target = 2 * rng.standard_normal(shape), rng.integers(0, shape[-1], shape[:-1])
    given = torch.tensor(y, requires_grad=True)
    wanted = costly(given, torch.tensor(target), costs)
    wanted.backward()
    for goal in (target, np.eye(shape[-1])[target]):
        value, dy = CostMatrix(costs=costs)(y, goal)
        assert value == pytest.approx(wanted.item(), rel=1e-12)
        np.testing.assert_allclose(dy, given.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_a_cost_matrix_of_two_classes_is_the_cross_entropy_with_class_weights():
    rng = np.random.default_rng(4)
    y, target = 3 * rng.standard_normal((20, 2)), rng.integers(0, 2, 20)
    costs = CostMatrix(costs=np.array([[0.0, 4.0], [0.5, 0.0]]))
    weights = np.array([4.0, 0.5])[target]
    value, dy = costs(y, target)
    other, other_dy = LOSSES["softmax_cross_entropy"](y, target, weights=weights)
    assert value == pytest.approx(other, rel=1e-12)
    np.testing.assert_allclose(dy, other_dy, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_cost_matrix_stays_finite_for_confident_errors(dtype):
    costs = CostMatrix(costs=np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]))
    y = np.array([[-1e4, 1e4, 0.0], [1e4, 1e4, 1e4], [0.0, 0.0, -1e30]], dtype)
    value, dy = costs(y, np.array([0, 0, 0]))
    # -log(1 - p_1) is 1e4, the lead over the next score; p_j = 1/3 each; p = (1/2, 1/2, 0).
    wanted = (2 * 1e4 + 3 * math.log(1.5) + 2 * math.log(2)) / 3
    assert value == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(dy[0], [0.0, 2 / 3, -2 / 3], atol=1e-6)
    assert np.isfinite(dy).all()
