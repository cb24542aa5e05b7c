"""The network: an architecture and a seed make a vector of parameters and layers that view it."""

from __future__ import annotations

import importlib
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ShapeError, SpecError
from chainrule.graph import Graph
from chainrule.initializers import initialize
from chainrule.layers import LAYERS, Layer, check_shape, check_vocabularies
from chainrule.losses import Objective
from chainrule.naming import Values, bare, listed, named, unnamed
from chainrule.spec import (
    ArchitectureSpec,
    forward_scratch,
    nodes,
    parse,
    step_values,
    vocabularies,
)
from chainrule.streams import generator
from chainrule.tape import Array, Tape, aligned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike

__all__ = ["BLOCK_BYTES", "EVALUATION_ROWS", "Network", "checked_batch_size"]

BLOCK_BYTES = 64 << 20  # of scratch memory in one forward pass: bounds the memory of a prediction
_BLOCK_ROWS = 1024
EVALUATION_ROWS = 256  # of one block, if memory allows: small batches would only cost time


class _Views(dict[str, Array]):
    """Arrays by name, over which layers were built: written to, also by ``+=``, never replaced."""

    def __setitem__(self, name: str, array: Array) -> None:
        _check_same(array, self.get(name), f"[{name!r}]")


class Network:
    """A network with its parameters.

    ``flat`` is the vector of all parameters, in the order of the layers; ``parameters`` names its
    views, as ``dense_1.kernel``. Either may be written to, never replaced. ``state`` is the vector
    of what training moves without gradients, such as moving means, and ``states`` names its views.
    ``vocabularies`` names the inputs of whole numbers, and how many of these there are.
    Where there are several inputs or outputs, the values of all of them are {name: array}.
    A copy, by ``copy`` or ``pickle``, is a network of its own with the same numbers.
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
        shapes = {node.name: node.output_shape for node in self.nodes}
        self.input_shapes = self.spec.input_shapes
        self.vocabularies = vocabularies(self.nodes)
        self.output_shapes = {name: shapes[name] for name in self.spec.output_names}
        self._flat = aligned(sum(node.parameters for node in self.nodes), self.dtype)
        self._state = aligned(sum(node.state for node in self.nodes), self.dtype)
        parameters: dict[str, Array] = {}
        states: dict[str, Array] = {}
        owned = self._cut(parameters, states)
        self.parameters, self.states = _Views(parameters), _Views(states)
        self.layers: list[Layer] = [
            LAYERS[node.spec.kind].build(node.spec, node.index, owned[node.shares or node.name])
            for node in self.nodes
        ]
        self._forward_scratch = forward_scratch(self.nodes)
        self._inputs, self._outputs = [*self.input_shapes], [*self.output_shapes]
        self._graph = Graph(self.nodes, self.layers, self._inputs, self._outputs)

    @property
    def flat(self) -> Array:
        """The vector of all parameters."""
        return self._flat

    @flat.setter
    def flat(self, vector: Array) -> None:
        _check_same(vector, self._flat, "flat")

    @property
    def state(self) -> Array:
        """The vector of what training moves without gradients."""
        return self._state

    @state.setter
    def state(self, vector: Array) -> None:
        _check_same(vector, self._state, "state")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the first input, for most networks the only one."""
        return next(iter(self.input_shapes.values()))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the first output, for most networks the only one."""
        return next(iter(self.output_shapes.values()))

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of a view would be no view: the layers of a copy are built over its own vectors.
        made = self.spec, self.seed, self.dtype.name
        return _filled, (type(self), made, self.flat, self.state)

    def _cut(
        self, parameters: dict[str, Array], states: dict[str, Array]
    ) -> dict[str, dict[str, Array]]:
        """Cut each layer's views from the flat vectors, fill them, and note their names."""
        owned: dict[str, dict[str, Array]] = {}
        offsets = {True: 0, False: 0}
        for node in self.nodes:
            owned[node.name] = {}
            for weight in node.weights:
                offset = offsets[weight.trainable]
                vector = self.flat if weight.trainable else self.state
                view = vector[offset : offset + weight.size].reshape(weight.shape)
                # The tensor's number, not the layer's: a dropout put in between changes no weight.
                rng = generator(self.seed, "initialize", len(parameters))
                initialize(weight.initializer, view, rng)
                names = parameters if weight.trainable else states
                names[f"{node.name}.{weight.name}"] = owned[node.name][weight.name] = view
                offsets[weight.trainable] += weight.size
        return owned

    def tape(self, *, training: bool = False, seed: int = 0, shard: int = 0) -> Tape:
        """Make a tape for this network's forward and backward passes."""
        parameters = self.parameters.values()
        return Tape(parameters, dtype=self.dtype, training=training, seed=seed, shard=shard)

    def forward(
        self, x: Values, tape: Tape, *, inputs: bool = False
    ) -> tuple[Values, Callable[[Values], Values]]:
        """Run the layers; ``inputs`` says that the gradient in x is wanted of the backward.

        The result lives in the tape's memory until its next step. A sequence may be shorter than
        the architecture says where every layer takes it. ``tape.masks`` holds the outputs' masks.
        Shapes: x (batch, *input_shape) -> (batch, *output_shape), or {name: array} of several.
        Raises: ShapeError.
        """
        xs = listed(x, self._inputs)
        for name, values in zip(self._inputs, xs, strict=True):
            shape = tape.window_of(self.input_shapes[name])
            if values.shape[1:] != shape:
                check_shape(values, ("rows", *shape), owner=self._owner(name))
        if tape.is_new:
            comes_back = tape.training or inputs
            tape.reserve(self._scratch_bytes(len(xs[0]), comes_back=comes_back))
        ys, back = self._graph.forward(xs, tape, inputs=inputs)

        def backward(dy: Values) -> Values:
            return bare(back(listed(dy, self._outputs)), self._inputs)

        return bare(ys, self._outputs), backward

    def block_rows(self, most: int = _BLOCK_ROWS) -> int:
        """Return how many rows to run forward at once: ``most``, or fewer where layers are wide."""
        row_bytes = self.dtype.itemsize * max(self._forward_scratch.per_row, 1)
        return max(1, min(most, BLOCK_BYTES // row_bytes))

    def predict(
        self, x: ArrayLike | Mapping[str, ArrayLike], batch_size: int | None = None
    ) -> Values:
        """Return the raw outputs of the last layer, computed ``batch_size`` rows at a time.

        Shapes: x (rows, *input_shape) -> (rows, *output_shape), or {name: array} of several.
        Raises: ShapeError or DataError, as ``checked``; SpecError, if the batch size is no whole
        number from 1.
        """
        size = self.block_rows() if batch_size is None else checked_batch_size(batch_size)
        values = self.checked(x)
        rows = len(next(iter(values.values())))
        results = {
            name: np.empty((rows, *shape), self.dtype) for name, shape in self.output_shapes.items()
        }
        tape = Tape(dtype=self.dtype)
        with np.errstate(all="ignore"):
            for start in range(0, rows, size):
                tape.begin(start)
                block = {
                    name: np.ascontiguousarray(array[start : start + size], self.dtype)
                    for name, array in values.items()
                }
                ys = named(self.forward(unnamed(block), tape)[0], list(results))
                for name, result in results.items():
                    result[start : start + size] = ys[name]
        return unnamed(results)

    def checked(self, x: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Return the inputs by name.

        Raises: ShapeError, if one is missing, has another shape, or another number of rows;
        DataError at ``[row]``, if an embedding is fed anything but its whole numbers.
        """
        given = named(x, list(self.input_shapes))
        values = {name: np.asarray(array) for name, array in given.items()}
        for name, shape in self.input_shapes.items():
            check_shape(values[name], ("rows", *shape), owner=self._owner(name))
        rows = {name: len(array) for name, array in values.items()}
        if len(set(rows.values())) > 1:
            raise ShapeError(f"the inputs have different numbers of rows: {rows}")
        check_vocabularies(values, self.vocabularies)
        return values

    def gradients(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
        target: ArrayLike | Mapping[str, ArrayLike],
        *,
        loss: object,
        training: bool = False,
    ) -> tuple[float, dict[str, Any]]:
        """Return the loss of a batch, and its gradient in each parameter and in ``inputs``.

        ``loss`` is a name or a document; of several outputs a mapping with one for each. The
        gradient in several inputs is {name: array}.
        Raises: ShapeError; DataError, if the target does not fit the loss; SpecError.
        """
        objective = Objective(self.output_shapes, loss)
        values = {
            name: np.ascontiguousarray(array, self.dtype) for name, array in self.checked(x).items()
        }
        goals = objective.prepare(target, self.dtype, len(next(iter(values.values()))))
        tape = self.tape(training=training, seed=self.seed)
        tape.begin(0)
        with np.errstate(all="ignore"):
            y, backward = self.forward(unnamed(values), tape, inputs=True)
            value, dy = objective(y, goals, tape)
            dx = backward(dy)
        found = {name: tape.gradient(p).view for name, p in self.parameters.items()}
        return float(value), {**found, "inputs": dx}

    def _scratch_bytes(self, rows: int, *, comes_back: bool) -> int:
        """Estimate the scratch memory of a step, or of a forward pass alone; some is to spare."""
        if comes_back:
            values = step_values(self.nodes, self._outputs, rows)
        else:
            values = rows * self._forward_scratch.per_row + self._forward_scratch.fixed
        return self.dtype.itemsize * values * 9 // 8

    def _owner(self, name: str) -> str:
        return "the network" if len(self._inputs) == 1 else f"the network's input {name!r}"

    def save(self, path: str | Path) -> None:
        """Write the bundle of this network, without a recipe."""
        # The bundle stands above the network, which must not need it: looked up when called.
        importlib.import_module("chainrule.bundle").save(self, path)


def _check_same(given: object, own: object, name: str) -> None:
    if given is not own:
        raise TypeError(f"no layer would see another array: write into it, {name}[...] = values")


def checked_batch_size(given: object) -> int:
    """Return how many rows to run at once.  Raises: SpecError, if it is no whole number from 1."""
    if not isinstance(given, Integral) or given < 1:
        raise SpecError.at("batch_size", f"must be a whole number >= 1, got {given!r}")
    return int(given)


def _filled(kind: type[Network], made: tuple[Any, ...], flat: Array, state: Array) -> Network:
    """Make a network and give it its numbers."""
    net = kind(*made)
    np.copyto(net.flat, flat)
    np.copyto(net.state, state)
    return net
