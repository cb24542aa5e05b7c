"""The recipe: from a dataset's columns to numbers and back, learnt once and kept with the model."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from chainrule.errors import CheckpointError, DataError, SpecError
from chainrule.losses import balanced_weights
from chainrule.naming import Values, named, unnamed
from chainrule.recipe.choice import choose
from chainrule.recipe.classes import Part, count_classes, lacking_classes
from chainrule.recipe.columns import Column, dropping
from chainrule.recipe.drawing import Counted, check_weights, draw, sight, usable
from chainrule.recipe.inputs import (
    ArrayInputs,
    Inputs,
    TableInputs,
    check_rows,
    fit_inputs,
    options_of,
    read_arrays,
)
from chainrule.recipe.learning import check_strata, fit_reconstruction, fit_targets
from chainrule.recipe.split import Split, split_rows
from chainrule.recipe.targets import ClassTarget, InputTarget, Label, Learnt, Target, ValueTarget
from chainrule.recipe.windows import Sampling, WindowRecipe
from chainrule.spec import AnySplit, DataSpec, parse, split_columns
from chainrule.spec.base import Document
from chainrule.spec.training.losses import LossName, Task

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chainrule.kernels import Array
    from chainrule.recipe.layout import Layout

__all__ = ["Recipe"]

PARTS: tuple[Part, ...] = ("train", "validation", "test")


class Recipe(Document):
    """All that turns a dataset's tensors or raw rows into features, and raw outputs into answers.

    It is fitted on the training part only. ``rows`` counts the rows of each part, and as
    ``dropped`` those without a target or another value that they need; where there are others,
    ``dropped`` counts them by the first column that lacks one. With a ``window`` samples are
    sequences, and rows that begin none are dropped. ``split_words`` are the categories
    of the columns that the split looks at, by code; ``lacking`` are classes that a part has no row
    of. Of several inputs or outputs what belongs to each is {name: ...}, and the version is 2.
    """

    version: Literal[1, 2] = 1
    task: Task | dict[str, Task]
    loss: LossName | dict[str, LossName]
    seed: int
    split: AnySplit
    split_words: dict[str, list[str]] = Field({}, exclude_if=operator.not_)
    lacking: dict[Part, list[Label]] = Field({}, exclude_if=operator.not_)
    rows: dict[Counted, int]
    dropped: dict[str, int] = Field({}, exclude_if=operator.not_)
    inputs: Inputs | dict[str, Inputs]
    target: Target | dict[str, Target]
    sample_weight: str | None = None
    window: WindowRecipe | None = Field(None, exclude_if=operator.not_)

    @model_validator(mode="after")
    def _belongs_together(self) -> Recipe:
        outputs = [list(one) for one in (self.task, self.loss, self.target) if _is_named(one)]
        if outputs and (len(outputs) < 3 or any(set(one) != set(outputs[0]) for one in outputs)):
            raise ValueError("task, loss and target must be of the same outputs")
        if (self.version == 2) != (bool(outputs) or _is_named(self.inputs)):
            raise ValueError("version 2 is of several inputs or outputs, version 1 of one each")
        return self

    @classmethod
    def fit(  # noqa: PLR0913
        cls,
        tensors: Mapping[str, Array],
        schema: Mapping[str, Any],
        data: DataSpec,
        *,
        seed: int,
        loss: LossName | Mapping[str, LossName] | None = None,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] = ("output",),
    ) -> tuple[Recipe, DataSpec]:
        """Learn a recipe; return it with the request in which what was left open is decided.

        ``inputs`` and ``outputs`` are the network's, by default one each, or inputs as the request
        names arrays. ``loss`` may be of some outputs only.
        Raises: SpecError at ``inputs``, ``target``, ``task``, ``sample_weight``, ``window`` or
        ``split``.
        """
        choice = choose(schema, data, inputs, outputs)
        options = options_of(data, schema["kind"], choice)
        everyone = len(tensors[choice.names[0]])
        targets = [one.name for one in choice.targets.values()]
        is_table = options is not None and schema["kind"] == "table"
        drops = dropping(options, choice.known, choice.names) if options and is_table else []
        looked_at = (choice.known[name] for name in split_columns(data.split))
        words = {one["name"]: one["categories"] for one in looked_at if "categories" in one}
        tasks = data.task if isinstance(data.task, dict) else dict.fromkeys(outputs, data.task)
        losses = loss if isinstance(loss, Mapping) else dict.fromkeys(outputs, loss)
        if data.split.kind == "stratified":
            check_strata(tensors, choice, tasks, losses)
        window = WindowRecipe.fit(tensors, schema, data)
        if window is not None:
            drawn = window.draw(Sampling(tensors, everyone, data.split, seed, targets, drops))
        else:
            if is_table and "forecast" in tasks.values():
                detail = "forecast learns from arrays of sequences, or a table's with data.window"
                raise SpecError.at("task", detail)
            rows = usable(tensors, schema["kind"], [*targets, *drops], everyone)
            drawn = draw(rows, data.split, seed, sight(tensors, words, targets))
        if choice.targets:
            learnt_from = drawn.with_target, drawn.goals.train
            learnt = fit_targets(tensors, choice, tasks, losses, learnt_from)
            if window is not None:
                learnt = {n: window.learnt(one, tasks.get(n)) for n, one in learnt.items()}
            encoded = fit_inputs(tensors, schema, choice, drawn.inputs, options)
        else:
            encoded = fit_inputs(tensors, schema, choice, drawn.inputs, options)
            learnt = {outputs[0]: fit_reconstruction(tensors, encoded, losses.get(outputs[0]))}
        learnt_targets = [one.target for one in learnt.values()]
        if data.sample_weight is not None:
            shapes = [one.shape for one in learnt.values()]
            check_weights(tensors[data.sample_weight], data.sample_weight, drawn, shapes)
        task = unnamed({output: one.task for output, one in learnt.items()})
        recipe = cls(
            version=2 if len(learnt) > 1 or isinstance(choice.inputs, dict) else 1,
            task=task,
            loss=unnamed({output: one.loss for output, one in learnt.items()}),
            seed=seed,
            split=data.split,
            split_words=words,
            lacking=lacking_classes(tensors, data.split, drawn.goals, learnt_targets),
            rows=drawn.counts(everyone),
            dropped=drawn.dropped if set(drawn.dropped) - {*targets} else {},
            inputs=encoded,
            target=unnamed({output: one.target for output, one in learnt.items()}),
            sample_weight=data.sample_weight,
            window=window,
        )
        decided = {**choice.rendered(), "task": task, "preprocessing": options}
        decided["window"] = window and window.window
        return recipe, data.model_copy(update=decided)

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
    def input_shape(self) -> Any:
        """The shape of a sample, of several inputs by name."""
        if isinstance(self.inputs, dict):
            return {name: one.shape for name, one in self.inputs.items()}
        shape = self.inputs.shape
        return shape if self.window is None else (self.window.length, *shape)

    @property
    def output_shape(self) -> Any:
        """What the network gives for a sample, of several outputs by name.

        The last axis is what ``auto`` units become.
        """
        return unnamed({output: one.shape for output, one in self.learnt().items()})

    def learnt(self, outputs: Collection[str] = ("",)) -> dict[str, Learnt]:
        """Return what each output learns; a network's only output is that of ``outputs``."""
        names = self.target if isinstance(self.target, dict) else outputs
        targets, tasks, losses = (named(one, names) for one in (self.target, self.task, self.loss))
        return {name: Learnt(targets[name], tasks[name], losses[name]) for name in names}

    def fits(self, output_shape: Any) -> bool:
        """Tell whether a network's outputs, several by name, can be compared with the targets."""
        learnt = self.learnt()
        return all(learnt[name].fits(one) for name, one in named(output_shape, learnt).items())

    def class_weights(self, given: Mapping[str, float]) -> list[float]:
        """Return weights by label as a list in the order of the classes; left out ones are 1.

        Raises: SpecError at ``class_weights``, if a label is none of the classes.
        """
        return self._classes()[0].weights(given)

    def balanced_weights(self, tensors: Mapping[str, Array]) -> list[float]:
        """Return weights by which the classes of the training rows count alike.

        Raises: SpecError at ``class_weights``, if there are none.
        """
        target, loss = self._classes()
        counts = count_classes(target, loss, tensors[target.name], self._goals(tensors))
        return balanced_weights(counts)

    def _classes(self) -> tuple[ClassTarget, LossName]:
        """Return the target and its loss.  Raises: SpecError, if it is not one of classes."""
        if isinstance(self.target, dict):
            raise SpecError.at("class_weights", "are for a network with one output")
        if not isinstance(self.target, ClassTarget):
            raise SpecError.at("class_weights", f"go with classes, the task is {self.task}")
        return self.target, self.learnt()[""].loss

    @property
    def target_scale(self) -> Any:
        """Mean and standard deviation of a standardised target, of several by name.

        Shapes: (1,) each.
        """
        scales = {output: one.scale for output, one in self.learnt().items()}
        return unnamed(scales) if any(scales.values()) else None

    def indices(self, tensors: Mapping[str, Array]) -> Split:
        """Return each part's row numbers, of sequences those of their first rows.

        Raises: DataError, if it is another dataset.
        """
        if self.window is not None:
            split = self._layout(self.window, tensors).split
        else:
            seen = sight(tensors, self.split_words, self._targets)
            split = split_rows(self._usable(tensors), self.split, self.seed, seen)
        for part in PARTS:
            if len(getattr(split, part)) != self.rows[part]:
                raise DataError.at("", f"another dataset: {part} had {self.rows[part]:,} rows")
        return split

    def input_rows(self, tensors: Mapping[str, Array]) -> Array:
        """Return the numbers of the rows that go in, in any part, ascending."""
        if self.window is not None:
            return self._layout(self.window, tensors).rows()
        return self._usable(tensors)  # each of these is in a part

    def sample_values(self, tensors: Mapping[str, Array]) -> int:
        """Count the numbers of a sample that are made before it is learnt from."""
        found = self._by_input.values()
        return sum(math.prod(one.shape) for one in found if not one.is_by_batch(tensors))

    def window_bytes(self, tensors: Mapping[str, Array], itemsize: int) -> int:
        """Return what the features of all windows take, at so many bytes a number."""
        if self.window is None or isinstance(self.inputs, dict):
            return 0
        layout = self._layout(self.window, tensors)
        return self.window.input_bytes(layout, math.prod(self.inputs.shape) * itemsize)

    def apply(
        self, tensors: Mapping[str, Array], indices: Array | None = None, dtype: str = "float64"
    ) -> tuple[Values, ...]:
        """Return features and targets of some rows (None: all that have a target), and weights.

        The third is there only if the recipe names a ``sample_weight``.
        Sequences of a table's rows are ``Runs``, scaled bytes ``Scaled``: both are read by batch.
        Features are computed in float64 and rounded once, so that it does not matter who rounds.
        Shapes: x (rows, ...), y as the loss wants it, weights (rows, ...); several x or y by name.
        """
        if isinstance(self.inputs, TableInputs) and self.window is not None:
            layout = self._layout(self.window, tensors)
            layout = layout.chosen(layout.heads() if indices is None else indices)
            x: Values = self.window.encode(self.inputs, tensors, layout, dtype)
            rows = layout.goals if self.window.has_steps else layout.goals[:, 0]
        else:
            rows = self._usable(tensors) if indices is None else indices
            x = unnamed({n: one.encode(tensors, rows, dtype) for n, one in self._by_input.items()})
        goals = {}
        for output, (target, _, loss) in self.learnt().items():
            if isinstance(target, InputTarget):
                goals[output] = x
            else:
                goals[output] = target.encode(tensors[target.name][rows], loss, dtype)
        y = unnamed(goals)
        if self.sample_weight is None:
            return x, y
        if rows.ndim > 1:  # a sequence of targets counts as its first one
            rows = rows[:, 0]
        return x, y, tensors[self.sample_weight][rows].astype(dtype)

    def last_values(
        self, tensors: Mapping[str, Array], indices: Array, outputs: Collection[str]
    ) -> dict[str, Array]:
        """Return the numbers to learn of the last rows of windows; a missing one is the mean."""
        layout = self._layout(self.window, tensors) if self.window else None
        rows = indices if layout is None else layout.chosen(indices).last_rows()
        return {
            output: np.nan_to_num(tensors[target.name][rows], nan=target.mean)
            for output, (target, _, _) in self.learnt(outputs).items()
            if isinstance(target, ValueTarget)
        }

    def apply_rows(self, rows: Sequence[Mapping[str, Any]], dtype: str = "float64") -> Values:
        """Return the features of raw rows, the same bits as ``apply`` on the file's.

        Of several inputs {input: features}. With a window it is the latest sequence of each group,
        in order of first appearance.
        Raises: DataError, at ``rows[3].age`` and so on.
        """
        tables = {key: t for key, t in self._by_input.items() if isinstance(t, TableInputs)}
        if not tables:
            detail = f"this model takes arrays of shape {self.input_shape}"
            raise DataError.at("rows", detail)
        check_rows([*tables.values()], rows)
        if self.window is not None:
            return self.window.read_rows(tables[""], rows, dtype)
        return unnamed({key: one.read_rows(rows, dtype) for key, one in tables.items()})

    def apply_inputs(self, values: object, dtype: str = "float64") -> Values:
        """Return an array of raw inputs; of several inputs {input: array}, of {array: values}.

        Raises: DataError at ``inputs`` or ``inputs.left[3]``, stating both shapes.
        """
        arrays = {k: one for k, one in self._by_input.items() if isinstance(one, ArrayInputs)}
        if not arrays:
            detail = f"this model takes rows of a table, with {[*self.columns]}"
            raise DataError.at("inputs", detail)
        if isinstance(self.inputs, dict):
            return unnamed(read_arrays(arrays, values, dtype))
        return arrays[""].read(values, dtype)

    def invert(self, raw: Values) -> dict[str, Any]:
        """Return predictions in the words or units of the training file.

        Of several outputs each entry is {output: ...}.
        Shapes: raw (rows, ...) outputs of the network, several by name.
        Raises: DataError at ``[row]``, if an output is not finite.
        """
        if not isinstance(self.target, dict):
            return self.learnt()[""].invert(raw)
        answers = {output: one.invert(raw[output]) for output, one in self.learnt().items()}
        merged: dict[str, Any] = {}
        for output, answer in answers.items():
            for entry, values in answer.items():
                merged.setdefault(entry, {})[output] = values
        return merged

    @property
    def _by_input(self) -> Mapping[str, TableInputs | ArrayInputs]:
        return self.inputs if isinstance(self.inputs, dict) else {"": self.inputs}

    @property
    def takes_rows(self) -> bool:
        """Whether what goes in are rows of a table, not arrays."""
        return any(isinstance(one, TableInputs) for one in self._by_input.values())

    @property
    def vocabularies(self) -> dict[str, int]:
        """How many whole numbers the inputs take that feed embeddings of categories."""
        found = {key: getattr(one, "vocabulary", None) for key, one in self._by_input.items()}
        return {key: size for key, size in found.items() if size is not None}

    @property
    def columns(self) -> dict[str, Column]:
        """The columns of all inputs by name."""
        tables = [one for one in self._by_input.values() if isinstance(one, TableInputs)]
        return {column.name: column for one in tables for column in one.columns}

    def _layout(self, window: WindowRecipe, tensors: Mapping[str, Array]) -> Layout:
        rows = len(tensors[next(iter(self.columns))])
        asked = (self.split, self.seed, self._targets, self._drops)
        return window.lay_out(Sampling(tensors, rows, *asked))

    def _goals(self, tensors: Mapping[str, Array]) -> Array:
        """Return the rows that hold what training samples learn."""
        if self.window is None:
            return self.indices(tensors).train
        return self._layout(self.window, tensors).of_part(0).goals.ravel()

    def _usable(self, tensors: Mapping[str, Array]) -> Array:
        one = next(iter(self._by_input.values()))
        name = one.name if isinstance(one, ArrayInputs) else one.columns[0].name
        needed = [*self._targets, *self._drops]
        return usable(tensors, one.kind, needed, len(tensors[name]))[0]

    @property
    def _drops(self) -> list[str]:
        return [column.name for column in self.columns.values() if column.drops]

    @property
    def _targets(self) -> list[str]:
        targets = [one.target for one in self.learnt().values()]
        return [target.name for target in targets if not isinstance(target, InputTarget)]


def _is_named(values: object) -> bool:
    return isinstance(values, dict)
