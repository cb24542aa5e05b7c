"""The loops that numpy cannot fuse, behind one set of names whatever runs them."""

from chainrule.kernels.elementwise import ELEMENTWISE, Array, Elementwise
from chainrule.kernels.normalization import (
    batch_norm,
    batch_norm_backward,
    batch_norm_moments,
    layer_norm,
    layer_norm_backward,
)
from chainrule.kernels.reference import (
    activation_backward,
    adam,
    bias_activation,
    momentum,
    nesterov,
    sgd,
    softmax,
    softmax_backward,
    softmax_cross_entropy,
)

__all__ = [
    "ELEMENTWISE",
    "Array",
    "Elementwise",
    "activation_backward",
    "adam",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_moments",
    "bias_activation",
    "layer_norm",
    "layer_norm_backward",
    "momentum",
    "nesterov",
    "sgd",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]
