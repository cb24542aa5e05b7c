"""Two hundred random graphs beside PyTorch, and as many broken ones, each refused at its place."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from chainrule.errors import SpecError
from chainrule.naming import named
from chainrule.network import Network
from chainrule.spec import KINDS, ArchitectureSpec, nodes, parse
from tests.engine.random_graphs import VOCABULARY, broken_graphs, graphs

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")

from tests.engine.torch_engine import TorchNetwork  # noqa: E402

random_cases = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
seen = Counter()


def draw_inputs(spec, rng):
    """Return three rows; of sequences one ends in zeros, one begins with one, one has nothing else.

    Zeros are padding where a graph has a masking layer, or an embedding that masks zero.
    """
    shape = (3, *spec["input"]["shape"])
    numbers = spec["layers"][0]["kind"] == "embedding"
    x = rng.integers(0, VOCABULARY, shape).astype(float) if numbers else rng.standard_normal(shape)
    if numbers or len(shape) == 3:
        x[0, 1:] = x[1, 0] = x[2] = 0.0
    return x


def assert_close(ours, theirs, what):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    # Beside values and slopes near 1, less is the rounding of a gradient that is zero.
    scale = max(np.abs(theirs).max(initial=0.0), 1e-3)
    assert np.abs(ours - theirs).max(initial=0.0) / scale <= 1e-9, what


@random_cases
@given(graphs())
def test_a_random_graph_has_pytorchs_outputs_and_gradients(spec):
    seen.update(layer["kind"] for layer in spec["layers"])
    assert_parity(spec, training=False)
    if any(layer["kind"] == "batch_norm" for layer in spec["layers"]):
        assert_parity(spec, training=True)


def assert_parity(spec, *, training):
    net = Network(spec, seed=2, dtype="float64")
    rng = np.random.default_rng(3)
    x = draw_inputs(spec, rng)
    theirs, inputs = TorchNetwork(net, training), torch.tensor(x, requires_grad=True)
    their_y = named(theirs.run(inputs), list(net.output_shapes))
    tape = net.tape(training=training)
    tape.begin(0)
    y, backward = net.forward(x, tape, inputs=True)
    y = named(y, list(net.output_shapes))
    dy = {name: rng.standard_normal(value.shape) for name, value in y.items()}
    for name, value in y.items():
        assert_close(value, their_y[name], f"output {name}")
    sum((their_y[name] * torch.tensor(dy[name])).sum() for name in dy).backward()
    dx = backward(dy if len(dy) > 1 else next(iter(dy.values())))
    if inputs.grad is not None and spec["layers"][0]["kind"] != "embedding":
        assert_close(dx, inputs.grad, "inputs")
    for name, tensor in theirs.parameters.items():
        wanted = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        assert_close(tape.gradient(net.parameters[name]).view, wanted, name)


def test_the_random_graphs_were_of_all_kinds():
    if not seen:
        pytest.skip("the random graphs did not run")
    assert set(KINDS) - set(seen) == set()


@random_cases
@given(broken_graphs())
def test_a_broken_graph_is_refused_at_its_place(document):
    with pytest.raises(SpecError) as caught:
        nodes(parse(ArchitectureSpec, document))
    assert caught.value.problems
    for problem in caught.value.problems:
        assert problem.path.startswith(("layers[", "outputs[", "input"))
        assert problem.detail
