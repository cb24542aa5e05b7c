"""What each kind of layer does: a name of the architecture language to its class."""

from chainrule.layers.activation import Activation
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.dense import Dense
from chainrule.layers.dropout import Dropout
from chainrule.layers.merge import Add, Concat, Multiply
from chainrule.layers.reshape import Reshape

__all__ = [
    "LAYERS",
    "Activation",
    "Add",
    "Concat",
    "Dense",
    "Dropout",
    "Layer",
    "Multiply",
    "Parameters",
    "Reshape",
    "check_shape",
]

# ``shared`` is missing: it is the layer that it names, once more.
LAYERS: dict[str, type[Layer]] = {
    "dense": Dense,
    "activation": Activation,
    "dropout": Dropout,
    "flatten": Reshape,
    "reshape": Reshape,
    "add": Add,
    "multiply": Multiply,
    "concat": Concat,
}
