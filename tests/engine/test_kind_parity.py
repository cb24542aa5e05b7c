"""Every case of the table beside PyTorch: outputs, losses, gradients, twenty steps of Adam."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.fitting import TrainingLoop
from chainrule.network import Network
from chainrule.optimizers import Adam
from tests.engine.engine_cases import CASES, case_id, draw

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")

from tests.engine.torch_engine import KINDS, TorchNetwork  # noqa: E402

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
every_case = pytest.mark.parametrize(("spec", "shape"), CASES, ids=map(case_id, CASES))


def assert_close(ours, theirs, dtype, what, floor=1e-8):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(np.abs(theirs).max(initial=0.0), floor)
    assert np.abs(ours - theirs).max(initial=0.0) / scale <= TOLERANCE[dtype], what


def assert_inputs_close(ours, theirs, dtype):
    """Compare the gradients in the inputs: PyTorch has none of whole numbers, ours is zero."""
    if theirs is None:
        assert not ours.any()
    else:
        assert_close(ours, theirs, dtype, "inputs")


def assert_gradients_close(ours, theirs, dtype):
    """Compare the gradients in the parameters.

    One in the bias of attention's keys is zero, since softmax does not see what is added to all of
    a query's scores: of it both sides have the rounding of the others.
    """
    largest = max((float(tensor.grad.abs().max()) for tensor in theirs.values()), default=0.0)
    for name, tensor in theirs.items():
        floor = largest if name.endswith(".key.bias") else 1e-8
        assert_close(ours[name], tensor.grad, dtype, name, floor)


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
    their_loss = theirs.squared_error(y, torch.tensor(target))
    their_loss.backward()
    loss, gradients = net.gradients(x, target, loss="mean_squared_error")
    assert_close(np.array(loss), their_loss, dtype, "loss")
    assert_inputs_close(gradients["inputs"], inputs.grad, dtype)
    assert_gradients_close(gradients, theirs.parameters, dtype)


@every_case
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_twenty_steps_end_with_pytorchs_parameters(spec, shape, dtype):
    net, theirs, x, target = pair(spec, shape, dtype)
    if not net.parameters:
        pytest.skip("nothing to train")
    adam, slots = Adam(), {name: np.zeros_like(net.flat) for name in Adam.slots}
    their_adam = torch.optim.Adam(theirs.parameters.values(), 0.01, eps=adam.epsilon)
    for step in range(1, 21):
        _, gradients = net.gradients(x, target, loss="mean_squared_error")
        flat = np.concatenate([gradients[name].reshape(-1) for name in net.parameters])
        adam.step(net.flat, flat, slots, 0.01, step)
        their_adam.zero_grad()
        theirs.squared_error(theirs.run(torch.tensor(x)), torch.tensor(target)).backward()
        their_adam.step()
    exact = Network(spec, seed=1, dtype="float64").gradients(x, target, loss="mean_squared_error")[
        1
    ]
    for name, tensor in theirs.parameters.items():
        # No output hangs on a key's bias: its gradient is rounding, which Adam makes steps of.
        if dtype == "float64" or np.abs(exact[name]).max() > 1e-12:
            assert_close(net.parameters[name], tensor, dtype, name)


moving = [case for case in CASES if Network(case[0]).state.size]
moving_case = pytest.mark.parametrize(("spec", "shape"), moving, ids=map(case_id, moving))


@moving_case
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gradients_through_the_moments_of_a_batch_are_pytorchs(spec, shape, dtype):
    net, theirs, x, target = pair(spec, shape, dtype)
    theirs.training = True
    before = net.state.copy()
    inputs = torch.tensor(x, requires_grad=True)
    their_loss = theirs.squared_error(theirs.run(inputs), torch.tensor(target))
    their_loss.backward()
    loss, gradients = net.gradients(x, target, loss="mean_squared_error", training=True)
    assert net.state.tobytes() == before.tobytes()
    assert_close(np.array(loss), their_loss, dtype, "loss")
    assert_inputs_close(gradients["inputs"], inputs.grad, dtype)
    assert_gradients_close(gradients, theirs.parameters, dtype)


@moving_case
def test_twenty_steps_of_training_end_with_pytorchs_moving_averages(spec, shape):
    net, theirs, x, target = pair(spec, shape, "float64")
    theirs.training = True
    optimizer = {"kind": "sgd", "learning_rate": 0.02}
    training = {"epochs": 20, "batch_size": len(x), "shuffle": False, "optimizer": optimizer}
    list(TrainingLoop(net, (x, target), {**training, "loss": "mean_squared_error"}).run())
    tensors = list(theirs.parameters.values())
    descent = torch.optim.SGD(tensors, 0.02)
    for _ in range(20):
        descent.zero_grad()
        theirs.squared_error(theirs.run(torch.tensor(x)), torch.tensor(target)).backward()
        descent.step()
    for name, tensor in {**theirs.parameters, **theirs.states}.items():
        assert_close({**net.parameters, **net.states}[name], tensor, "float64", name)


def test_every_kind_has_its_counterpart():
    kinds = {layer["kind"] for spec, _ in CASES for layer in spec["layers"]}
    assert kinds - {"shared"} <= set(KINDS)
