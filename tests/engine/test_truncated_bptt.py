"""Truncated backpropagation through time: windows, carried states, and what cannot be cut."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.checkpoint import Checkpoint
from chainrule.errors import SpecError
from chainrule.fitting import StepReport, TrainingLoop
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, TrainingSpec, nodes, parse, windows
from tests.engine.engine_cases import dense, layer

torch = pytest.importorskip("torch", reason="PyTorch is the other side of these comparisons")

STEPS = 7


def network(*layers, steps=STEPS, dtype="float64"):
    return Network({"input": {"shape": [steps, 2]}, "layers": list(layers)}, seed=3, dtype=dtype)


def aligned(**more):
    return network(layer("lstm", units=4, return_sequences=True, **more), dense(1))


def rows_of(net, rows=8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, STEPS, 2))
    return x, rng.standard_normal((rows, *net.output_shape))


def train(net, data, **more):
    training = {"loss": "mean_squared_error", "optimizer": "sgd", "epochs": 2, "batch_size": 4}
    loop = TrainingLoop(net, data, {**training, **more})
    return loop, [r.loss for r in loop.run() if isinstance(r, StepReport)]


def torch_lstm(net):
    """Return PyTorch's LSTM and linear layer with our parameters; its gates go i f g o as ours."""
    own = net.parameters
    lstm = torch.nn.LSTM(2, 4, batch_first=True, dtype=torch.float64)
    linear = torch.nn.Linear(4, 1, dtype=torch.float64)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(torch.tensor(own["lstm_1.kernel"].T))
        lstm.weight_hh_l0.copy_(torch.tensor(own["lstm_1.recurrent_kernel"].T))
        lstm.bias_ih_l0.copy_(torch.tensor(own["lstm_1.bias"]))
        lstm.bias_hh_l0.zero_()
        linear.weight.copy_(torch.tensor(own["dense_1.kernel"].T))
        linear.bias.copy_(torch.tensor(own["dense_1.bias"]))
    lstm.bias_hh_l0.requires_grad_(False)
    return lstm, linear


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_windows_learn_as_pytorchs_detached_states_do(size):
    net = aligned()
    x, target = rows_of(net)
    lstm, linear = torch_lstm(net)
    parameters = [p for p in (*lstm.parameters(), *linear.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 0.01)
    theirs = []
    for _ in range(2):
        for first in (0, 4):
            state = None
            for start in range(0, STEPS, size):
                rows, window = slice(first, first + 4), slice(start, start + size)
                hidden, state = lstm(torch.tensor(x[rows, window]), state)
                state = tuple(part.detach() for part in state)
                loss = torch.nn.functional.mse_loss(
                    linear(hidden), torch.tensor(target[rows, window])
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                theirs.append(loss.item())
    loop, ours = train(net, (x, target), bptt_steps=size, shuffle=False)
    assert loop.steps == 2 * 2 * -(-STEPS // size)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    wanted = lstm.weight_hh_l0.detach().numpy().T
    np.testing.assert_allclose(net.parameters["lstm_1.recurrent_kernel"], wanted, rtol=1e-9)


def test_one_output_is_learnt_from_the_last_window():
    net = network(layer("lstm", units=4), dense(1))
    x, target = rows_of(net)
    lstm, linear = torch_lstm(net)
    with torch.no_grad():
        _, state = lstm(torch.tensor(x[:4, :6]))
    hidden, _ = lstm(torch.tensor(x[:4, 6:]), state)
    loss = torch.nn.functional.mse_loss(linear(hidden[:, -1]), torch.tensor(target[:4]))
    loss.backward()
    before = net.parameters["lstm_1.recurrent_kernel"].copy()
    loop, losses = train(net, (x[:4], target[:4]), bptt_steps=3, epochs=1)
    assert loop.steps == 1
    assert losses == [pytest.approx(loss.item(), rel=1e-12)]
    moved = before - 0.01 * lstm.weight_hh_l0.grad.numpy().T
    np.testing.assert_allclose(net.parameters["lstm_1.recurrent_kernel"], moved, rtol=1e-9)


@pytest.mark.parametrize("stateful", [False, True])
def test_a_decoder_begins_anew_whatever_the_windows_before(stateful):
    net = network(
        layer("lstm", units=3, name="encoder"),
        layer("repeat_vector", n=4),
        layer("gru", units=2, return_sequences=True, stateful=stateful),
    )
    x, target = rows_of(net)
    wanted = float(((net.predict(x) - target) ** 2).mean())
    still = {"kind": "sgd", "learning_rate": 1e-15}
    options = {"bptt_steps": 3, "epochs": 1, "batch_size": 8, "shuffle": False}
    _, losses = train(net, (x, target), optimizer=still, **options)
    assert losses == [pytest.approx(wanted, rel=1e-12)]


def test_whole_numbers_are_cut_only_by_what_embeds_them():
    layers = [
        layer("embedding", input_dim=5, output_dim=3, name="words"),
        layer("lstm", units=3, return_sequences=True, name="read"),
        layer("activation", activation="softmax", inputs=["input"], name="shares"),
    ]
    document = {"input": {"shape": [6]}, "layers": layers, "outputs": ["read", "shares"]}
    spec = parse(ArchitectureSpec, document)
    with pytest.raises(SpecError, match=r"'shares' \(activation\) needs the whole sequence"):
        windows(spec, nodes(spec), parse(TrainingSpec, {"bptt_steps": 2}))


def test_a_stateful_layer_goes_on_where_the_batch_before_ended():
    whole = aligned()
    x, target = rows_of(whole, rows=2)
    _, wanted = train(whole, (x, target), bptt_steps=3, batch_size=2, shuffle=False)
    # The same sequences, cut by hand in rows that follow each other: windows of 3, 3 and 1 steps
    # do not have one shape, so cut the first six steps only.
    cut = Network(
        {
            "input": {"shape": [3, 2]},
            "layers": [layer("lstm", units=4, return_sequences=True, stateful=True), dense(1)],
        },
        seed=3,
        dtype="float64",
    )
    rows = [np.concatenate([a[:, :3], a[:, 3:6]]) for a in (x, target)]
    _, found = train(cut, tuple(rows), batch_size=2, shuffle=False, epochs=1)
    np.testing.assert_allclose(found, wanted[:2], rtol=1e-12)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("stop", range(1, 12))
def test_a_run_taken_up_between_two_windows_ends_with_the_same_bits(stop, stateful):
    training = {"bptt_steps": 3, "shuffle": False, "optimizer": "adam"}
    data = rows_of(aligned())
    undisturbed, _ = train(aligned(stateful=stateful), data, **training)
    net = aligned(stateful=stateful)
    options = {"loss": "mean_squared_error", "epochs": 2, "batch_size": 4, **training}
    first = TrainingLoop(net, data, options)
    for _ in first.run():
        if first.step == stop:
            break
    saved = Checkpoint.from_bytes(first.checkpoint().to_bytes())
    resumed = TrainingLoop(aligned(stateful=stateful), data, options, checkpoint=saved)
    list(resumed.run())
    assert resumed.net.flat.tobytes() == undisturbed.net.flat.tobytes()
    assert resumed.checkpoint().to_bytes() == undisturbed.checkpoint().to_bytes()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([layer("lstm", units=2, go_backwards=True)], "'lstm_1' (lstm) needs the whole sequence"),
        (
            [layer("bidirectional", layer={"kind": "gru", "units": 2})],
            "'bidirectional_1' (bidirectional) needs the whole sequence",
        ),
        ([layer("flatten"), dense(1)], "'flatten_1' (flatten) needs the whole sequence"),
        (
            [layer("concat", axis=1, inputs=["input", "input"]), layer("lstm", units=2)],
            "'concat_1' (concat) needs the whole sequence",
        ),
        (
            [layer("concat", axis=-2, inputs=["input", "input"]), layer("lstm", units=2)],
            "'concat_1' (concat) needs the whole sequence",
        ),
        (
            [layer("masking"), layer("lstm", units=2), dense(1)],
            "wants an output for each step (return_sequences)",
        ),
    ],
)
def test_what_needs_the_whole_sequence_is_refused_by_name(layers, words):
    net = network(*layers)
    with pytest.raises(SpecError, match="bptt_steps") as caught:
        train(net, rows_of(net), bptt_steps=3)
    assert words in str(caught.value)


def test_a_network_without_sequences_cannot_be_cut():
    net = Network({"input": {"shape": [4]}, "layers": [dense(1)]})
    with pytest.raises(SpecError, match=r"bptt_steps: wants input sequences .* 'input' has \(4,\)"):
        train(net, (np.zeros((8, 4)), np.zeros((8, 1))), bptt_steps=2)


def test_a_stateful_layer_wants_the_rows_in_order():
    net = aligned(stateful=True)
    with pytest.raises(SpecError, match="shuffle: must be false: 'lstm_1' is stateful"):
        train(net, rows_of(net))
