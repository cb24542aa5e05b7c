"""The same numbers as PyTorch on the CPU: outputs, losses, gradients, and optimizers' steps."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.fitting import TrainingLoop
from chainrule.losses import LOSSES
from chainrule.network import Network
from chainrule.spec.layers import ACTIVATIONS
from tests.engine.engine_cases import MAIN_LOSSES, dense, draw

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
FUNCTIONS = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "leaky_relu": lambda x: torch.nn.functional.leaky_relu(x, 0.2),
    "elu": torch.nn.functional.elu,
    "gelu": torch.nn.functional.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": torch.nn.functional.softplus,
    "swish": torch.nn.functional.silu,
    "softmax": lambda x: torch.softmax(x, -1),
}
THEIR_LOSSES = {
    "mean_squared_error": torch.nn.functional.mse_loss,
    "binary_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
    "softmax_cross_entropy": torch.nn.functional.cross_entropy,
}
OPTIMIZERS = {
    "sgd": ({}, lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": ({"momentum": 0.8}, lambda p: torch.optim.SGD(p, 0.05, momentum=0.8)),
    "nesterov": (
        {"momentum": 0.8},
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True),
    ),
    "adam": (
        {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6},
        lambda p: torch.optim.Adam(p, 0.05, betas=(0.8, 0.99), eps=1e-6),
    ),
}


def network_of(activation, dtype):
    layers = [dense(7, activation), dense(6, activation), dense(3)]
    spec = {"name": "parity", "input": {"shape": [5]}, "layers": layers}
    return Network(spec, seed=1, dtype=dtype)


def theirs(net):
    """Copy the parameters into PyTorch tensors."""
    return {n: torch.tensor(v.copy(), requires_grad=True) for n, v in net.parameters.items()}


def run(parameters, activation, x):
    for number in (1, 2, 3):
        x = x @ parameters[f"dense_{number}.kernel"] + parameters[f"dense_{number}.bias"]
        x = FUNCTIONS[activation](x) if number < 3 else x
    return x


def assert_close(ours, other, dtype):
    other = other.detach().numpy()
    scale = max(np.abs(other).max(), 1e-8)
    assert np.abs(ours - other).max() / scale <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("loss", MAIN_LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_outputs_losses_and_gradients(activation, loss, dtype):
    net = network_of(activation, dtype)
    x, target = draw(net.spec.render(), (5,), loss, np.random.default_rng(0), rows=9)
    x = x.astype(dtype)
    parameters, inputs = theirs(net), torch.tensor(x, requires_grad=True)
    y = run(parameters, activation, inputs)
    assert_close(net.predict(x), y, dtype)
    goal = torch.tensor(target if loss == "softmax_cross_entropy" else target.astype(dtype))
    their_loss = THEIR_LOSSES[loss](y, goal)
    their_loss.backward()
    our_loss, gradients = net.gradients(x, target, loss=loss)
    assert_close(np.array(our_loss), their_loss, dtype)
    assert_close(gradients["inputs"], inputs.grad, dtype)
    for name, tensor in parameters.items():
        assert_close(gradients[name], tensor.grad, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_cross_entropy_with_probabilities(dtype):
    rng = np.random.default_rng(1)
    y, target = rng.standard_normal((6, 4)).astype(dtype), rng.dirichlet(np.ones(4), 6)
    logits = torch.tensor(y, requires_grad=True)
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(target.astype(dtype)))
    wanted.backward()
    loss, dy = LOSSES["softmax_cross_entropy"](y, target)
    assert_close(np.array(loss), wanted, dtype)
    assert_close(dy, logits.grad, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_twenty_steps_of_an_optimizer(kind, dtype):
    settings, make = OPTIMIZERS[kind]
    net = network_of("tanh", dtype)
    x, target = draw(net.spec.render(), (5,), "softmax_cross_entropy", np.random.default_rng(2), 80)
    parameters = theirs(net)
    optimizer = make(list(parameters.values()))
    training = {
        "loss": "softmax_cross_entropy",
        "optimizer": {"kind": kind, "learning_rate": 0.05, **settings},
        "batch_size": 8,
        "epochs": 2,
        "shuffle": False,
    }
    steps = [r.loss for r in TrainingLoop(net, (x, target), training).run() if hasattr(r, "loss")]
    assert len(steps) == 20
    for number, ours in enumerate(steps):
        rows = slice(number % 10 * 8, number % 10 * 8 + 8)
        optimizer.zero_grad()
        y = run(parameters, "tanh", torch.tensor(x[rows].astype(dtype)))
        loss = torch.nn.functional.cross_entropy(y, torch.tensor(target[rows]))
        loss.backward()
        optimizer.step()
        assert_close(np.array(ours), loss, dtype)
    for name, tensor in parameters.items():
        assert_close(net.parameters[name], tensor, dtype)
