"""Which layers leave their bias and activation to one beside them: fewer numbers pass memory.

Of a function that never falls, the largest of its values is its value of the largest: so a bias and
an activation before a pool may as well come after it, where there is one number of four. And a
normalisation applies what costs next to nothing in the pass in which it writes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.spec.graph import Node

__all__ = ["given_on"]

_NEVER_FALLS = {"elu", "leaky_relu", "linear", "relu", "sigmoid", "softplus", "tanh"}
_GIVERS = {"activation", "conv1d", "conv2d", "conv2d_transpose", "depthwise_conv2d"}
_POOLS = {"max_pool1d", "max_pool2d"}
_CHEAP = {"leaky_relu", "relu"}


def given_on(walked: Sequence[Node]) -> dict[str, str]:
    """Return {layer: the one that adds its bias and applies its activation}.

    No other layer sees what lies between the two.
    """
    by_name = {node.name: node for node in walked}
    consumers = Counter(source for node in walked for source in node.inputs)
    pairs = [
        (by_name[node.inputs[0]], node)
        for node in walked
        if node.inputs[0] in by_name
        and consumers[node.inputs[0]] == 1
        and not by_name[node.inputs[0]].is_output
    ]
    found = {first.name: second.name for first, second in pairs if _lets_pool(first, second)}
    for first, second in pairs:
        if first.spec.kind == "batch_norm" and _is_cheap(second):
            found.setdefault(second.name, first.name)
    return found


def _lets_pool(first: Node, second: Node) -> bool:
    activation = getattr(first.spec, "activation", None)
    pools = first.spec.kind in _GIVERS and second.spec.kind in _POOLS
    return pools and activation in _NEVER_FALLS


def _is_cheap(node: Node) -> bool:
    return node.spec.kind == "activation" and getattr(node.spec, "activation", None) in _CHEAP
