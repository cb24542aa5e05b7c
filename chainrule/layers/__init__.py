"""What each kind of layer does: a name of the architecture language to its class."""

from chainrule.layers.activation import NO_ENDING, Activation, Ending
from chainrule.layers.attention import MultiHeadAttention
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.bidirectional import Bidirectional
from chainrule.layers.convolution import Convolution
from chainrule.layers.dense import Dense
from chainrule.layers.depthwise import DepthwiseConvolution, SeparableConvolution
from chainrule.layers.dropout import Dropout
from chainrule.layers.embedding import Embedding, PositionalEmbedding, check_vocabularies
from chainrule.layers.gru import GRU
from chainrule.layers.lstm import LSTM
from chainrule.layers.masking import Masking
from chainrule.layers.merge import Add, Concat, Multiply
from chainrule.layers.normalization import BatchNorm, LayerNorm
from chainrule.layers.pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool
from chainrule.layers.repeat_vector import RepeatVector
from chainrule.layers.reshape import Reshape
from chainrule.layers.simple_rnn import SimpleRNN
from chainrule.layers.transposed import TransposedConvolution
from chainrule.layers.upsampling import UpSampling

__all__ = [
    "GRU",
    "LAYERS",
    "LSTM",
    "NO_ENDING",
    "Activation",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Bidirectional",
    "Concat",
    "Convolution",
    "Dense",
    "DepthwiseConvolution",
    "Dropout",
    "Embedding",
    "Ending",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Layer",
    "LayerNorm",
    "Masking",
    "MaxPool",
    "MultiHeadAttention",
    "Multiply",
    "Parameters",
    "PositionalEmbedding",
    "RepeatVector",
    "Reshape",
    "SeparableConvolution",
    "SimpleRNN",
    "TransposedConvolution",
    "UpSampling",
    "check_shape",
    "check_vocabularies",
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
    "masking": Masking,
    "simple_rnn": SimpleRNN,
    "lstm": LSTM,
    "gru": GRU,
    "bidirectional": Bidirectional,
    "repeat_vector": RepeatVector,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "embedding": Embedding,
    "positional_embedding": PositionalEmbedding,
    "multi_head_attention": MultiHeadAttention,
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
