"""The loops that numpy cannot fuse, behind one set of names whatever runs them."""

from chainrule.kernels.convolution import (
    add_taps,
    depthwise,
    depthwise_backward,
    depthwise_slope,
    im2col,
)
from chainrule.kernels.elementwise import ELEMENTWISE, Array, Elementwise
from chainrule.kernels.embedding import add_rows
from chainrule.kernels.normalization import (
    batch_norm,
    batch_norm_backward,
    batch_norm_moments,
    layer_norm,
    layer_norm_backward,
)
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
from chainrule.kernels.pooling import (
    avg_pool,
    avg_pool_backward,
    global_max_backward,
    max_pool,
    max_pool_backward,
)
from chainrule.kernels.recurrent import (
    gru_gates,
    gru_output,
    gru_output_backward,
    gru_reset_backward,
    lstm_step,
    lstm_step_backward,
    simple_rnn_step,
    simple_rnn_step_backward,
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
    "add_rows",
    "add_taps",
    "average",
    "avg_pool",
    "avg_pool_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_moments",
    "bias_activation",
    "depthwise",
    "depthwise_backward",
    "depthwise_slope",
    "global_max_backward",
    "gru_gates",
    "gru_output",
    "gru_output_backward",
    "gru_reset_backward",
    "im2col",
    "layer_norm",
    "layer_norm_backward",
    "lion",
    "lstm_step",
    "lstm_step_backward",
    "max_pool",
    "max_pool_backward",
    "momentum",
    "nadam",
    "nesterov",
    "norm",
    "rmsprop",
    "sgd",
    "simple_rnn_step",
    "simple_rnn_step_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "swap",
]
