"""Which layers leave their bias and activation to the one behind them: fewer numbers pass memory.

Of a function that never falls, the largest of its values is its value of the largest: so a bias and
an activation before a pool may as well come after it, where there is one number of four.
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
_TAKERS = {"max_pool1d", "max_pool2d"}


def given_on(walked: Sequence[Node]) -> dict[str, str]:
    """Return {layer: the one that adds its bias and applies its activation}.

    No other layer sees what lies between the two.
    """
    by_name = {node.name: node for node in walked}
    consumers = Counter(source for node in walked for source in node.inputs)
    found = {}
    for node in walked:
        giver = by_name.get(node.inputs[0])
        if (
            giver is not None
            and node.spec.kind in _TAKERS
            and giver.spec.kind in _GIVERS
            and getattr(giver.spec, "activation", None) in _NEVER_FALLS
            and consumers[giver.name] == 1
            and not giver.is_output
        ):
            found[giver.name] = node.name
    return found
