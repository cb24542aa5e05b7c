"""The architecture: a graph of layers as data, and what a job's data decides of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from chainrule.errors import Problem, SpecError
from chainrule.spec.base import Document, parse
from chainrule.spec.layers import DenseSpec, EmbeddingSpec, LayerSpec, Shape

__all__ = ["INPUT", "SHAPE_KEEPING", "ArchitectureSpec", "InputSpec", "complete"]

INPUT = "input"  # the name of an only input
RESHAPING = ("flatten", "reshape")  # kinds that give what they get, in another shape
SHAPE_KEEPING = ("activation", "dropout")  # kinds that give what they get its shape

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-]+$")]


class InputSpec(Document):
    """What goes in: the shape of one sample, the batch axis left out."""

    shape: list[Annotated[int, Field(ge=1, le=10_000_000)]] = Field(min_length=1, max_length=4)


class ArchitectureSpec(Document):
    """A network as data.  ``input`` and the outputs' ``units: auto`` may be left to the job's data.

    A network of several inputs names them in ``inputs``; one of several outputs lists the layers
    that give them in ``outputs``, by default the last.
    """

    name: str = Field("network", min_length=1, max_length=200)
    input: InputSpec | None = None
    inputs: dict[Name, InputSpec] | None = Field(None, min_length=1, max_length=64)
    layers: list[LayerSpec] = Field(min_length=1, max_length=1000)
    outputs: list[str] | None = Field(None, min_length=1, max_length=64)

    @field_validator("inputs")
    @classmethod
    def _are_not_beside_input(
        cls, inputs: dict[str, InputSpec] | None, info: ValidationInfo
    ) -> dict[str, InputSpec] | None:
        if inputs is not None and info.data.get("input") is not None:
            raise ValueError("give input or inputs, not both")
        return inputs

    @property
    def names(self) -> list[str]:
        """Each layer's name: its own, or its kind and a running number from 1."""
        seen: Counter[str] = Counter()
        names = []
        for layer in self.layers:
            seen[layer.kind] += 1
            names.append(layer.name or f"{layer.kind}_{seen[layer.kind]}")
        return names

    @property
    def has_inputs(self) -> bool:
        """Whether the shapes of the inputs are given, not left to the data."""
        return self.input is not None or self.inputs is not None

    @property
    def output_names(self) -> list[str]:
        """The layers whose outputs are the network's."""
        return self.names[-1:] if self.outputs is None else self.outputs

    @property
    def input_shapes(self) -> dict[str, Shape]:
        """The shape of each input by name.  Raises: SpecError, if it is left to the data."""
        if self.inputs is not None:
            return {name: tuple(one.shape) for name, one in self.inputs.items()}
        if self.input is None:
            detail = "is missing: the shape is known only from a job's data"
            raise SpecError(Problem("input", detail))
        return {INPUT: tuple(self.input.shape)}


class _Inputs(Document):
    """What comes of a job's arrays: names of inputs are checked, theirs may be any text."""

    inputs: dict[Name, InputSpec]


def complete(
    spec: ArchitectureSpec,
    input_shape: Shape | Mapping[str, Shape] | None = None,
    output_units: int | Mapping[str, int] | None = None,
    vocabularies: Mapping[str, int] | None = None,
) -> ArchitectureSpec:
    """Fill in what the data decides: the inputs' shapes, and ``auto`` units of the outputs.

    Several shapes are {input: shape}; they make ``inputs`` where the architecture has none.
    ``vocabularies``: how many whole numbers an input has, an only one under no name, for embeddings
    whose ``input_dim`` is ``auto``.
    Raises: SpecError, if a given shape differs from the data's, or ``auto`` stands elsewhere.
    """
    changes: dict[str, Any] = {}
    if input_shape is not None and (spec.input is not None or spec.inputs is not None):
        _check_inputs(spec, input_shape)
    elif isinstance(input_shape, Mapping):
        shapes = {name: {"shape": list(shape)} for name, shape in input_shape.items()}
        changes["inputs"] = parse(_Inputs, {"inputs": shapes}).inputs
    elif input_shape is not None:
        changes["input"] = InputSpec(shape=list(input_shape))
    changes["layers"] = _complete_layers(spec, output_units, vocabularies)
    return spec.model_copy(update=changes)


def _check_inputs(spec: ArchitectureSpec, found: Shape | Mapping[str, Shape]) -> None:
    given = spec.input_shapes
    shapes = found if isinstance(found, Mapping) else dict.fromkeys(given, found)
    if set(given) != set(shapes):
        raise SpecError(Problem("inputs", f"are {list(given)}, the data has {list(shapes)}"))
    for name, shape in shapes.items():
        if given[name] != tuple(shape):
            place = "input.shape" if spec.inputs is None else f"inputs.{name}.shape"
            raise SpecError(Problem(place, f"is {given[name]}, the data has {tuple(shape)}"))


def _complete_layers(
    spec: ArchitectureSpec,
    output_units: int | Mapping[str, int] | None,
    vocabularies: Mapping[str, int] | None,
) -> list[Any]:
    layers, makers = [], _makers(spec)
    for index, (name, layer) in enumerate(zip(spec.names, spec.layers, strict=True)):
        done = layer
        if isinstance(layer, DenseSpec) and layer.units == "auto":
            if name not in makers:
                place = f"layers[{index}].units"
                which = "layers that give an output" if spec.outputs else "the last layer"
                detail = f"only {which} may have auto units (activation and dropout may follow)"
                raise SpecError(Problem(place, detail))
            many = isinstance(output_units, Mapping)
            units = output_units[makers[name]] if many else output_units  # type: ignore[index]
            if units is not None:
                done = layer.model_copy(update={"units": units})
        if (
            isinstance(layer, EmbeddingSpec)
            and layer.input_dim == "auto"
            and vocabularies is not None
        ):
            done = layer.model_copy(update={"input_dim": _vocabulary(spec, index, vocabularies)})
        layers.append(done)
    return layers


def _vocabulary(spec: ArchitectureSpec, index: int, vocabularies: Mapping[str, int]) -> int:
    """Return how many whole numbers the input of an embedding has.  Raises: SpecError."""
    names = spec.names
    place, source = index, ""
    while place in range(len(names)) and (place == index or spec.layers[place].kind in RESHAPING):
        given = spec.layers[place].inputs
        source = given[0] if given else names[place - 1] if place else ""
        place = names.index(source) if source in names else -1
    size = vocabularies.get(source, vocabularies.get("") if place < 0 else None)
    if size is None:
        detail = 'auto is for an input that is one column with the encoding "embedding"'
        raise SpecError(Problem(f"layers[{index}].input_dim", detail))
    return size


def _makers(spec: ArchitectureSpec) -> dict[str, str]:
    """Return {layer: output} of the layers that give an output its shape, and of those after."""
    names = spec.names
    place = {name: index for index, name in enumerate(names)}
    found: dict[str, str] = {}
    for output in spec.output_names:
        name = output
        while name in place and name not in found:
            found[name] = output
            layer, before = spec.layers[place[name]], names[max(place[name] - 1, 0)]
            if layer.kind in SHAPE_KEEPING:
                name = layer.inputs[0] if layer.inputs else before
    return found | {output: output for output in spec.output_names}
