"""The loops that numpy cannot fuse, behind one set of names whatever runs them."""

from chainrule.kernels.elementwise import ELEMENTWISE, Array, Elementwise
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
    "bias_activation",
    "gru_gates",
    "gru_output",
    "gru_output_backward",
    "gru_reset_backward",
    "lstm_step",
    "lstm_step_backward",
    "momentum",
    "nesterov",
    "sgd",
    "simple_rnn_step",
    "simple_rnn_step_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]
