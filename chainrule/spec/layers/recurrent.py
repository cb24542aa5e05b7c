"""Sequences: simple_rnn, lstm, gru, bidirectional; masking and repeat_vector around them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from chainrule.spec.layers.base import (
    LayerBase,
    Scratch,
    Shape,
    Weight,
    activation_flops,
    wants_axes,
)
from chainrule.spec.layers.core import Stepwise
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)

__all__ = [
    "BidirectionalSpec",
    "ElementwiseName",
    "GRUSpec",
    "LSTMSpec",
    "MaskingSpec",
    "RecurrentBase",
    "RepeatVectorSpec",
    "SimpleRNNSpec",
]

# Every activation but softmax, which couples the units.
ElementwiseName = Literal[
    "linear", "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softplus", "swish"
]
_PANEL = 31  # columns that fill up the recurrent kernel's last panel
_KEEPS_INPUT = ("gelu", "swish")  # activations whose slope is not told by the output
_SEQUENCE = ("steps", "features")


class RecurrentBase(LayerBase):
    """What layers have that take a sequence step by step and hand a state from one to the next.

    ``dropout`` and ``recurrent_dropout`` act on the inputs and on the state before they are
    multiplied, with one draw for a whole sequence. ``stateful``: a batch goes on from where the
    one before ended.
    Shape: (steps, features) -> (units,), or (steps, units) with ``return_sequences``.
    """

    gates: ClassVar[int]  # blocks of units in the kernels
    states: ClassVar[int] = 1  # vectors handed from step to step

    units: int = Field(ge=1, le=1_000_000)
    activation: ElementwiseName = "tanh"
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    recurrent_initializer: Initializer = "orthogonal"
    bias_initializer: Initializer = "zeros"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    recurrent_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    return_sequences: bool = False
    go_backwards: bool = False
    stateful: bool = False

    @model_validator(mode="after")
    def _goes_on_forwards_only(self) -> RecurrentBase:
        if self.stateful and self.go_backwards:
            raise ValueError("stateful and go_backwards exclude each other")
        return self

    @property
    def activations(self) -> tuple[str, ...]:
        """Return every activation that is used."""
        return (self.activation,)

    @property
    def keeps_input(self) -> bool:
        """Whether what goes into an activation must be kept beside what comes out."""
        return any(name in _KEEPS_INPUT for name in self.activations)

    @property
    def keeps_mask(self) -> bool:
        return self.return_sequences

    @property
    def any_length(self) -> bool:
        return not self.go_backwards

    def output_shape(self, shape: Shape, /) -> Shape:
        wants_axes(shape, _SEQUENCE)
        return (shape[0], self.units) if self.return_sequences else (self.units,)

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        width = self.gates * self.units
        kernel = Weight("kernel", (shape[-1], width), self.kernel_initializer)
        recurrent = Weight("recurrent_kernel", (self.units, width), self.recurrent_initializer)
        return (kernel, recurrent, self.bias) if self.use_bias else (kernel, recurrent)

    @property
    def bias(self) -> Weight:
        """The bias, should there be one."""
        return Weight("bias", (self.gates * self.units,), self.bias_initializer)

    def flops(self, shape: Shape, /) -> int:
        steps, features = shape
        per_unit = 2 * (features + self.units) + 1 + self.use_bias
        per_unit += activation_flops(self.activations[-1], 1)
        return steps * self.gates * self.units * per_unit

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        steps, features = shape
        units = self.units
        width = self.gates * units
        forward = steps * features + 2 * features * bool(self.dropout)  # time first; kept
        forward += self.states * units * (steps + 1)
        forward += (steps + 2) * units * bool(self.recurrent_dropout)
        forward += steps * width * (1 + self.keeps_input)
        forward += steps * units * self.return_sequences
        back = (self.states + 1) * units + steps * width  # as many gradients, and work
        back += wants_dx * 2 * steps * features  # either way round
        return Scratch(forward, width * (units + _PANEL), back, back_parts=4)


class SimpleRNNSpec(RecurrentBase):
    """A dense layer of a step's features and of its own output at the step before."""

    kind: Literal["simple_rnn"] = "simple_rnn"
    gates: ClassVar[int] = 1

    @property
    def keeps_input(self) -> bool:
        return False  # what goes in never shares memory with what comes out


class LSTMSpec(RecurrentBase):
    """Long short-term memory: a cell behind an input, a forget and an output gate.

    ``unit_forget_bias`` starts the forget gate open.  Blocks of the kernels: i f c o.
    """

    kind: Literal["lstm"] = "lstm"
    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    recurrent_activation: ElementwiseName = "sigmoid"
    unit_forget_bias: bool = True

    @property
    def activations(self) -> tuple[str, ...]:
        return (self.activation, self.recurrent_activation)

    @property
    def bias(self) -> Weight:
        plain = super().bias
        if not self.unit_forget_bias:
            return plain
        start, units = self.bias_initializer, self.units
        return replace(plain, initializer=((start, units), ("ones", units), (start, 2 * units)))

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        common = super().scratch(shape, wants_dx=wants_dx)
        return common._replace(per_row=common.per_row + shape[0] * self.units)  # cells


class GRUSpec(RecurrentBase):
    """Gated recurrent units: an update and a reset gate.

    ``reset_after`` resets the state after its product with the recurrent kernel, which then has a
    bias of its own.  Blocks of the kernels: z r h.
    """

    kind: Literal["gru"] = "gru"
    gates: ClassVar[int] = 3

    recurrent_activation: ElementwiseName = "sigmoid"
    reset_after: bool = True

    @property
    def activations(self) -> tuple[str, ...]:
        return (self.activation, self.recurrent_activation)

    @property
    def bias(self) -> Weight:
        plain = super().bias
        return replace(plain, shape=(2, *plain.shape)) if self.reset_after else plain

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        steps, units = shape[0], self.units
        common = super().scratch(shape, wants_dx=wants_dx)
        has_two = self.reset_after and self.use_bias
        inner = steps * units  # what the reset acts on, and its gradient
        return Scratch(
            common.per_row + inner,
            common.fixed + 3 * units * has_two,
            common.back_per_row + inner,
            6 * units * has_two + 3 * units * units,
            common.back_parts + 1,
        )


class BidirectionalSpec(LayerBase):
    """A recurrent layer and a copy of it that runs the other way, their outputs merged.

    Shape: as the layer's; with ``concat`` twice the units.
    """

    kind: Literal["bidirectional"] = "bidirectional"
    layer: Annotated[SimpleRNNSpec | LSTMSpec | GRUSpec, Field(discriminator="kind")]
    merge_mode: Literal["concat", "sum", "mul", "ave"] = "concat"

    @field_validator("layer")
    @classmethod
    def _is_plain(cls, layer: RecurrentBase) -> RecurrentBase:
        for field in ("name", "inputs", "stateful"):
            if getattr(layer, field):
                raise ValueError(f"{field} is not for a layer that runs both ways")
        return layer

    @property
    def backward_layer(self) -> RecurrentBase:
        """The copy that runs the other way."""
        return self.layer.model_copy(update={"go_backwards": not self.layer.go_backwards})

    @property
    def keeps_mask(self) -> bool:
        return self.layer.return_sequences

    def output_shape(self, shape: Shape, /) -> Shape:
        *steps, units = self.layer.output_shape(shape)
        return (*steps, 2 * units if self.merge_mode == "concat" else units)

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        return tuple(
            replace(weight, name=f"{way}.{weight.name}")
            for way in ("forward", "backward")
            for weight in self.layer.weights(shape)
        )

    def flops(self, shape: Shape, /) -> int:
        return 2 * self.layer.flops(shape) + math.prod(self.layer.output_shape(shape))

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        one = self.layer.scratch(shape, wants_dx=wants_dx)
        out = math.prod(self.output_shape(shape))
        gradients = {"concat": 0, "sum": 0, "ave": out, "mul": 2 * out}[self.merge_mode]
        forward, back = 2 * one.per_row + out, 2 * one.back_per_row + gradients
        return Scratch(forward, 2 * one.fixed, back, 2 * one.back_fixed, 2 * one.back_parts)


class MaskingSpec(Stepwise):
    """Take a step whose features all are ``mask_value`` for padding: later layers skip it.

    Shape: (steps, features), unchanged.
    """

    kind: Literal["masking"] = "masking"
    mask_value: float = 0.0

    def output_shape(self, shape: Shape, /) -> Shape:
        wants_axes(shape, _SEQUENCE)
        return shape

    def flops(self, shape: Shape, /) -> int:
        return 2 * math.prod(shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        size = math.prod(shape)
        bits = -(-(size + shape[0]) // 4)  # one byte each; a value has four, or eight
        return Scratch(size + bits, back_per_row=wants_dx * size)


class RepeatVectorSpec(LayerBase):
    """The same vector at each of ``n`` steps.  Shape: (features,) -> (n, features)."""

    kind: Literal["repeat_vector"] = "repeat_vector"
    n: int = Field(ge=1, le=1_000_000)

    def output_shape(self, shape: Shape, /) -> Shape:
        wants_axes(shape, ("features",), "put a flatten before it")
        return (self.n, *shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        size = math.prod(shape)
        return Scratch(self.n * size, back_per_row=wants_dx * size)
