"""The loops that numpy cannot fuse, behind one set of names whatever runs them."""

from chainrule.kernels.convolution import (
    add_taps,
    depthwise,
    depthwise_backward,
    depthwise_slope,
    im2col,
)
from chainrule.kernels.elementwise import ELEMENTWISE, Array, Elementwise
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
    "add_taps",
    "bias_activation",
    "depthwise",
    "depthwise_backward",
    "depthwise_slope",
    "im2col",
    "momentum",
    "nesterov",
    "sgd",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]
