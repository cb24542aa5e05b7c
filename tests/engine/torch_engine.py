"""The architecture language once more, in PyTorch: the other side of every comparison of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
from tests.engine import torch_convolution

F = torch.nn.functional

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda x: F.softplus(x, threshold=40.0),  # from 20 on it is cut to the identity
    "swish": F.silu,
    "softmax": lambda x: torch.softmax(x, -1),
}


class TorchNetwork:
    """A copy of one of our networks: same architecture, same numbers, PyTorch's operations.

    ``parameters`` and ``states`` are named as ours. ``training`` as PyTorch's ``train()``. After a
    run ``masks`` holds the mask of each layer's output, by name, None where there is none.
    """

    def __init__(self, net, training=False):
        self.nodes = net.nodes
        self.inputs, self.outputs = list(net.input_shapes), list(net.output_shapes)
        self.parameters = {
            name: torch.tensor(view.copy(), requires_grad=True)
            for name, view in net.parameters.items()
        }
        self.states = {name: torch.tensor(view.copy()) for name, view in net.states.items()}
        self.training = training
        self.masks = {}

    def own(self, node):
        """Return a layer's tensors by their names within it."""
        prefix = f"{node.shares or node.name}."
        both = {**self.parameters, **self.states}
        return {n.removeprefix(prefix): t for n, t in both.items() if n.startswith(prefix)}

    def run(self, x):
        """Return the output of a batch; several inputs or outputs are {name: tensor}."""
        values = dict(x) if isinstance(x, dict) else {self.inputs[0]: x}
        self.masks = dict.fromkeys(self.inputs)
        for node in self.nodes:
            self.masks[node.name] = None  # a kind that makes or keeps a mask sets it
            given = [values[name] for name in node.inputs]
            values[node.name] = KINDS[node.spec.kind](self, node, *given)
        found = {name: values[name] for name in self.outputs}
        return found if len(found) > 1 else found[self.outputs[0]]

    def squared_error(self, y, target):
        """Return the mean squared error, of the steps that the output's mask leaves in."""
        mask = self.masks[self.outputs[0]]
        if mask is None or y.ndim < 3:
            return torch.nn.functional.mse_loss(y, target)
        return ((y - target) ** 2).mean(-1)[mask].mean()

    def mask_of(self, node):
        """Return the mask of a layer's input."""
        return self.masks[node.inputs[0]]


def dense(net, node, x):
    own = net.own(node)
    y = x @ own["kernel"]
    y = y + own["bias"] if "bias" in own else y
    net.masks[node.name] = net.mask_of(node)
    return ACTIVATIONS[node.spec.activation](y)


def activation(net, node, x):
    net.masks[node.name] = net.mask_of(node)
    return ACTIVATIONS[node.spec.activation](x)


def dropout(net, node, x):
    assert not net.training or node.spec.rate == 0.0, "no two libraries draw alike"
    net.masks[node.name] = net.mask_of(node)
    return x


def join_masks(net, node):
    """A step counts in a join where it counts in each input that has a mask."""
    known = [net.masks[name] for name in node.inputs if net.masks[name] is not None]
    net.masks[node.name] = torch.stack(known).all(0) if known else None


def concat(net, node, *xs):
    if node.spec.keeps_mask:
        join_masks(net, node)
    return torch.cat(xs, dim=node.spec.axis)


def add(net, node, *xs):
    join_masks(net, node)
    return sum(xs[1:], xs[0])


def multiply(net, node, *xs):
    join_masks(net, node)
    y = xs[0]
    for x in xs[1:]:
        y = y * x
    return y


def masking(net, node, x):
    mask = (x != node.spec.mask_value).any(-1)
    net.masks[node.name] = mask
    return x * mask[..., None]


def simple_rnn_cell(spec, own, z, h):
    return (ACTIVATIONS[spec.activation](z + h @ own["recurrent_kernel"]),)


def lstm_cell(spec, own, z, h, c):
    f, g = ACTIVATIONS[spec.recurrent_activation], ACTIVATIONS[spec.activation]
    i, forget, new, o = (z + h @ own["recurrent_kernel"]).chunk(4, -1)
    c = f(forget) * c + f(i) * g(new)
    return f(o) * g(c), c


def gru_cell(spec, own, z, h):
    f, g = ACTIVATIONS[spec.recurrent_activation], ACTIVATIONS[spec.activation]
    of_z, of_r, of_h = own["recurrent_kernel"].chunk(3, -1)
    in_z, in_r, in_h = z.chunk(3, -1)
    if spec.reset_after:
        b_z, b_r, b_h = own["bias"][1].chunk(3) if "bias" in own else (0, 0, 0)
        update, reset = f(in_z + h @ of_z + b_z), f(in_r + h @ of_r + b_r)
        new = g(in_h + reset * (h @ of_h + b_h))
    else:
        update, reset = f(in_z + h @ of_z), f(in_r + h @ of_r)
        new = g(in_h + (reset * h) @ of_h)
    return (update * h + (1 - update) * new,)


CELLS: dict[str, Callable] = {"simple_rnn": simple_rnn_cell, "lstm": lstm_cell, "gru": gru_cell}


def walk(spec, own, x, mask, zeros=False):
    """Return the outputs of all steps, in the order in which they run, and the last one.

    A padded step leaves the states alone, and puts out what the step before did, or zeros.
    """
    bias = own.get("bias", torch.zeros((), dtype=x.dtype))
    z = x @ own["kernel"] + (bias[0] if bias.ndim == 2 else bias)
    states = [x.new_zeros(len(x), spec.units) for _ in range(spec.states)]
    last, outputs = states[0], []
    steps = range(x.shape[1])
    for t in reversed(steps) if spec.go_backwards else steps:
        new = CELLS[spec.kind](spec, own, z[:, t], *states)
        valid = torch.ones(len(x), 1, dtype=torch.bool) if mask is None else mask[:, t, None]
        states = [torch.where(valid, a, b) for a, b in zip(new, states, strict=True)]
        last = torch.where(valid, new[0], torch.zeros_like(last) if zeros else last)
        outputs.append(last)
    return torch.stack(outputs, 1), last


def draws(layer):
    return layer.dropout > 0.0 or layer.recurrent_dropout > 0.0


def recurrent(net, node, x):
    spec, mask = node.spec, net.mask_of(node)
    assert not (net.training and draws(spec)), "no two libraries draw alike"
    every, last = walk(spec, net.own(node), x, mask)
    if not spec.return_sequences:
        return last
    if mask is not None:
        net.masks[node.name] = mask.flip(1) if spec.go_backwards else mask
    return every


def bidirectional(net, node, x):
    spec, mask, own, outputs = node.spec, net.mask_of(node), net.own(node), []
    assert not (net.training and draws(spec.layer)), "no two libraries draw alike"
    for way, layer in (("forward.", spec.layer), ("backward.", spec.backward_layer)):
        tensors = {n.removeprefix(way): t for n, t in own.items() if n.startswith(way)}
        every, last = walk(layer, tensors, x, mask, zeros=layer.return_sequences)
        every = every.flip(1) if way == "backward." else every
        outputs.append(every if layer.return_sequences else last)
    if mask is not None and spec.layer.return_sequences:
        net.masks[node.name] = mask.flip(1) if spec.layer.go_backwards else mask
    merges: dict[str, Callable] = {
        "concat": lambda a, b: torch.cat((a, b), -1),
        "sum": torch.add,
        "mul": torch.mul,
        "ave": lambda a, b: (a + b) / 2,
    }
    return merges[spec.merge_mode](*outputs)


def batch_norm(net, node, x):
    own, spec = net.own(node), node.spec
    mask = net.masks[node.name] = net.mask_of(node)
    axes = tuple(range(x.ndim - 1))
    if net.training:
        weight = torch.ones(x.shape[:2] if mask is not None else x.shape[:1], dtype=x.dtype)
        weight = weight * (1.0 if mask is None else mask.to(x.dtype))
        weight = weight.reshape(*weight.shape, *(1,) * (x.ndim - weight.ndim)).expand(x.shape)
        count = weight.sum(axes).clamp(min=1.0)
        mean = (weight * x).sum(axes) / count
        variance = (weight * (x - mean) ** 2).sum(axes) / count
        for average, value in (("moving_mean", mean), ("moving_variance", variance)):
            own[average].mul_(spec.momentum).add_((1.0 - spec.momentum) * value.detach())
    else:
        mean, variance = own["moving_mean"], own["moving_variance"]
    y = (x - mean) / torch.sqrt(variance + spec.epsilon)
    return y * own.get("gamma", 1.0) + own.get("beta", 0.0)


def layer_norm(net, node, x):
    own, spec = net.own(node), node.spec
    net.masks[node.name] = net.mask_of(node)
    shape = x.shape[-1:] if isinstance(spec.axis, int) else x.shape[-len(spec.axis) :]
    return F.layer_norm(x, shape, own.get("gamma"), own.get("beta"), spec.epsilon)


def embedding(net, node, x):
    rows = x.detach().long()
    if node.spec.mask_zero:
        net.masks[node.name] = rows != 0
    return F.embedding(rows, net.own(node)["embeddings"])


def positional_embedding(net, node, x):
    net.masks[node.name] = net.mask_of(node)
    return x + net.own(node)["position_embeddings"][: x.shape[1]]


def multi_head_attention(net, node, *xs):
    own, spec = net.own(node), node.spec
    assert not net.training or spec.dropout == 0.0, "no two libraries draw alike"
    query, value, key = (xs[0], xs[min(1, len(xs) - 1)], xs[min(2, len(xs) - 1)])
    net.masks[node.name] = net.mask_of(node)

    def project(name, x):
        y = torch.einsum("btf,fhd->bhtd", x, own[f"{name}.kernel"])
        bias = own.get(f"{name}.bias")
        return y if bias is None else y + bias[None, :, None, :]

    q, k, v = project("query", query), project("key", key), project("value", value)
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) / spec.key_dim**0.5
    seen = torch.ones_like(scores, dtype=torch.bool)
    for name in node.inputs[1:] or node.inputs:
        if net.masks[name] is not None:
            seen = seen & net.masks[name][:, None, None, :]
    if spec.use_causal_mask:
        seen = seen & torch.ones_like(scores, dtype=torch.bool).tril()
    some = seen.any(dim=-1, keepdim=True)  # a query that sees no key mixes nothing
    weights = torch.softmax(scores.masked_fill(~(seen | ~some), -torch.inf), -1) * some
    y = torch.einsum("bhts,bhsd,hdf->btf", weights, v, own["attention_output.kernel"])
    return y + own.get("attention_output.bias", 0.0)


# A kind to what it does: (TorchNetwork, node, *inputs) -> output.
KINDS = {
    "dense": dense,
    "activation": activation,
    "dropout": dropout,
    "flatten": lambda net, node, x: x.reshape(len(x), -1),
    "reshape": lambda net, node, x: x.reshape(len(x), *node.spec.target_shape),
    "add": add,
    "multiply": multiply,
    "batch_norm": batch_norm,
    "embedding": embedding,
    "multi_head_attention": multi_head_attention,
    "positional_embedding": positional_embedding,
    "layer_norm": layer_norm,
    "concat": concat,
    "masking": masking,
    "simple_rnn": recurrent,
    "lstm": recurrent,
    "gru": recurrent,
    "bidirectional": bidirectional,
    "repeat_vector": lambda net, node, x: x[:, None].repeat(1, node.spec.n, 1),
    **torch_convolution.KINDS,
}
