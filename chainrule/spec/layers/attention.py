"""Attention: every step of a sequence looks at every step of another, or of its own."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.layers.base import MergeBase, Scratch, Shape, Weight, wants_axes
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)

__all__ = ["MultiHeadAttentionSpec"]

Width = Annotated[int, Field(ge=1, le=1_000_000)]


class MultiHeadAttentionSpec(MergeBase):
    """Each step of the query as a mixture of the value's steps, by how alike query and key are.

    Inputs are query, value and key; without a key it is the value, without both the query, which is
    self-attention. ``use_causal_mask`` hides later steps from earlier ones.
    Shape: the query's, (steps, features).
    """

    least_inputs: ClassVar[int] = 1
    most_inputs: ClassVar[int] = 3

    kind: Literal["multi_head_attention"] = "multi_head_attention"
    num_heads: Annotated[int, Field(ge=1, le=1024)]
    key_dim: Width
    value_dim: Width | None = None
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    use_bias: bool = True
    use_causal_mask: bool = False
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"

    @property
    def any_length(self) -> bool:
        return False  # a window would not see the others

    @property
    def width(self) -> int:
        """How many values a head reads of each step."""
        return self.key_dim if self.value_dim is None else self.value_dim

    def output_shape(self, /, *shapes: Shape) -> Shape:
        for shape in shapes:
            wants_axes(shape, ("steps", "features"))
        query, value, key = _roles(shapes)
        if value[0] != key[0]:
            detail = f"wants as many steps of values as of keys, got {value} and {key}"
            raise SpecError(Problem("inputs", detail))
        return query

    def weights(self, /, *shapes: Shape) -> tuple[Weight, ...]:
        query, value, key = _roles(shapes)
        heads, features = self.num_heads, query[-1]
        kernels = {
            "query": (features, heads, self.key_dim),
            "key": (key[-1], heads, self.key_dim),
            "value": (value[-1], heads, self.width),
            "attention_output": (heads, self.width, features),
        }
        found = []
        for name, shape in kernels.items():
            found.append(Weight(f"{name}.kernel", shape, self.kernel_initializer))
            if self.use_bias:
                bias = shape[-1:] if name == "attention_output" else shape[1:]
                found.append(Weight(f"{name}.bias", bias, self.bias_initializer))
        return tuple(found)

    def flops(self, /, *shapes: Shape) -> int:
        query, value, key = _roles(shapes)
        pairs = query[0] * value[0]
        projected = math.prod(query) * (self.key_dim + self.width)
        projected += math.prod(key) * self.key_dim + math.prod(value) * self.width
        mixed = pairs * (2 * self.key_dim + 5 + 2 * self.width)
        return self.num_heads * (2 * projected + mixed)

    def scratch(self, /, *shapes: Shape, wants_dx: bool) -> Scratch:
        query, value, key = _roles(shapes)
        scores = query[0] * value[0]
        # Queries, keys, values, mixtures, each with its gradient; shares, and what dropout draws.
        common = self.num_heads * ((query[0] + key[0]) * self.key_dim)
        common += self.num_heads * ((query[0] + value[0]) * self.width)
        forward = common + self.num_heads * (3 if self.dropout else 1) * scores + math.prod(query)
        back = common + wants_dx * sum(map(math.prod, (query, value, key)))
        return Scratch(forward, 2 * self.num_heads * scores, back, back_parts=4)


def _roles(shapes: tuple[Shape, ...]) -> tuple[Shape, Shape, Shape]:
    """Return the shapes of query, value and key."""
    query, value = shapes[0], shapes[min(1, len(shapes) - 1)]
    return query, value, shapes[-1] if len(shapes) > 2 else value
