"""The recipe of a fold: the very features of the whole, their statistics those of its own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.recipe.columns import refit_column
from chainrule.recipe.columns.number import moments
from chainrule.recipe.gathering import Present
from chainrule.recipe.inputs import TableInputs
from chainrule.recipe.scaled import fit_scale
from chainrule.recipe.targets import ValueTarget
from chainrule.spec import PreprocessingSpec, stage_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chainrule.kernels import Array
    from chainrule.recipe.inputs import ArrayInputs
    from chainrule.recipe.recipe import Recipe
    from chainrule.recipe.split import Split
    from chainrule.recipe.targets import Learnt, Target

__all__ = ["fold_recipe"]


def fold_recipe(
    recipe: Recipe,
    tensors: Mapping[str, Array],
    preprocessing: PreprocessingSpec | None,
    fold: int,
) -> tuple[Recipe, Split]:
    """Return the recipe and the rows of a fold, counted from 1, of one whose split is by folds.

    Means, scales and what stands for missing values are learnt from the fold's training rows alone.
    Which features, categories and classes there are is as in the whole, so that each fold's network
    has the shape of the one that is kept.
    """
    whole = recipe.rows["train"]
    train = stage_rows(recipe.split, whole)[fold - 1]
    split = recipe.split.model_copy(update={"fold": fold})
    rows = recipe.rows | {"train": train, "validation": whole - train}
    recipe = recipe.model_copy(update={"split": split, "rows": rows})
    dealt = recipe.indices(tensors)
    options = preprocessing or PreprocessingSpec()
    inputs = _each(recipe.inputs, lambda one: _refit_inputs(one, tensors, dealt.train, options))
    learnt = {
        name: _refit_target(one, tensors, dealt.train, table=recipe.takes_rows)
        for name, one in recipe.learnt().items()
    }
    target = learnt if isinstance(recipe.target, dict) else learnt[""]
    return recipe.model_copy(update={"inputs": inputs, "target": target}), dealt


def _refit_inputs(
    inputs: TableInputs | ArrayInputs,
    tensors: Mapping[str, Array],
    train: Array,
    options: PreprocessingSpec,
) -> TableInputs | ArrayInputs:
    if isinstance(inputs, TableInputs):
        columns = [
            refit_column(column, tensors[column.name], train, options) for column in inputs.columns
        ]
        return inputs.model_copy(update={"columns": columns})
    if inputs.scale is None or options.array is None:
        return inputs
    scale = fit_scale(tensors[inputs.name], train, options.array)
    return inputs.model_copy(update={"scale": scale})


def _refit_target(
    learnt: Learnt, tensors: Mapping[str, Array], train: Array, *, table: bool
) -> Target:
    """Learn mean and deviation of a target that is standardised; of arrays none is."""
    target = learnt.target
    if not table or not isinstance(target, ValueTarget) or learnt.loss == "poisson":
        return target
    mean, std = moments(Present(tensors[target.name], train)).scale
    return target.model_copy(update={"mean": mean, "std": std})


def _each(values: Any, act: Callable[[Any], Any]) -> Any:
    """Apply to each of several, by name, or to the only one."""
    if isinstance(values, dict):
        return {name: act(one) for name, one in values.items()}
    return act(values)
