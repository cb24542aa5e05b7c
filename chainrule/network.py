"""The network: an architecture and a seed make a vector of parameters and layers that view it."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.initializers import initialize
from chainrule.layers import LAYERS, Layer, check_shape
from chainrule.losses import Objective
from chainrule.spec import ArchitectureSpec, Node, nodes, parse
from chainrule.streams import generator
from chainrule.tape import Array, Backward, Tape, aligned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike

__all__ = ["BLOCK_BYTES", "EVALUATION_ROWS", "Network"]

BLOCK_BYTES = 64 << 20  # of activations in one forward pass: bounds the memory of a prediction
_BLOCK_ROWS = 1024
EVALUATION_ROWS = 256  # of one block, if memory allows: small batches would only cost time


class Network:
    """A network with its parameters.

    ``flat`` is the vector of all parameters, in the order of the layers; ``parameters`` names its
    views, as ``dense_1.kernel``. Either may be written to, never replaced. ``state`` is the vector
    of what training moves without gradients.
    Raises: SpecError, if the architecture does not add up or the dtype is not known.
    """

    def __init__(
        self,
        spec: ArchitectureSpec | Mapping[str, Any] | str | bytes,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise SpecError.at("dtype", f"must be 'float32' or 'float64', got {dtype!r}")
        self.spec = parse(ArchitectureSpec, spec)
        self.seed = seed
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.nodes = nodes(self.spec)
        self.input_shape = self.nodes[0].input_shape
        self.output_shape = self.nodes[-1].output_shape
        self.flat = aligned(sum(node.parameters for node in self.nodes), self.dtype)
        self.state = aligned(0, self.dtype)
        self.parameters: dict[str, Array] = {}
        self.layers: list[Layer] = []
        offset = 0
        for node in self.nodes:
            own = self._own(node, offset)
            self.layers.append(LAYERS[node.spec.kind].build(node.spec, node.index, own))
            offset += node.parameters
        self._first_trainable = next((n.index for n in self.nodes if n.weights), len(self.layers))

    def _own(self, node: Node, offset: int) -> dict[str, Array]:
        """Cut a layer's views from the flat vector and fill them."""
        own: dict[str, Array] = {}
        for weight in node.weights:
            view = self.flat[offset : offset + weight.size].reshape(weight.shape)
            # The tensor's number, not the layer's: a dropout put in between changes no weight.
            rng = generator(self.seed, "initialize", len(self.parameters))
            initialize(weight.initializer, view, rng)
            self.parameters[f"{node.name}.{weight.name}"] = own[weight.name] = view
            offset += weight.size
        return own

    def tape(self, *, training: bool = False, seed: int = 0) -> Tape:
        """Make a tape for this network's forward and backward passes."""
        return Tape(self.parameters.values(), dtype=self.dtype, training=training, seed=seed)

    def forward(self, x: Array, tape: Tape, *, inputs: bool = False) -> tuple[Array, Backward]:
        """Run the layers; ``inputs`` says that the gradient in x is wanted of the backward.

        The result lives in the tape's memory until its next step.
        Shapes: x (batch, *input_shape) -> (batch, *output_shape).
        Raises: ShapeError.
        """
        check_shape(x, ("rows", *self.input_shape), owner="the network")
        lowest = 0 if inputs else self._first_trainable
        backwards: list[Backward] = []
        for index, layer in enumerate(self.layers):
            tape.wants_dx = index > lowest or inputs
            x, back = layer.forward(x, tape)
            if index >= lowest:
                backwards.append(back)

        def backward(dy: Array) -> Array:
            for back in reversed(backwards):
                dy = back(dy)
            return dy

        return x, backward

    def block_rows(self, most: int = _BLOCK_ROWS) -> int:
        """Return how many rows to run forward at once: ``most``, or fewer where layers are wide."""
        row_bytes = self.dtype.itemsize * sum(math.prod(node.output_shape) for node in self.nodes)
        return max(1, min(most, BLOCK_BYTES // row_bytes))

    def predict(self, x: ArrayLike, batch_size: int | None = None) -> Array:
        """Return the raw outputs of the last layer, computed ``batch_size`` rows at a time.

        Shapes: x (rows, *input_shape) -> (rows, *output_shape).
        Raises: ShapeError; SpecError, if the batch size is no whole number from 1.
        """
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise SpecError.at("batch_size", f"must be a whole number >= 1, got {batch_size!r}")
        values = np.asarray(x)
        check_shape(values, ("rows", *self.input_shape), owner="the network")
        result = np.empty((len(values), *self.output_shape), self.dtype)
        size = batch_size or self.block_rows()
        tape = Tape(dtype=self.dtype)
        with np.errstate(all="ignore"):
            for start in range(0, len(values), size):
                tape.begin(start)
                block = np.ascontiguousarray(values[start : start + size], self.dtype)
                result[start : start + size] = self.forward(block, tape)[0]
        return result

    def gradients(
        self,
        x: ArrayLike,
        target: ArrayLike | Mapping[str, ArrayLike],
        *,
        loss: object,
        training: bool = False,
    ) -> tuple[float, dict[str, Any]]:
        """Return the loss of a batch, and its gradient in each parameter and in ``inputs``.

        ``loss`` is a name or a document; of several outputs a mapping with one for each.
        Raises: ShapeError; DataError, if the target does not fit the loss; SpecError.
        """
        shapes = getattr(self, "output_shapes", {"output": self.output_shape})
        objective = Objective(shapes, loss)
        values = np.ascontiguousarray(x, self.dtype)
        goals = objective.prepare(target, self.dtype, len(values))
        tape = self.tape(training=training, seed=self.seed)
        tape.begin(0)
        with np.errstate(all="ignore"):
            y, backward = self.forward(values, tape, inputs=True)
            value, dy = objective(y, goals, tape)
            dx = backward(dy)
        found = {name: tape.gradient(p).view for name, p in self.parameters.items()}
        return value, {**found, "inputs": dx}

    def save(self, path: str | Path) -> None:
        """Write the bundle of this network, without a recipe."""
        # The bundle stands above the network, which must not need it: looked up when called.
        importlib.import_module("chainrule.bundle").save(self, path)
