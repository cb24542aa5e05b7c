"""Our architectures as PyTorch users write them: ``torch.nn`` modules, with our weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.network import Network
    from chainrule.spec.graph import Node

__all__ = ["build"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


class Last(nn.Module):
    """A recurrent module's output at the last step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Any) -> Any:
        """Return h of the last step."""
        return self.cell(x)[0][:, -1]


class SelfAttention(nn.Module):
    """A sequence that looks at itself."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Any) -> Any:
        """Return the mixtures."""
        return self.attention(x, x, x, need_weights=False)[0]


class Largest(nn.Module):
    """The largest number of each channel of a sequence."""

    def forward(self, x: Any) -> Any:
        """Return it."""
        return x.max(1).values


class Add(nn.Module):
    """The sum of the inputs."""

    def forward(self, first: Any, second: Any) -> Any:
        """Return it."""
        return first + second


class Wired(nn.Module):
    """A graph of modules, which a chain does not need."""

    def __init__(self, nodes: list[Node], parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._plan = [
            (node.name, node.inputs, part) for node, part in zip(nodes, parts, strict=True)
        ]

    def forward(self, x: Any) -> Any:
        """Return the last module's output."""
        values = {"input": x}
        y = x
        for name, inputs, part in self._plan:
            y = part(*(values[source] for source in inputs))
            values[name] = y
        return y


def build(net: Network) -> nn.Module:
    """Return the modules of a network, which start with its weights."""
    parts, image = [], None
    chain = True
    before = "input"
    for node in net.nodes:
        shape = node.input_shapes[0]
        image = shape if node.spec.kind == "flatten" and len(shape) == 3 else image
        parts.append(_part(node, net, image))
        image = None if node.spec.kind == "dense" else image
        chain = chain and node.inputs == (before,)
        before = node.name
    return nn.Sequential(*parts) if chain else Wired(net.nodes, parts)


def _part(node: Node, net: Network, image: tuple[int, ...] | None) -> nn.Module:
    """Return a layer's module; ``image`` is the shape of what was made flat just before it."""
    prefix = f"{node.name}."
    own = {
        name.removeprefix(prefix): torch.from_numpy(view.copy())
        for name, view in net.parameters.items()
        if name.startswith(prefix)
    }
    spec: Any = node.spec
    module = _KINDS[spec.kind](spec, own)
    if image is not None and spec.kind == "dense":  # PyTorch's images are channels first
        height, width, channels = image
        weight = own["kernel"].reshape(height, width, channels, -1).permute(3, 2, 0, 1)
        module.load_state_dict({"weight": weight.flatten(1), "bias": own["bias"]})
    activation = getattr(spec, "activation", "linear")
    if activation == "linear" or spec.kind in ("activation", "lstm", "gru"):
        return module
    return nn.Sequential(module, _ACTIVATIONS[activation]())


def _loaded(module: nn.Module, **tensors: Any) -> nn.Module:
    module.load_state_dict({k: v for k, v in tensors.items() if v is not None}, strict=False)
    return module


def _dense(spec: Any, own: dict[str, Any]) -> nn.Module:
    module = nn.Linear(*own["kernel"].shape, bias="bias" in own)
    return _loaded(module, weight=own["kernel"].T, bias=own.get("bias"))


def _conv2d(spec: Any, own: dict[str, Any]) -> nn.Module:
    rows, _, channels, filters = own["kernel"].shape
    module = nn.Conv2d(channels, filters, rows, padding=rows // 2, bias="bias" in own)
    return _loaded(module, weight=own["kernel"].permute(3, 2, 0, 1), bias=own.get("bias"))


def _depthwise(spec: Any, own: dict[str, Any]) -> nn.Module:
    rows, _, channels, _ = own["kernel"].shape
    module = nn.Conv2d(channels, channels, rows, padding=rows // 2, groups=channels)
    return _loaded(module, weight=own["kernel"].permute(2, 3, 0, 1), bias=own["bias"])


def _transposed(spec: Any, own: dict[str, Any]) -> nn.Module:
    rows, _, filters, channels = own["kernel"].shape
    stride = spec.strides
    module = nn.ConvTranspose2d(channels, filters, rows, stride, padding=(rows - stride) // 2)
    return _loaded(module, weight=own["kernel"].permute(3, 2, 0, 1), bias=own["bias"])


def _batch_norm(spec: Any, own: dict[str, Any]) -> nn.Module:
    module = nn.BatchNorm2d(len(own["gamma"]), spec.epsilon, 1.0 - spec.momentum)
    return _loaded(module, weight=own["gamma"], bias=own["beta"])


def _layer_norm(spec: Any, own: dict[str, Any]) -> nn.Module:
    module = nn.LayerNorm(len(own["gamma"]), spec.epsilon)
    return _loaded(module, weight=own["gamma"], bias=own["beta"])


def _lstm(spec: Any, own: dict[str, Any]) -> nn.Module:
    cell = nn.LSTM(own["kernel"].shape[0], spec.units, batch_first=True)
    return Last(_recurrent(cell, own["kernel"], own["recurrent_kernel"], own["bias"], None))


def _gru(spec: Any, own: dict[str, Any]) -> nn.Module:
    """Keras has the gates as z r h, PyTorch as r z h."""
    cell = nn.GRU(own["kernel"].shape[0], spec.units, batch_first=True)

    def turned(tensor: Any) -> Any:
        z, r, h = tensor.chunk(3, -1)
        return torch.cat((r, z, h), -1)

    bias, more = turned(own["bias"])
    return Last(
        _recurrent(cell, turned(own["kernel"]), turned(own["recurrent_kernel"]), bias, more)
    )


def _recurrent(cell: nn.Module, kernel: Any, recurrent: Any, bias: Any, more: Any) -> nn.Module:
    """Load a cell; PyTorch's second bias of an LSTM, which Keras does not have, stays zero."""
    tensors = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias}
    second = torch.zeros_like(bias) if more is None else more
    _loaded(cell, **tensors, bias_hh_l0=second)
    if more is None:
        cell.get_parameter("bias_hh_l0").requires_grad_(requires_grad=False)
    return cell


def _attention(spec: Any, own: dict[str, Any]) -> nn.Module:
    width = own["query.kernel"].shape[0]
    names = ("query", "key", "value")
    module = nn.MultiheadAttention(width, spec.num_heads, batch_first=True)
    _loaded(
        module,
        in_proj_weight=torch.cat([own[f"{n}.kernel"].reshape(width, -1).T for n in names]),
        in_proj_bias=torch.cat([own[f"{n}.bias"].reshape(-1) for n in names]),
    )
    module.out_proj.load_state_dict(
        {
            "weight": own["attention_output.kernel"].reshape(-1, width).T,
            "bias": own["attention_output.bias"],
        }
    )
    return SelfAttention(module)


# A kind to its module: (its spec, its tensors) -> module.
_KINDS: dict[str, Callable[[Any, dict[str, Any]], nn.Module]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise,
    "conv2d_transpose": _transposed,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "lstm": _lstm,
    "gru": _gru,
    "multi_head_attention": _attention,
    "activation": lambda spec, own: _ACTIVATIONS[spec.activation](),
    "flatten": lambda spec, own: nn.Flatten(),
    "max_pool2d": lambda spec, own: nn.MaxPool2d(spec.pool_size),
    "global_avg_pool2d": lambda spec, own: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "global_max_pool1d": lambda spec, own: Largest(),
    "add": lambda spec, own: Add(),
}
