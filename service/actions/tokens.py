"""Whether what goes into embeddings are whole numbers of their vocabularies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.errors import DataError, SpecError
from chainrule.layers import check_vocabularies
from chainrule.recipe.inputs import TableInputs
from chainrule.spec import nodes, vocabularies
from chainrule.spec.layers import EmbeddingSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.recipe import Recipe
    from chainrule.recipe.inputs import ArrayInputs
    from chainrule.spec import ArchitectureSpec, Node
    from service.actions.datasets import Tensors

__all__ = ["check"]

_VALUES = 1 << 20  # of an encoded table that are looked at together


def check(spec: ArchitectureSpec, recipe: Recipe, tensors: Tensors) -> None:
    """Raise SpecError at ``inputs``, naming row, value and layer, if an embedding has no such row.

    An array is looked at as it is, a table encoded, some rows at a time.
    """
    walked = nodes(spec)
    for name, size in vocabularies(walked).items():
        inputs = recipe.inputs[name] if isinstance(recipe.inputs, dict) else recipe.inputs
        layer = _embedding(walked, name, size)
        if isinstance(inputs, TableInputs) and inputs.vocabulary is not None:
            _check_categories(inputs.columns[0].name, inputs.vocabulary, size, layer)
        elif isinstance(inputs, TableInputs):
            _check_table(inputs, recipe, tensors, size, layer)
        else:
            if inputs.scale is not None:
                detail = f"scales what the embedding {layer!r} takes for its rows' numbers"
                raise SpecError.at("preprocessing.array.scaling", detail)
            _check_array(inputs, tensors, size, layer)


def _check_categories(column: str, vocabulary: int, size: int, layer: str) -> None:
    """Raise SpecError, if a column has more categories, with 0 for none, than an embedding rows."""
    if vocabulary > size:
        detail = f"column {column!r} takes {vocabulary:,} rows of an embedding, layer {layer!r} has"
        raise SpecError.at("inputs", f"{detail} {size:,}; input_dim may be auto")


def _check_array(inputs: ArrayInputs, tensors: Tensors, size: int, layer: str) -> None:
    try:
        check_vocabularies({inputs.name: tensors[inputs.name]}, {inputs.name: size})
    except DataError as error:
        (problem,) = error.problems
        detail = f"array {inputs.name!r}, row {_row(error)}: {problem.detail} (layer {layer!r})"
        raise SpecError.at("inputs", detail) from None


def _check_table(
    inputs: TableInputs, recipe: Recipe, tensors: Tensors, size: int, layer: str
) -> None:
    rows = recipe.input_rows(tensors)
    at_once = max(1, _VALUES // inputs.shape[0])
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        try:
            check_vocabularies({"": inputs.encode(tensors, some, "float64")}, {"": size})
        except DataError as error:
            (problem,) = error.problems
            detail = f"row {some[_row(error)]}: {problem.detail} (layer {layer!r}); the numbers of"
            raise SpecError.at("inputs", f"{detail} a table are standardised") from None


def _row(error: DataError) -> int:
    """Return which row the check of the vocabularies complains about."""
    return int(error.problems[0].path.strip("[]"))


def _embedding(walked: Sequence[Node], name: str, size: int) -> str:
    """Return the first embedding that an input of a vocabulary feeds."""
    embeddings = [node for node in walked if isinstance(node.spec, EmbeddingSpec)]
    others = [node for node in walked if node not in embeddings]
    return next(node.name for node in embeddings if vocabularies([*others, node]) == {name: size})
