"""What each kind of layer does: a name of the architecture language to its class."""

from chainrule.layers.activation import Activation
from chainrule.layers.attention import MultiHeadAttention
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.dense import Dense
from chainrule.layers.dropout import Dropout
from chainrule.layers.embedding import Embedding, PositionalEmbedding, check_vocabularies
from chainrule.layers.merge import Add, Concat, Multiply
from chainrule.layers.normalization import BatchNorm, LayerNorm
from chainrule.layers.reshape import Reshape

__all__ = [
    "LAYERS",
    "Activation",
    "Add",
    "BatchNorm",
    "Concat",
    "Dense",
    "Dropout",
    "Embedding",
    "Layer",
    "LayerNorm",
    "MultiHeadAttention",
    "Multiply",
    "Parameters",
    "PositionalEmbedding",
    "Reshape",
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
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "embedding": Embedding,
    "positional_embedding": PositionalEmbedding,
    "multi_head_attention": MultiHeadAttention,
}
