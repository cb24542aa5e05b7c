"""The layers of the architecture language: one frozen class per kind, with shapes and cost.

A class here says what a layer *is* (fields, shapes, parameters, FLOPs); its namesake in
``chainrule.layers`` says what it *does*. Shapes leave the batch axis out.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from chainrule.spec.layers.attention import MultiHeadAttentionSpec
from chainrule.spec.layers.base import (
    ACTIVATIONS,
    ActivationName,
    LayerBase,
    MergeBase,
    Scratch,
    Shape,
    Weight,
)
from chainrule.spec.layers.convolution import Conv1DSpec, Conv2DSpec
from chainrule.spec.layers.core import (
    ActivationSpec,
    DenseSpec,
    DropoutSpec,
    FlattenSpec,
    ReshapeSpec,
    SharedSpec,
    Stepwise,
)
from chainrule.spec.layers.depthwise import DepthwiseConv2DSpec, SeparableConv2DSpec
from chainrule.spec.layers.embedding import EmbeddingSpec, PositionalEmbeddingSpec
from chainrule.spec.layers.initializers import INITIALIZERS, Blocks, Initializer
from chainrule.spec.layers.merge import AddSpec, ConcatSpec, MultiplySpec
from chainrule.spec.layers.normalization import BatchNormSpec, LayerNormSpec
from chainrule.spec.layers.pooling import (
    AvgPool2DSpec,
    GlobalAvgPool2DSpec,
    GlobalMaxPool1DSpec,
    MaxPool1DSpec,
    MaxPool2DSpec,
    UpSampling2DSpec,
)
from chainrule.spec.layers.recurrent import (
    BidirectionalSpec,
    GRUSpec,
    LSTMSpec,
    MaskingSpec,
    RecurrentBase,
    RepeatVectorSpec,
    SimpleRNNSpec,
)
from chainrule.spec.layers.transposed import Conv2DTransposeSpec

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "KINDS",
    "ActivationName",
    "ActivationSpec",
    "AddSpec",
    "AvgPool2DSpec",
    "BatchNormSpec",
    "BidirectionalSpec",
    "Blocks",
    "ConcatSpec",
    "Conv1DSpec",
    "Conv2DSpec",
    "Conv2DTransposeSpec",
    "DenseSpec",
    "DepthwiseConv2DSpec",
    "DropoutSpec",
    "EmbeddingSpec",
    "FlattenSpec",
    "GRUSpec",
    "GlobalAvgPool2DSpec",
    "GlobalMaxPool1DSpec",
    "Initializer",
    "LSTMSpec",
    "LayerBase",
    "LayerNormSpec",
    "LayerSpec",
    "MaskingSpec",
    "MaxPool1DSpec",
    "MaxPool2DSpec",
    "MergeBase",
    "MultiHeadAttentionSpec",
    "MultiplySpec",
    "PositionalEmbeddingSpec",
    "RecurrentBase",
    "RepeatVectorSpec",
    "ReshapeSpec",
    "Scratch",
    "SeparableConv2DSpec",
    "Shape",
    "SharedSpec",
    "SimpleRNNSpec",
    "Stepwise",
    "UpSampling2DSpec",
    "Weight",
]

LayerSpec = Annotated[
    DenseSpec
    | ActivationSpec
    | DropoutSpec
    | FlattenSpec
    | ReshapeSpec
    | AddSpec
    | MultiplySpec
    | ConcatSpec
    | MaskingSpec
    | SimpleRNNSpec
    | LSTMSpec
    | GRUSpec
    | BidirectionalSpec
    | RepeatVectorSpec
    | BatchNormSpec
    | LayerNormSpec
    | EmbeddingSpec
    | PositionalEmbeddingSpec
    | MultiHeadAttentionSpec
    | Conv1DSpec
    | Conv2DSpec
    | DepthwiseConv2DSpec
    | SeparableConv2DSpec
    | Conv2DTransposeSpec
    | MaxPool1DSpec
    | MaxPool2DSpec
    | AvgPool2DSpec
    | GlobalAvgPool2DSpec
    | GlobalMaxPool1DSpec
    | UpSampling2DSpec
    | SharedSpec,
    Field(discriminator="kind"),
]
KINDS: tuple[str, ...] = tuple(
    kind.model_fields["kind"].default for kind in get_args(get_args(LayerSpec)[0])
)
