"""The loops that numpy cannot fuse, behind one set of names whatever runs them."""

from chainrule.kernels.elementwise import ELEMENTWISE, Array, Elementwise
from chainrule.kernels.optimizers import (
    adagrad,
    adam,
    lion,
    momentum,
    nadam,
    nesterov,
    rmsprop,
    sgd,
)
from chainrule.kernels.reference import (
    activation_backward,
    bias_activation,
    softmax,
    softmax_backward,
    softmax_cross_entropy,
)
from chainrule.kernels.vectors import add_penalty, average, norm, swap

__all__ = [
    "ELEMENTWISE",
    "Array",
    "Elementwise",
    "activation_backward",
    "adagrad",
    "adam",
    "add_penalty",
    "average",
    "bias_activation",
    "lion",
    "momentum",
    "nadam",
    "nesterov",
    "norm",
    "rmsprop",
    "sgd",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "swap",
]
