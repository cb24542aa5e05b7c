"""Every case of the table beside PyTorch: outputs, losses, gradients, twenty steps of Adam."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.network import Network
from chainrule.optimizers import Adam
from tests.engine.engine_cases import CASES, case_id, draw

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")

from tests.engine.torch_engine import KINDS, TorchNetwork  # noqa: E402

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
every_case = pytest.mark.parametrize(("spec", "shape"), CASES, ids=map(case_id, CASES))


def assert_close(ours, theirs, dtype, what):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(np.abs(theirs).max(initial=0.0), 1e-8)
    assert np.abs(ours - theirs).max(initial=0.0) / scale <= TOLERANCE[dtype], what


def pair(spec, shape, dtype):
    """Return our network, theirs, and a batch; dropout is off on both sides."""
    net = Network(spec, seed=1, dtype=dtype)
    x, target = draw(spec, shape, "mean_squared_error", np.random.default_rng(5), rows=6)
    return net, TorchNetwork(net), x.astype(dtype), target.astype(dtype)


@every_case
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_losses_and_gradients_are_pytorchs(spec, shape, dtype):
    net, theirs, x, target = pair(spec, shape, dtype)
    inputs = torch.tensor(x, requires_grad=True)
    y = theirs.run(inputs)
    assert_close(net.predict(x), y, dtype, "output")
    their_loss = torch.nn.functional.mse_loss(y, torch.tensor(target))
    their_loss.backward()
    loss, gradients = net.gradients(x, target, loss="mean_squared_error")
    assert_close(np.array(loss), their_loss, dtype, "loss")
    assert_close(gradients["inputs"], inputs.grad, dtype, "inputs")
    for name, tensor in theirs.parameters.items():
        assert_close(gradients[name], tensor.grad, dtype, name)


@every_case
def test_twenty_steps_end_with_pytorchs_parameters(spec, shape):
    net, theirs, x, target = pair(spec, shape, "float64")
    if not net.parameters:
        pytest.skip("nothing to train")
    adam, slots = Adam(), {name: np.zeros_like(net.flat) for name in Adam.slots}
    their_adam = torch.optim.Adam(theirs.parameters.values(), 0.01, eps=adam.epsilon)
    for step in range(1, 21):
        _, gradients = net.gradients(x, target, loss="mean_squared_error")
        flat = np.concatenate([gradients[name].reshape(-1) for name in net.parameters])
        adam.step(net.flat, flat, slots, 0.01, step)
        their_adam.zero_grad()
        torch.nn.functional.mse_loss(theirs.run(torch.tensor(x)), torch.tensor(target)).backward()
        their_adam.step()
    for name, tensor in theirs.parameters.items():
        assert_close(net.parameters[name], tensor, "float64", name)


def test_every_kind_has_its_counterpart():
    kinds = {layer["kind"] for spec, _ in CASES for layer in spec["layers"]}
    assert kinds - {"shared"} <= set(KINDS)
