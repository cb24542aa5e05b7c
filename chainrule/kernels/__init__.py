"""The loops that numpy cannot fuse, behind one set of names whatever runs them."""

from chainrule.kernels.convolution import (
    add_taps,
    depthwise,
    depthwise_backward,
    depthwise_slope,
    im2col,
)
from chainrule.kernels.elementwise import ELEMENTWISE, Array, Elementwise
from chainrule.kernels.pooling import (
    avg_pool,
    avg_pool_backward,
    global_max_backward,
    max_pool,
    max_pool_backward,
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
    "add_taps",
    "avg_pool",
    "avg_pool_backward",
    "bias_activation",
    "depthwise",
    "depthwise_backward",
    "depthwise_slope",
    "global_max_backward",
    "im2col",
    "max_pool",
    "max_pool_backward",
    "momentum",
    "nesterov",
    "sgd",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]
