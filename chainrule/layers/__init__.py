"""What each kind of layer does: a name of the architecture language to its class."""

from chainrule.layers.activation import Activation
from chainrule.layers.attention import MultiHeadAttention
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.bidirectional import Bidirectional
from chainrule.layers.dense import Dense
from chainrule.layers.dropout import Dropout
from chainrule.layers.embedding import Embedding, PositionalEmbedding, check_vocabularies
from chainrule.layers.gru import GRU
from chainrule.layers.lstm import LSTM
from chainrule.layers.masking import Masking
from chainrule.layers.merge import Add, Concat, Multiply
from chainrule.layers.normalization import BatchNorm, LayerNorm
from chainrule.layers.repeat_vector import RepeatVector
from chainrule.layers.reshape import Reshape
from chainrule.layers.simple_rnn import SimpleRNN

__all__ = [
    "GRU",
    "LAYERS",
    "LSTM",
    "Activation",
    "Add",
    "BatchNorm",
    "Bidirectional",
    "Concat",
    "Dense",
    "Dropout",
    "Embedding",
    "Layer",
    "LayerNorm",
    "Masking",
    "MultiHeadAttention",
    "Multiply",
    "Parameters",
    "PositionalEmbedding",
    "RepeatVector",
    "Reshape",
    "SimpleRNN",
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
}
