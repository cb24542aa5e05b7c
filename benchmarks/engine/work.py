"""What no training step of a case can do without: its matrix products, and the values it moves.

Convolutions count as the one product that their windows make (im2col), without making these.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.engine.cases import wiring
from chainrule.spec import learning

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.engine.cases import EngineCase
    from chainrule.spec.graph import Node

__all__ = ["Product", "moves", "products"]

_ADAM = 7  # reads parameter, gradient and two means; writes all but the gradient


class Product(NamedTuple):
    """A product of matrices, some times a step.

    ``of``: "y" of x @ w, "dw" of x.T @ dy, "dx" of dy @ w.T.
    Shapes: x (rows, n_in), w (n_in, n_out), dy (rows, n_out).
    """

    of: str
    rows: int
    n_in: int
    n_out: int
    times: int = 1

    @property
    def flop(self) -> int:
        """Operations of one time."""
        return 2 * self.rows * self.n_in * self.n_out


def products(case: EngineCase) -> list[Product]:
    """Return the products of a step: forward, and for each gradient that is wanted."""
    walked = wiring(case)
    learns = learning(walked)
    found = []
    for node in walked:
        wants_dx = any(source in learns for source in node.inputs)
        for of, *sizes in _PRODUCTS.get(node.spec.kind, _none)(node, case.batch):
            if wants_dx or of != "dx":
                found.append(Product(of, *sizes))
    return found


def moves(case: EngineCase) -> list[int]:
    """Return how many values each pass over memory reads and writes.

    The passes: Adam's, gathering the batch, and each layer's forward and backward, fused as far as
    they go.
    """
    walked = wiring(case)
    feeds = Counter(source for node in walked for source in node.inputs)
    found = [
        _ADAM * sum(node.parameters for node in walked),
        2 * case.batch * math.prod(case.shape),
    ]
    for node in walked:
        into = case.batch * sum(map(math.prod, node.input_shapes))
        out = case.batch * math.prod(node.output_shape)
        found += _MOVES.get(node.spec.kind, _none)(node, into, out)
        found += [3 * out] * (feeds[node.name] - 1)  # gradients that meet are added
    return [n for n in found if n > 0]


def _none(*_: Any) -> list[Any]:
    return []


def _affine(rows: int, n_in: int, n_out: int, times: int = 1) -> list[tuple[Any, ...]]:
    return [(of, rows, n_in, n_out, times) for of in ("y", "dw", "dx")]


def _dense(node: Node, batch: int) -> list[tuple[Any, ...]]:
    return _affine(batch * math.prod(node.input_shape[:-1]), *node.weights[0].shape)


def _convolution(node: Node, batch: int) -> list[tuple[Any, ...]]:
    *taps, filters = node.weights[0].shape
    return _affine(batch * math.prod(node.output_shape[:-1]), math.prod(taps), filters)


def _transposed(node: Node, batch: int) -> list[tuple[Any, ...]]:
    *taps, channels = node.weights[0].shape
    return _affine(batch * math.prod(node.input_shape[:-1]), channels, math.prod(taps))


def _recurrent(node: Node, batch: int) -> list[tuple[Any, ...]]:
    """All steps' inputs at once, the states a step at a time, their kernel's gradient at once."""
    steps, features = node.input_shape
    units, gates = node.weights[1].shape
    by_step = (batch, units, gates, steps)
    of_states = [("y", *by_step), ("dw", batch * steps, units, gates)]
    # The states' own gradients are wanted even where those of the inputs are not: another name.
    return [*_affine(batch * steps, features, gates), *of_states, ("dh", *by_step)]


def _attention(node: Node, batch: int) -> list[tuple[Any, ...]]:
    """Four projections, and for each head of each row the scores and their mixtures."""
    steps, features = node.input_shape
    heads, width = node.spec.num_heads, node.spec.key_dim  # type: ignore[attr-defined]
    inner = heads * width
    projected = 3 * _affine(batch * steps, features, inner) + _affine(
        batch * steps, inner, features
    )
    looked = _affine(steps, width, steps, batch * heads) + _affine(
        steps, steps, width, batch * heads
    )
    return projected + [("dh" if of == "dx" else of, *sizes) for of, *sizes in looked]


_PRODUCTS: dict[str, Callable[[Node, int], list[tuple[Any, ...]]]] = {
    "dense": _dense,
    "conv2d": _convolution,
    "conv2d_transpose": _transposed,
    "lstm": _recurrent,
    "gru": _recurrent,
    "multi_head_attention": _attention,
}


def _after_product(node: Node, into: int, out: int) -> list[int]:
    """Bias and activation in place; their gradients from dy and y."""
    if node.spec.activation != "linear":  # type: ignore[attr-defined]
        return [2 * out, 3 * out]
    return [2 * out, out] if node.spec.use_bias else []  # type: ignore[attr-defined]


def _gates(node: Node, into: int, out: int) -> list[int]:
    """Each step's gates and states, both ways."""
    steps, _ = node.input_shape
    gates = node.weights[1].shape[1] // node.weights[1].shape[0]
    return [steps * out * (2 * gates + 3)] * 2


def _attended(node: Node, into: int, out: int) -> list[int]:
    """Softmax of the scores."""
    batch, steps = into // math.prod(node.input_shape), node.input_shape[0]
    scores = batch * node.spec.num_heads * steps**2  # type: ignore[attr-defined]
    return [2 * scores, 3 * scores]


# A kind to the values that its forward and backward passes move, of (node, input's, output's).
_MOVES: dict[str, Callable[[Node, int, int], list[int]]] = {
    "dense": _after_product,
    "conv2d": _after_product,
    "conv2d_transpose": _after_product,
    "depthwise_conv2d": lambda node, into, out: [into + out, 2 * (into + out) + out],
    "lstm": _gates,
    "gru": _gates,
    "multi_head_attention": _attended,
    "batch_norm": lambda node, into, out: [3 * out, 5 * out],  # mean and variance in one pass
    "layer_norm": lambda node, into, out: [3 * out, 5 * out],
    "activation": lambda node, into, out: [2 * out, 3 * out],
    "add": lambda node, into, out: [into + out],
    "max_pool2d": lambda node, into, out: [into + out] * 2,
    "global_avg_pool2d": lambda node, into, out: [into + out] * 2,
    "global_max_pool1d": lambda node, into, out: [into + out] * 2,
}
