"""What each kind of layer does: a name of the architecture language to its class."""

from chainrule.layers.activation import Activation
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.dense import Dense
from chainrule.layers.dropout import Dropout
from chainrule.layers.flatten import Flatten

__all__ = [
    "LAYERS",
    "Activation",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "Parameters",
    "check_shape",
]

LAYERS: dict[str, type[Layer]] = {
    "dense": Dense,
    "activation": Activation,
    "dropout": Dropout,
    "flatten": Flatten,
}
