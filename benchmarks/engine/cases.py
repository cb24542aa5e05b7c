"""The one table of what is measured: networks in our language, their batches, and their data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, parse
from chainrule.spec.graph import nodes
from chainrule.streams import generator

if TYPE_CHECKING:
    from chainrule.spec.graph import Node

__all__ = ["ADAM", "CASES", "SEED", "EngineCase", "batches", "data", "find", "network", "wiring"]

SEED = 0
# Keras's Adam has this epsilon, PyTorch's another one: it is set on every side. At ten times the
# rate rounding alone, through ReLU's kinks, drives two runs of one network apart within 100 steps.
ADAM = {"learning_rate": 0.0001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
_CLASSES = 10
_NOISE = 0.5  # share of the classes that is drawn, so that losses stay far from 0


@dataclass(frozen=True)
class EngineCase:
    """A network and how it is trained.  ``steps``: batches of one epoch, which is one turn."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[dict[str, Any], ...]
    batch: int
    steps: int
    loss: str = "softmax_cross_entropy"

    @property
    def spec(self) -> dict[str, Any]:
        """The architecture."""
        return {"name": "bench", "input": {"shape": [*self.shape]}, "layers": [*self.layers]}

    @property
    def rows(self) -> int:
        """How many samples the data has."""
        return self.steps * self.batch

    @property
    def short_name(self) -> str:
        """The name as a table's first column has it: the batch behind a stroke."""
        return self.name.replace(", batch ", "/")

    @property
    def family(self) -> str:
        """The first word of the name."""
        return self.name.split()[0]


def network(case: EngineCase) -> Network:
    """Return our network of a case: its weights are where every side begins."""
    return Network(case.spec, seed=SEED)


def wiring(case: EngineCase) -> list[Node]:
    """Return the layers in order, with their shapes."""
    return nodes(parse(ArchitectureSpec, case.spec))


def data(case: EngineCase) -> tuple[Any, Any]:
    """Return inputs and targets, the same ones at every call.

    Classes and numbers follow from the inputs, so there is something to learn; an autoencoder's
    target is its input.
    """
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((case.rows, *case.shape), np.float32)
    if case.name.startswith("autoencoder"):
        return x, x
    flat = x.reshape(case.rows, -1)
    scores = flat @ rng.standard_normal((flat.shape[1], _CLASSES), np.float32)
    if case.loss == "softmax_cross_entropy":
        noise = rng.integers(0, _CLASSES, case.rows)
        return x, np.where(rng.random(case.rows) < _NOISE, noise, scores.argmax(1))
    return x, scores[:, :1] / np.float32(flat.shape[1] ** 0.5)


def batches(case: EngineCase, epoch: int) -> Any:
    """Return the rows of each batch of an epoch, numbered from 0, as our training loop has them.

    Shapes: (steps, batch).
    """
    order = generator(SEED, "shuffle", epoch).permutation(case.rows)
    return order.reshape(case.steps, case.batch)


def find(text: str) -> list[EngineCase]:
    """Return the cases that have a text in their names."""
    return [case for case in CASES if text.lower() in case.name.lower()]


def _layer(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, **fields}


def _dense(units: int, activation: str = "linear", **more: Any) -> dict[str, Any]:
    return _layer("dense", units=units, activation=activation, **more)


def _conv(filters: int, size: int = 3, activation: str = "relu", **more: Any) -> dict[str, Any]:
    sized: dict[str, Any] = {"filters": filters, "kernel_size": size, "padding": "same"}
    return _layer("conv2d", **sized, activation=activation, **more)


def _mlp(widths: tuple[int, ...], batch: int, steps: int) -> EngineCase:
    hidden = [_dense(n, "relu") for n in widths[1:-1]]
    name = f"MLP {'-'.join(map(str, widths))}, batch {batch}"
    return EngineCase(name, widths[:1], (*hidden, _dense(widths[-1])), batch, steps)


def _cnn(channels: tuple[int, ...], size: int, batch: int, steps: int) -> EngineCase:
    blocks = [one for n in channels[1:] for one in (_conv(n), _layer("max_pool2d"))]
    name = f"CNN {'-'.join(map(str, channels))} on {size}x{size}, batch {batch}"
    layers = (*blocks, _layer("flatten"), _dense(_CLASSES))
    return EngineCase(name, (size, size, channels[0]), layers, batch, steps)


def _rnn(
    kind: str, widths: tuple[int, int], shape: tuple[int, int], steps: int, classes: int = _CLASSES
) -> EngineCase:
    (inputs, units), (length, batch) = widths, shape
    name = f"{kind.upper()} {inputs}-{units}, {length} steps, batch {batch}"
    loss = "softmax_cross_entropy" if classes > 1 else "mean_squared_error"
    layers = (_layer(kind, units=units), _dense(classes))
    return EngineCase(name, (length, inputs), layers, batch, steps, loss)


def _separable(filters: int) -> list[dict[str, Any]]:
    """Return a depthwise separable block, as MobileNet has them, without its normalisation."""
    own = _layer("depthwise_conv2d", kernel_size=3, padding="same", activation="relu")
    return [own, _conv(filters, size=1)]


def _residual(number: int, filters: int, *, entry: str) -> list[dict[str, Any]]:
    """Return two convolutions around which the input goes by."""
    relu = _layer("activation", activation="relu")
    plain: dict[str, Any] = {"activation": "linear", "use_bias": False}
    return [
        _conv(filters, inputs=[entry], **plain),
        _layer("batch_norm"),
        relu,
        _conv(filters, **plain),
        _layer("batch_norm", name=f"inner_{number}"),
        _layer("add", inputs=[f"inner_{number}", entry]),
        {**relu, "name": f"block_{number}"},
    ]


_RESIDUAL = (
    _conv(16, activation="linear", use_bias=False),
    _layer("batch_norm"),
    _layer("activation", activation="relu", name="stem"),
    *_residual(1, 16, entry="stem"),
    _layer("max_pool2d"),
    _conv(32, size=1, name="wider"),
    *_residual(2, 32, entry="wider"),
    _layer("global_avg_pool2d"),
    _dense(_CLASSES),
)
_AUTOENCODER = (
    _conv(16),
    _layer("max_pool2d"),
    _conv(8),
    _layer("max_pool2d"),
    *(
        _layer(
            "conv2d_transpose",
            filters=filters,
            kernel_size=4,
            strides=2,
            padding="same",
            activation="relu",
        )
        for filters in (8, 16)
    ),
    _conv(1, activation="linear"),
)
_ATTENTION = (
    _layer("multi_head_attention", num_heads=4, key_dim=16, name="attention"),
    _layer("add", inputs=["input", "attention"]),
    _layer("layer_norm", name="seen"),
    _dense(256, "gelu"),
    _dense(64, name="thought"),
    _layer("add", inputs=["seen", "thought"]),
    _layer("layer_norm"),
    _layer("global_max_pool1d"),
    _dense(_CLASSES),
)

CASES = (
    _mlp((64, 32, 10), 32, 40),
    _mlp((64, 128, 64, 10), 64, 40),
    _mlp((784, 256, 128, 10), 128, 20),
    _mlp((784, 512, 512, 10), 128, 20),
    _mlp((1024, 1024, 1024, 10), 256, 20),
    _cnn((1, 8, 16), 8, 32, 40),
    _cnn((1, 16, 32), 28, 64, 20),
    _cnn((3, 32, 64, 128), 32, 64, 20),
    EngineCase(
        "separable 3-32-64-128 on 32x32, batch 64",
        (32, 32, 3),
        (
            _conv(32),
            *_separable(64),
            _layer("max_pool2d"),
            *_separable(128),
            _layer("max_pool2d"),
            _layer("global_avg_pool2d"),
            _dense(_CLASSES),
        ),
        64,
        20,
    ),
    EngineCase("residual 3-16-32 on 32x32, batch 64", (32, 32, 3), _RESIDUAL, 64, 20),
    _rnn("lstm", (1, 32), (24, 32), 40, classes=1),
    _rnn("lstm", (16, 64), (50, 64), 10),
    _rnn("lstm", (64, 128), (100, 64), 5),
    _rnn("gru", (16, 64), (50, 64), 10),
    EngineCase(
        "autoencoder 1-16-8 on 28x28, batch 64",
        (28, 28, 1),
        _AUTOENCODER,
        64,
        10,
        "mean_squared_error",
    ),
    EngineCase("attention 64 wide, 64 steps, batch 32", (64, 64), _ATTENTION, 32, 10),
)
