"""Attention beside PyTorch's own, with padding, causal order, dropout, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import SpecError
from chainrule.network import Network
from tests.engine.engine_cases import attention, dense, embedding, layer

NAME = "multi_head_attention_1"


def network(shape, *layers):
    return Network({"input": {"shape": list(shape)}, "layers": list(layers)}, 3, "float64")


def test_self_attention_is_that_of_pytorchs_layer():
    torch = pytest.importorskip("torch", reason="PyTorch is the other side")
    features, heads = 6, 3
    net = network((5, features), attention(heads, features // heads))
    theirs = torch.nn.MultiheadAttention(features, heads, batch_first=True, dtype=torch.float64)
    own = {name.removeprefix(f"{NAME}."): torch.tensor(v) for name, v in net.parameters.items()}
    with torch.no_grad():
        into = [own[f"{part}.kernel"].reshape(features, -1).T for part in ("query", "key", "value")]
        theirs.in_proj_weight.copy_(torch.cat(into))
        biases = [own[f"{part}.bias"].reshape(-1) for part in ("query", "key", "value")]
        theirs.in_proj_bias.copy_(torch.cat(biases))
        theirs.out_proj.weight.copy_(own["attention_output.kernel"].reshape(-1, features).T)
        theirs.out_proj.bias.copy_(own["attention_output.bias"])
    x = np.random.default_rng(0).standard_normal((4, 5, features))
    inputs = torch.tensor(x, requires_grad=True)
    y, _ = theirs(inputs, inputs, inputs, need_weights=False)
    np.testing.assert_allclose(net.predict(x), y.detach().numpy(), rtol=1e-10, atol=1e-12)
    target = np.ones_like(x)
    torch.nn.functional.mse_loss(y, torch.tensor(target)).backward()
    _, gradients = net.gradients(x, target, loss="mean_squared_error")
    np.testing.assert_allclose(gradients["inputs"], inputs.grad.numpy(), rtol=1e-9, atol=1e-12)
    found = gradients[f"{NAME}.value.kernel"].reshape(features, -1)
    wanted = theirs.in_proj_weight.grad.numpy()[2 * features :].T
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_weights_have_the_names_and_layouts_of_keras():
    net = network((5, 6), attention(3, 4, value_dim=2))
    shapes = {name.removeprefix(f"{NAME}."): view.shape for name, view in net.parameters.items()}
    assert shapes == {
        "query.kernel": (6, 3, 4),
        "query.bias": (3, 4),
        "key.kernel": (6, 3, 4),
        "key.bias": (3, 4),
        "value.kernel": (6, 3, 2),
        "value.bias": (3, 2),
        "attention_output.kernel": (3, 2, 6),
        "attention_output.bias": (6,),
    }


def test_a_step_sees_nothing_of_later_ones_under_a_causal_mask():
    net = network((5, 3), attention(2, 4, use_causal_mask=True))
    x = np.random.default_rng(1).standard_normal((2, 5, 3))
    changed = x.copy()
    changed[:, 3:] += 100.0
    before, after = net.predict(x), net.predict(changed)
    np.testing.assert_allclose(before[:, :3], after[:, :3], rtol=1e-12)
    assert not np.allclose(before[:, 3:], after[:, 3:])


def test_padding_makes_no_difference_to_the_steps_before_it():
    layers = [embedding(9, 4, mask_zero=True), attention(2, 3), dense(2)]
    long, short = network((6,), *layers), network((3,), *layers)
    short.flat[:] = long.flat
    x = np.array([[3, 5, 2, 0, 0, 0], [1, 1, 8, 0, 0, 0]])
    np.testing.assert_allclose(long.predict(x)[:, :3], short.predict(x[:, :3]), rtol=1e-12)


def test_a_row_of_nothing_but_padding_gives_the_last_bias_and_no_gradient():
    net = network((4,), embedding(9, 4, mask_zero=True), attention(2, 3))
    x, target = np.zeros((2, 4)), np.ones((2, 4, 4))
    wanted = np.broadcast_to(net.parameters[f"{NAME}.attention_output.bias"], (2, 4, 4))
    np.testing.assert_array_equal(net.predict(x), wanted)
    _, gradients = net.gradients(x, target, loss="mean_squared_error")
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    assert not gradients["embedding_1.embeddings"].any()


def test_each_of_two_sequences_keeps_its_own_padding():
    document = {
        "inputs": {"answer": {"shape": [3]}, "question": {"shape": [5]}},
        "layers": [
            embedding(9, 4, mask_zero=True, inputs=["answer"], name="asks"),
            embedding(9, 4, mask_zero=True, inputs=["question"], name="told"),
            attention(2, 3, inputs=["asks", "told"]),
        ],
    }
    net = Network(document, 3, "float64")
    tape = net.tape()
    tape.begin(0)
    answer, question = np.array([[3.0, 0.0, 0.0]]), np.array([[1.0, 2.0, 0.0, 0.0, 0.0]])
    whole = net.forward({"answer": answer, "question": question}, tape)[0].copy()
    assert tape.masks[0].tolist() == (answer != 0).tolist()
    net.parameters["told.embeddings"][0] = 77.0  # padding: nobody looks at it
    tape.begin(1)
    again, _ = net.forward({"answer": answer, "question": question}, tape)
    np.testing.assert_array_equal(again, whole)


def test_scores_beyond_the_range_of_exp_stay_finite():
    net = network((4, 3), attention(2, 3))
    net.flat *= 100.0
    x = np.random.default_rng(2).standard_normal((2, 4, 3)) * 100.0
    _, gradients = net.gradients(x, np.ones((2, 4, 3)), loss="mean_squared_error")
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_dropout_of_attention_acts_in_training_only():
    plain, dropped = network((4, 3), attention(2, 3)), network((4, 3), attention(2, 3, dropout=0.5))
    x, target = np.ones((2, 4, 3)), np.zeros((2, 4, 3))
    assert plain.predict(x).tobytes() == dropped.predict(x).tobytes()
    losses = [
        net.gradients(x, target, loss="mean_squared_error", training=True)[0]
        for net in (plain, dropped, dropped)
    ]
    assert losses[0] != losses[1] == losses[2]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SpecError, match=r"wants inputs of shape \(steps, features\), got \(4,\)"):
        network((4,), attention(2, 3))
    layers = [
        layer("reshape", target_shape=[4, 3], name="query"),
        layer("reshape", target_shape=[6, 2], inputs=["input"], name="key"),
        attention(2, 3, inputs=["query", "query", "key"]),
    ]
    with pytest.raises(SpecError, match=r"as many steps of values as of keys, got \(4, 3\) and"):
        network((12,), *layers)
    with pytest.raises(SpecError, match=r"layers\[0\]\.num_heads: must be >= 1, got 0"):
        network((4, 3), attention(0, 3))
