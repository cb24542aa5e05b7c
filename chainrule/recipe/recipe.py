"""The recipe: from a dataset's columns to numbers and back, learnt once and kept with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from chainrule.errors import CheckpointError, DataError, SpecError
from chainrule.recipe.choice import choose
from chainrule.recipe.inputs import ArrayInputs, TableInputs, fit_inputs
from chainrule.recipe.split import Split, split_rows
from chainrule.recipe.targets import Target, check_finite, fit_target, present
from chainrule.spec import DataSpec, SplitSpec, parse
from chainrule.spec.base import Document
from chainrule.spec.training import LossName, Task

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

        Raises: SpecError at ``inputs``, ``target``, ``task`` or ``split``.
        """
        inputs, target, column = choose(schema, data)
        usable = present(tensors, schema["kind"], target)
        split = split_rows(usable, data.split, seed)
        train = np.searchsorted(usable, split.train)
        encoded, task, loss = fit_target(tensors[target][usable], train, column, data.task, loss)
        recipe = cls(
            task=task,
            loss=loss,
            seed=seed,
            split=data.split,
            rows={
                "train": len(split.train),
                "validation": len(split.validation),
                "test": len(split.test),
                "dropped": len(tensors[target]) - len(usable),
            },
            inputs=fit_inputs(tensors, schema, inputs, split.train),
            target=encoded,
        )
        names = inputs[0] if schema["kind"] == "arrays" else inputs
        return recipe, data.model_copy(update={"inputs": names, "target": target, "task": task})

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
    def output_units(self) -> int:
        return self.target.units(self.loss)

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
    ) -> tuple[Array, Array]:
        """Return features and targets of some rows (None: all that have a target).

        Features are computed in float64 and rounded once, so that it does not matter who rounds.
        Shapes: x (rows, ...), y as the loss wants it.
        """
        rows = self._usable(tensors) if indices is None else indices
        y = self.target.encode(tensors[self.target.name][rows], self.loss, dtype)
        return self.inputs.encode(tensors, rows, dtype), y

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

        Shapes: raw (rows, units) outputs of the network.
        Raises: DataError at ``[row]``, if an output is not finite.
        """
        return self.target.invert(check_finite(raw), self.loss)

    def _usable(self, tensors: Mapping[str, Array]) -> Array:
        return present(tensors, self.inputs.kind, self.target.name)
