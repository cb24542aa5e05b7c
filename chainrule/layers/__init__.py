"""What each kind of layer does: a name of the architecture language to its class."""

from chainrule.layers.activation import Activation
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.convolution import Convolution
from chainrule.layers.dense import Dense
from chainrule.layers.depthwise import DepthwiseConvolution, SeparableConvolution
from chainrule.layers.dropout import Dropout
from chainrule.layers.merge import Add, Concat, Multiply
from chainrule.layers.pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool
from chainrule.layers.reshape import Reshape
from chainrule.layers.transposed import TransposedConvolution
from chainrule.layers.upsampling import UpSampling

__all__ = [
    "LAYERS",
    "Activation",
    "Add",
    "AvgPool",
    "Concat",
    "Convolution",
    "Dense",
    "DepthwiseConvolution",
    "Dropout",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Layer",
    "MaxPool",
    "Multiply",
    "Parameters",
    "Reshape",
    "SeparableConvolution",
    "TransposedConvolution",
    "UpSampling",
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
    "conv1d": Convolution,
    "conv2d": Convolution,
    "depthwise_conv2d": DepthwiseConvolution,
    "separable_conv2d": SeparableConvolution,
    "conv2d_transpose": TransposedConvolution,
    "max_pool1d": MaxPool,
    "max_pool2d": MaxPool,
    "avg_pool2d": AvgPool,
    "global_avg_pool2d": GlobalAvgPool,
    "global_max_pool1d": GlobalMaxPool,
    "up_sampling2d": UpSampling,
}
