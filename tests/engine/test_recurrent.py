"""Recurrent layers beside PyTorch's own, in windows, under masks, and refused."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.errors import ShapeError, SpecError
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, nodes, parse
from tests.engine.engine_cases import both_ways, case, dense, layer, rnn

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")

from tests.engine.torch_engine import ACTIVATIONS, TorchNetwork  # noqa: E402

ELEMENTWISE = sorted(set(ACTIVATIONS) - {"softmax"})
KINDS = ["simple_rnn", "lstm", "gru"]


def network(shape, *layers, dtype="float64", seed=1):
    """Return a network whose biases are not zero."""
    net = Network(case(shape, *layers)[0], seed=seed, dtype=dtype)
    net.flat += 0.1 * np.random.default_rng(seed).standard_normal(net.flat.size)
    return net


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def masked(rows, steps, features, value=0.0, seed=0):
    """Return sequences that end early, one of which has a gap, and one of which is empty."""
    x = draw(rows, steps, features, seed=seed)
    for row in range(rows):
        x[row, steps - row % steps :] = value
    x[0, 1] = value
    x[-1] = value
    return x


def run(net, x, dy=None, carried=None, training=False):
    """Return a batch's output, and if dy is given the gradients, that of x under ``inputs``."""
    tape = net.tape(training=training)
    tape.carried = carried
    tape.begin(1)
    y, backward = net.forward(x, tape, inputs=True)
    y = y.copy()
    if dy is None:
        return y
    dx = backward(dy)
    found = {name: tape.gradient(view).view for name, view in net.parameters.items()}
    return y, {**found, "inputs": dx}


def close(a, b, tolerance=1e-9):
    b = b.detach().numpy() if isinstance(b, torch.Tensor) else b
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def reordered(weight, order, units):
    """Turn a matrix of blocks of rows, as PyTorch has them, into one of columns in our order."""
    return torch.cat([weight[n * units : (n + 1) * units] for n in order]).T.detach().numpy()


@pytest.mark.parametrize(
    ("kind", "module", "order"),
    [
        ("simple_rnn", torch.nn.RNN, [0]),
        ("lstm", torch.nn.LSTM, [0, 1, 2, 3]),  # i f g o, our i f c o
        ("gru", torch.nn.GRU, [1, 0, 2]),  # r z n, our z r h
    ],
)
def test_a_layer_is_pytorchs_with_its_blocks_in_our_order(kind, module, order):
    units = 4
    theirs = module(3, units, batch_first=True, dtype=torch.float64)
    net = Network(case((6, 3), rnn(kind, units, return_sequences=True))[0], dtype="float64")
    tensors = {name.partition(".")[2]: view for name, view in net.parameters.items()}
    tensors["kernel"][:] = reordered(theirs.weight_ih_l0, order, units)
    tensors["recurrent_kernel"][:] = reordered(theirs.weight_hh_l0, order, units)
    biases = [
        reordered(b[:, None], order, units)[0] for b in (theirs.bias_ih_l0, theirs.bias_hh_l0)
    ]
    tensors["bias"][:] = biases if kind == "gru" else sum(biases)
    x, dy = draw(5, 6, 3), draw(5, 6, units, seed=1)
    inputs = torch.tensor(x, requires_grad=True)
    their_y, _ = theirs(inputs)
    their_y.backward(torch.tensor(dy))
    y, gradients = run(net, x, dy)
    close(y, their_y)
    close(gradients["inputs"], inputs.grad)
    close(gradients[f"{kind}_1.kernel"], reordered(theirs.weight_ih_l0.grad, order, units))
    recurrent = reordered(theirs.weight_hh_l0.grad, order, units)
    close(gradients[f"{kind}_1.recurrent_kernel"], recurrent)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation_is_pytorchs_and_its_slopes_too(name, dtype):
    net = network(
        (4, 2),
        rnn("simple_rnn", 3, activation=name, return_sequences=True),
        rnn("lstm", 1, activation=name, return_sequences=True),
        rnn("lstm", 3, recurrent_activation=name, return_sequences=True),
        rnn("gru", 1, activation=name, return_sequences=True, reset_after=False),
        rnn("gru", 3, recurrent_activation=name, return_sequences=True),
        dtype=dtype,
    )
    x, dy = draw(5, 4, 2).astype(dtype), draw(5, 4, 3, seed=1).astype(dtype)
    theirs, inputs = TorchNetwork(net), torch.tensor(x, requires_grad=True)
    their_y = theirs.run(inputs)
    their_y.backward(torch.tensor(dy))
    y, gradients = run(net, x, dy)
    tolerance = {"float32": 1e-4, "float64": 1e-9}[dtype]
    close(y, their_y, tolerance)
    close(gradients["inputs"], inputs.grad, tolerance)
    for parameter, tensor in theirs.parameters.items():
        close(gradients[parameter], tensor.grad, tolerance)


STACKS = [
    [rnn("simple_rnn", return_sequences=True), rnn("gru")],
    [rnn("lstm", return_sequences=True, go_backwards=True), rnn("lstm", return_sequences=True)],
    [rnn("gru", reset_after=False, return_sequences=True), rnn("lstm", activation="gelu")],
    [both_ways(rnn("gru", return_sequences=True)), rnn("simple_rnn")],
    [both_ways(rnn("lstm", return_sequences=True), merge_mode="mul"), both_ways(rnn("gru"))],
    [both_ways(rnn("lstm", go_backwards=True, return_sequences=True)), dense(2, "tanh")],
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_masked_steps_are_pytorchs_loop(stack, value):
    net = network((5, 2), layer("masking", mask_value=value), *stack)
    x = masked(6, 5, 2, value)
    theirs, inputs = TorchNetwork(net), torch.tensor(x, requires_grad=True)
    their_y = theirs.run(inputs)
    dy = draw(*their_y.shape, seed=2)
    their_y.backward(torch.tensor(dy))
    y, gradients = run(net, x, dy)
    close(y, their_y)
    close(gradients["inputs"], inputs.grad)
    for parameter, tensor in theirs.parameters.items():
        close(gradients[parameter], tensor.grad)


@pytest.mark.parametrize("stack", STACKS)
def test_gradients_under_a_mask_agree_with_central_differences(stack):
    net = network((5, 2), layer("masking"), *stack)
    x, epsilon = masked(4, 5, 2), 1e-5
    dy = draw(*run(net, x).shape, seed=2)
    _, gradients = run(net, x, dy)
    for name, tensor in {**net.parameters, "inputs": x}.items():
        analytic, numeric = gradients[name].reshape(-1), np.zeros(tensor.size)
        flat = tensor.reshape(-1)
        for entry in range(tensor.size):
            kept = flat[entry]
            if name == "inputs" and kept == 0.0:
                continue  # a step that becomes one that counts is a jump
            sides = []
            for moved in (kept + epsilon, kept - epsilon):
                flat[entry] = moved
                sides.append(float((run(net, x) * dy).sum()))
            flat[entry] = kept
            numeric[entry] = (sides[0] - sides[1]) / (2 * epsilon)
        assert np.abs(analytic - numeric).max() < 1e-6 * max(np.abs(numeric).max(), 1e-8), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_padded_sequence_ends_as_the_shorter_one(kind, backwards):
    of = rnn(kind, 4, go_backwards=backwards)
    short, long = network((3, 2), of), network((6, 2), layer("masking"), of)
    x = np.zeros((5, 6, 2))
    x[:, :3] = draw(5, 3, 2)
    close(run(long, x), run(short, x[:, :3]), 1e-12)


def test_a_padded_step_repeats_the_output_before_and_is_zero_at_first():
    net = network((4, 2), layer("masking"), rnn("lstm", 3, return_sequences=True))
    x = draw(1, 4, 2)
    x[0, 0] = x[0, 2] = 0.0
    y = run(net, x)
    assert not y[0, 0].any()
    assert y[0, 1].any()
    assert y[0, 2].tolist() == y[0, 1].tolist()


def test_both_ways_a_padded_step_is_zero():
    for mode in ("concat", "sum", "mul", "ave"):
        of = both_ways(rnn("gru", 3, return_sequences=True), merge_mode=mode)
        x = draw(2, 4, 2)
        x[:, 3] = x[0, 1] = 0.0
        y = run(network((4, 2), layer("masking"), of), x)
        assert y.any(-1).tolist() == [[True, False, True, False], [True, True, True, False]]


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("rows", [3, 5])
def test_windows_with_carried_states_are_the_whole_sequence(reset_after, rows):
    net = network(
        (6, 2),
        rnn("lstm", return_sequences=True),
        rnn("gru", 4, reset_after=reset_after, return_sequences=True),
        rnn("simple_rnn", return_sequences=True),
    )
    x, carried, parts = draw(rows, 6, 2), {}, []
    for window in (x[:, :2], x[:, 2:5], x[:, 5:]):
        tape = net.tape()
        tape.carried, tape.window = carried, window.shape[1]
        tape.begin(0)
        parts.append(net.forward(window, tape)[0].copy())
        assert {n: state.shape for n, state in carried.items()} == {
            0: (rows, 6),
            1: (rows, 4),
            2: (rows, 3),
        }
    close(np.concatenate(parts, axis=1), run(net, x), 1e-12)


def test_a_smaller_batch_goes_on_from_the_first_rows_and_a_larger_from_zero_beyond():
    net = network((3, 2), rnn("lstm", 2))
    x = draw(4, 3, 2)
    twice = network((6, 2), rnn("lstm", 2))
    twice.flat[:] = net.flat
    carried: dict = {}
    run(net, x, carried=carried)
    before = {number: state.copy() for number, state in carried.items()}
    fewer = run(net, x[:2], carried=dict(before))
    close(fewer, run(twice, np.concatenate([x, x], axis=1))[:2], 1e-12)
    more = run(net, draw(5, 3, 2, seed=7), carried=dict(before))
    close(more[4:], run(net, draw(5, 3, 2, seed=7))[4:], 1e-12)


def test_the_gradient_of_a_window_stops_at_its_start():
    net = network((3, 2), rnn("gru", 3))
    x, dy, state = draw(4, 3, 2), draw(4, 3, seed=1), draw(4, 3, seed=2)
    y, gradients = run(net, x, dy, carried={0: state.copy()})
    kernel, epsilon = net.parameters["gru_1.recurrent_kernel"], 1e-5
    kept, sides = kernel[0, 0], []
    for moved in (kept + epsilon, kept - epsilon):
        kernel[0, 0] = moved
        sides.append((run(net, x, carried={0: state.copy()}) * dy).sum())
    kernel[0, 0] = kept
    numeric = (sides[0] - sides[1]) / (2 * epsilon)
    assert gradients["gru_1.recurrent_kernel"][0, 0] == pytest.approx(numeric, rel=1e-7)
    assert np.abs(y - run(net, x)).max() > 1e-3  # the state did count


def test_a_carried_state_passes_padded_steps_that_put_out_zeros():
    net = network((4, 2), layer("masking"), rnn("simple_rnn", 3, return_sequences=True))
    short = network((2, 2), rnn("simple_rnn", 3, return_sequences=True))
    short.flat[:] = net.flat
    x, state = draw(3, 4, 2), draw(3, 3, seed=2)
    x[:, :2] = 0.0
    y = run(net, x, carried={1: state.copy()})
    assert not y[:, :2].any()
    close(y[:, 2:], run(short, x[:, 2:], carried={0: state.copy()}), 1e-12)
    last = network((4, 2), layer("masking"), rnn("simple_rnn", 3))
    carried = {1: state.copy()}
    assert not run(last, np.zeros((3, 4, 2)), carried=carried).any()
    assert carried[1].tolist() == state.tolist()


def test_layers_that_run_against_the_sequence_carry_nothing():
    net = network(
        (3, 2), rnn("lstm", go_backwards=True, return_sequences=True), both_ways(rnn("gru"))
    )
    carried: dict = {}
    run(net, draw(2, 3, 2), carried=carried)
    assert carried == {}
    walked = nodes(net.spec)
    assert [node.spec.any_length for node in walked] == [False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_one_draw_for_a_whole_sequence(kind):
    net = network((50, 8), rnn(kind, 4, dropout=0.5))
    x, dy = draw(3, 50, 8), draw(3, 4, seed=1)
    dropped = run(net, x, dy, training=True)[1]["inputs"] == 0.0
    per_sequence = dropped.all(axis=1)
    assert (dropped == per_sequence[:, None]).all()
    assert 4 <= per_sequence.sum() <= 20
    close(run(net, x), TorchNetwork(net).run(torch.tensor(x)))  # none in prediction


@pytest.mark.parametrize("of", [rnn("gru", 16), rnn("gru", 16, reset_after=False)])
def test_recurrent_dropout_leaves_the_state_itself_alone(of):
    """With the update gate shut the state stays what it is, whatever the kernel is shown."""
    net = network((2, 3), {**of, "recurrent_dropout": 0.5, "bias_initializer": "zeros"})
    name = of["kind"] + "_1."
    net.parameters[f"{name}kernel"][:, :16] = 0.0
    net.parameters[f"{name}recurrent_kernel"][:] = 0.0
    net.parameters[f"{name}bias"][..., :16] = 50.0
    state = draw(4, 16)
    y = run(net, draw(4, 2, 3), carried={0: state.copy()}, training=True)
    close(y, state, 1e-12)


def test_the_two_ways_draw_their_own_dropout():
    net = network((3, 64), both_ways(rnn("simple_rnn", 2, dropout=0.5)))
    left = np.array([[1.0, 1.0, 0.0, 0.0]] * 2)
    dropped = [
        run(net, draw(2, 3, 64), dy, training=True)[1]["inputs"] == 0 for dy in (left, 1 - left)
    ]
    assert (dropped[0] != dropped[1]).any()


def test_the_forget_gate_starts_open_and_nothing_else_moves():
    spec = case((4, 3), rnn("lstm", 2, return_sequences=True), rnn("gru", 2), dense(2))[0]
    plain = {
        **spec,
        "layers": [{**spec["layers"][0], "unit_forget_bias": False}, *spec["layers"][1:]],
    }
    with_it, without = Network(spec, seed=5), Network(plain, seed=5)
    assert with_it.parameters["lstm_1.bias"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert not without.parameters["lstm_1.bias"].any()
    for name, view in with_it.parameters.items():
        if name != "lstm_1.bias":
            assert view.tobytes() == without.parameters[name].tobytes()
    assert with_it.parameters["gru_1.bias"].shape == (2, 6)
    recurrent = with_it.parameters["lstm_1.recurrent_kernel"].astype(float)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(2), atol=1e-6)


def test_names_and_layouts_are_keras():
    net = Network(case((4, 3), both_ways(rnn("lstm", 2)))[0])
    assert {name: view.shape for name, view in net.parameters.items()} == {
        "bidirectional_1.forward.kernel": (3, 8),
        "bidirectional_1.forward.recurrent_kernel": (2, 8),
        "bidirectional_1.forward.bias": (8,),
        "bidirectional_1.backward.kernel": (3, 8),
        "bidirectional_1.backward.recurrent_kernel": (2, 8),
        "bidirectional_1.backward.bias": (8,),
    }
    same = net.parameters
    assert (same["bidirectional_1.forward.kernel"] != same["bidirectional_1.backward.kernel"]).any()
    before = Network(case((4, 3), rnn("gru", 2, reset_after=False))[0])
    assert before.parameters["gru_1.bias"].shape == (6,)


@pytest.mark.parametrize(
    ("shape", "one", "place", "words"),
    [
        ((64,), rnn("lstm", 2), "layers[0]", "wants inputs of shape (steps, features), got (64,)"),
        ((3, 4, 5), layer("masking"), "layers[0]", "wants inputs of shape (steps, features)"),
        ((3, 4), layer("repeat_vector", n=2), "layers[0]", "put a flatten before it"),
        ((3, 4), both_ways(rnn("gru", 0)), "layers[0].layer.units", "must be >= 1, got 0"),
        ((3, 4), both_ways(dense(2)), "layers[0].layer.kind", "must be one of"),
        ((3, 4), both_ways(rnn("gru", inputs=["input"])), "layers[0].layer", "inputs is not for"),
        ((3, 4), both_ways(rnn("gru", stateful=True)), "layers[0].layer", "stateful is not for"),
        ((3, 4), rnn("gru", activation="softmax"), "layers[0].activation", "got 'softmax'"),
        ((3, 4), rnn("gru", dropout=1.0), "layers[0].dropout", "must be < 1"),
        ((3, 4), rnn("gru", stateful=True, go_backwards=True), "layers[0]", "exclude each other"),
        ((4,), layer("repeat_vector", n=0), "layers[0].n", "must be >= 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(shape, one, place, words):
    with pytest.raises(SpecError) as caught:
        nodes(parse(ArchitectureSpec, case(shape, one)[0]))
    (problem,) = caught.value.problems
    assert problem.path == place
    assert words in problem.detail


def test_a_layer_names_itself_when_the_shape_is_wrong():
    for one, name in ((rnn("lstm"), "LSTM"), (rnn("gru"), "GRU"), (layer("masking"), "Masking")):
        net = Network(case((3, 2), one)[0])
        with pytest.raises(ShapeError, match=name):
            net.layers[0].forward(np.zeros((4, 2), np.float32), net.tape())


@pytest.mark.parametrize("kind", KINDS)
def test_long_sequences_pass_the_gradient_check(kind):
    spec = case((25, 2), rnn(kind, 4))[0]
    assert max(chainrule.check_gradients(spec, rows=2, probes=24).values()) < 1e-6
