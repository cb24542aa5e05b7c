"""What a converter writes with: operators and tensors by name, still plain data, not protobuf."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike

    from chainrule.kernels import Array
    from chainrule.spec import Node

__all__ = [
    "BOOL",
    "DOUBLE",
    "FLOAT",
    "INT32",
    "INT64",
    "STRING",
    "Body",
    "Layer",
    "Operator",
    "Writer",
]

FLOAT, INT32, INT64, STRING, BOOL, DOUBLE = 1, 6, 7, 8, 9, 11  # onnx.TensorProto's numbers


@dataclass
class Operator:
    """One node of an ONNX graph: its type, and the names of the values that it reads and writes."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    @property
    def reads(self) -> list[str]:
        """What it needs, and what any graph within it does."""
        bodies = [one for one in self.attributes.values() if isinstance(one, Body)]
        return [*self.inputs, *(name for body in bodies for name in body.reads)]


@dataclass
class Body:
    """A graph within an operator, such as a step of a loop; it sees the tensors outside.

    ``inputs``: their types by name.  All outputs are floats.
    """

    operators: list[Operator]
    inputs: dict[str, int]
    outputs: list[str]

    @property
    def reads(self) -> list[str]:
        return [name for operator in self.operators for name in operator.reads]


@dataclass
class Writer:
    """The graph so far: its operators, and its constants by name.

    ``first``: the channels-first twins of values.  ``scope``: what sets the names of a body apart.
    """

    operators: list[Operator] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    scope: str = ""

    def rename(self, old: str, new: str) -> None:
        """Call the output of an operator otherwise, wherever it is read."""
        for operator in self.operators:
            for names in (operator.inputs, operator.outputs):
                names[:] = [new if name == old else name for name in names]

    def prune(self, outputs: list[str]) -> None:
        """Drop what no output needs, such as a turned image that nobody looked at."""
        needed, kept = set(outputs), []
        for operator in reversed(self.operators):
            if needed.intersection(operator.outputs):
                needed.update(operator.reads)
                kept.append(operator)
        self.operators = kept[::-1]
        self.tensors = {name: array for name, array in self.tensors.items() if name in needed}


@dataclass
class Layer:
    """One layer being written: what it is, its tensors by their names within it, and its mask.

    ``mask`` is the name of a (batch, steps) boolean value, None where no step is padding; a kind
    that makes one sets it. ``source_masks`` are those of each of its inputs.
    """

    node: Node
    own: Mapping[str, Array]
    writer: Writer
    mask: str | None = None
    source_masks: list[str | None] = field(default_factory=list)

    @property
    def spec(self) -> Any:
        return self.node.spec

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Write an operator and return the name of its output, of several as a list.

        An input that is left out is an empty name.
        """
        base = self.op_name(kind)
        names = [base] if outputs == 1 else [f"{base}.{place}" for place in range(outputs)]
        self.writer.operators.append(Operator(kind, list(inputs), names, attributes))
        return names[0] if outputs == 1 else names

    def op_name(self, kind: str) -> str:
        """Return what the next operator is called."""
        return f"{self.node.name}/{self.writer.scope}{kind}_{len(self.writer.operators) + 1}"

    def inside(self) -> Layer:
        """Return the same layer with a graph of its own, for the body of the next operator."""
        scope = f"{self.writer.scope}{len(self.writer.operators) + 1}/"
        return Layer(self.node, self.own, Writer(tensors=self.writer.tensors, scope=scope))

    def constant(self, value: ArrayLike, dtype: str = "float32") -> str:
        """Write a constant and return its name; equal ones are one."""
        array = np.asarray(value, dtype)
        name = f"/{dtype}{list(array.shape)}:{','.join(map(str, array.ravel().tolist()))}"
        return self._tensor(name, array)

    def weight(self, name: str, change: Callable[[Array], Array] | None = None) -> str:
        """Write a tensor of the layer, changed to ONNX's layout, and return its name."""
        array = self.own[name] if change is None else change(self.own[name])
        return self.derived(name, array)

    def derived(self, name: str, array: Array) -> str:
        """Write a tensor made of the layer's own; a layer that shares them makes the same."""
        return self._tensor(f"{self.node.shares or self.node.name}.{name}", array)

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        """Give each row another shape.  0 stands for the batch, as it comes in."""
        return str(self.op("Reshape", x, self.constant([0, *shape], "int64")))

    def channels_first(self, x: str) -> str:
        """Return (batch, ..., channels) as (batch, channels, ...), which may be there already."""
        first = self.writer.first
        if x not in first:
            rank = len(self.node.input_shape) + 1
            first[x] = self.op("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])
        return first[x]

    def channels_last(self, x: str) -> str:
        """Return (batch, channels, ...) as (batch, ..., channels), and remember what it was."""
        rank = len(self.node.output_shape) + 1
        y = str(self.op("Transpose", x, perm=[0, *range(2, rank), 1]))
        self.writer.first[y] = x
        return y

    def _tensor(self, name: str, array: Array) -> str:
        kept = array.astype(np.float32) if array.dtype.kind == "f" else array
        self.writer.tensors.setdefault(name, np.ascontiguousarray(kept))
        return name
