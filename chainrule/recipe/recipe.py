"""The recipe: from a dataset's columns to numbers and back, learnt once and kept with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from chainrule.errors import CheckpointError, DataError, SpecError
from chainrule.recipe.choice import choose
from chainrule.recipe.inputs import ArrayInputs, TableInputs, fit_inputs
from chainrule.recipe.learning import fit_reconstruction, fit_target
from chainrule.recipe.split import Split, split_rows
from chainrule.recipe.targets import ClassTarget, InputTarget, Target, check_finite, present
from chainrule.recipe.values import listed, shown
from chainrule.spec import DataSpec, SplitSpec, parse
from chainrule.spec.base import Document
from chainrule.spec.training.losses import LossName, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.kernels import Array

__all__ = ["Recipe"]


class Recipe(Document):
    """All that turns a dataset's tensors or raw rows into features, and raw outputs into answers.

    It is fitted on the training part only. ``rows`` counts the rows of each part, and those without
    a target as ``dropped``.
    """

    version: Literal[1] = 1
    task: Task
    loss: LossName
    seed: int
    split: SplitSpec
    rows: dict[Literal["train", "validation", "test", "dropped"], int]
    inputs: Annotated[TableInputs | ArrayInputs, Field(discriminator="kind")]
    target: Target
    sample_weight: str | None = None

    @classmethod
    def fit(
        cls,
        tensors: Mapping[str, Array],
        schema: Mapping[str, Any],
        data: DataSpec,
        *,
        seed: int,
        loss: LossName | None = None,
    ) -> tuple[Recipe, DataSpec]:
        """Learn a recipe; return it with the request in which what was left open is decided.

        Raises: SpecError at ``inputs``, ``target``, ``task``, ``sample_weight`` or ``split``.
        """
        names, target, column = choose(schema, data)
        everyone = np.arange(len(tensors[names[0]]))
        usable = present(tensors, schema["kind"], target) if target else everyone
        split = split_rows(usable, data.split, seed)
        encoded: Target
        if target is None:
            inputs = fit_inputs(tensors, schema, names, split.train)
            task: Task = "reconstruction"
            encoded, loss = fit_reconstruction(tensors, inputs, loss)
        else:
            train, values = np.searchsorted(usable, split.train), tensors[target][usable]
            encoded, task, loss = fit_target(values, train, column, data.task, loss)
            inputs = fit_inputs(tensors, schema, names, split.train)
        if data.sample_weight is not None:
            _check_weights(tensors[data.sample_weight][usable], data.sample_weight)
        recipe = cls(
            task=task,
            loss=loss,
            seed=seed,
            split=data.split,
            rows={
                "train": len(split.train),
                "validation": len(split.validation),
                "test": len(split.test),
                "dropped": len(everyone) - len(usable),
            },
            inputs=inputs,
            target=encoded,
            sample_weight=data.sample_weight,
        )
        chosen = names[0] if schema["kind"] == "arrays" else names
        return recipe, data.model_copy(update={"inputs": chosen, "target": target, "task": task})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Recipe:
        """Read what ``to_json`` returned, exactly.  Raises: CheckpointError."""
        try:
            return parse(cls, document)
        except SpecError as error:
            raise CheckpointError(f"not a recipe: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; every float survives the way through text."""
        return self.render()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.inputs.shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """What the network gives for a sample; its last axis is what ``auto`` units become."""
        return self.target.shape(self.loss)

    def fits(self, output_shape: tuple[int, ...]) -> bool:
        """Tell whether a network's outputs can be compared with the target."""
        return self.target.fits(output_shape, self.loss)

    def class_weights(self, given: Mapping[str, float]) -> list[float]:
        """Return weights by label as a list in the order of the classes; left out ones are 1.

        Raises: SpecError at ``class_weights``, if a label is none of the classes.
        """
        if not isinstance(self.target, ClassTarget):
            raise SpecError.at("class_weights", f"go with classes, the task is {self.task}")
        numbers = {_label(one): number for number, one in enumerate(self.target.classes)}
        weights = [1.0] * len(numbers)
        for label, weight in given.items():
            if label not in numbers:
                detail = f"there is no class {shown(label)}; the classes are {listed([*numbers])}"
                raise SpecError.at("class_weights", detail)
            weights[numbers[label]] = weight
        return weights

    @property
    def target_scale(self) -> tuple[Array, Array] | None:
        """Mean and standard deviation of a standardised target.  Shapes: (1,) each."""
        if self.target.kind != "values" or (self.target.mean, self.target.std) == (0.0, 1.0):
            return None
        return np.array([self.target.mean]), np.array([self.target.std])

    def indices(self, tensors: Mapping[str, Array]) -> Split:
        """Return each part's row numbers.  Raises: DataError, if it is another dataset."""
        split = split_rows(self._usable(tensors), self.split, self.seed)
        for part in ("train", "validation", "test"):
            if len(getattr(split, part)) != self.rows[part]:
                raise DataError.at("", f"another dataset: {part} had {self.rows[part]:,} rows")
        return split

    def apply(
        self, tensors: Mapping[str, Array], indices: Array | None = None, dtype: str = "float64"
    ) -> tuple[Array, ...]:
        """Return features and targets of some rows (None: all that have a target), and weights.

        The third is there only if the recipe names a ``sample_weight``.
        Features are computed in float64 and rounded once, so that it does not matter who rounds.
        Shapes: x (rows, ...), y as the loss wants it, weights (rows, ...).
        """
        rows = self._usable(tensors) if indices is None else indices
        x = self.inputs.encode(tensors, rows, dtype)
        if isinstance(self.target, InputTarget):
            y = x
        else:
            y = self.target.encode(tensors[self.target.name][rows], self.loss, dtype)
        if self.sample_weight is None:
            return x, y
        return x, y, tensors[self.sample_weight][rows].astype(dtype)

    def apply_rows(self, rows: Sequence[Mapping[str, Any]], dtype: str = "float64") -> Array:
        """Return the features of raw rows, the same bits as ``apply`` on the file's.

        Raises: DataError, at ``rows[3].age`` and so on.
        """
        if not isinstance(self.inputs, TableInputs):
            raise DataError.at("rows", f"this model takes arrays of shape {self.input_shape}")
        return self.inputs.read_rows(rows, dtype)

    def apply_inputs(self, values: object, dtype: str = "float64") -> Array:
        """Return an array of raw inputs.  Raises: DataError at ``inputs``, stating both shapes."""
        if not isinstance(self.inputs, ArrayInputs):
            names = [column.name for column in self.inputs.columns]
            raise DataError.at("inputs", f"this model takes rows of a table, with {names}")
        return self.inputs.read(values, dtype)

    def invert(self, raw: Array) -> dict[str, Any]:
        """Return predictions in the words or units of the training file.

        Shapes: raw (rows, ...) outputs of the network.
        Raises: DataError at ``[row]``, if an output is not finite.
        """
        return self.target.invert(check_finite(raw), self.loss)

    def _usable(self, tensors: Mapping[str, Array]) -> Array:
        if isinstance(self.target, InputTarget):
            of = self.inputs
            name = of.name if isinstance(of, ArrayInputs) else of.columns[0].name
            return np.arange(len(tensors[name]))
        return present(tensors, self.inputs.kind, self.target.name)


def _check_weights(values: Array, name: str) -> None:
    """Raise SpecError, if the weights of the rows that are learnt from are not all good."""
    if values.dtype.kind not in "fiub" or not (np.isfinite(values).all() and values.min() >= 0):
        detail = f"{name!r} must hold a finite number >= 0 in each row that has a target"
        raise SpecError.at("sample_weight", detail)


def _label(one: float | str) -> str:
    """Return a class as a document's key: 1.0 is ``1`` too."""
    return f"{one:g}" if isinstance(one, float) and one.is_integer() else str(one)
