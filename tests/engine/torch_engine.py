"""The architecture language once more, in PyTorch: the other side of every comparison of a kind."""

from __future__ import annotations

import torch

F = torch.nn.functional

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
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


def add(net, node, *xs):
    return sum(xs[1:], xs[0])


def multiply(net, node, *xs):
    y = xs[0]
    for x in xs[1:]:
        y = y * x
    return y


# A kind to what it does: (TorchNetwork, node, *inputs) -> output.
KINDS = {
    "dense": dense,
    "activation": activation,
    "dropout": dropout,
    "flatten": lambda net, node, x: x.reshape(len(x), -1),
    "reshape": lambda net, node, x: x.reshape(len(x), *node.spec.target_shape),
    "add": add,
    "multiply": multiply,
    "concat": lambda net, node, *xs: torch.cat(xs, dim=node.spec.axis),
}
