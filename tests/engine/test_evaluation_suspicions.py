"""A feature that is the target in disguise, and a class that is nearly everything, are told."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from chainrule.evaluation import suspicions
from chainrule.recipe import Recipe
from chainrule.spec import DataSpec, parse


def table(y, **more):
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=len(y)),
        "leak": np.asarray(y) * 2.0 + 1,
        "word": rng.integers(-1, 5, len(y)).astype(np.int32),
        "y": np.asarray(y),
        **more,
    }


def said_of(tensors, **data):
    """What is said of columns: words have numbers from 0, as a file's have."""
    columns = []
    for name, values in tensors.items():
        column = {"name": name, "type": "number", "missing": 0}
        if values.dtype == np.int32:
            words = [f"word {number}" for number in range(values.max() + 1)]
            column |= {"type": "categorical", "categories": words}
        columns.append(column)
    schema = {"kind": "table", "rows": len(tensors["y"]), "columns": columns}
    recipe, _ = Recipe.fit(tensors, schema, parse(DataSpec, {"target": "y"} | data), seed=0)
    return suspicions(tensors, recipe)


def test_a_number_that_is_the_target_is_suspected():
    (said,) = said_of(table(np.random.default_rng(1).normal(size=1000)))
    assert said.startswith("data.inputs: 'leak' alone tells 'y'")


def test_so_is_one_that_tells_the_class():
    tensors = table(np.random.default_rng(1).integers(0, 3, 1000).astype(np.int32))
    tensors["leak"][:3] = np.nan
    (said,) = said_of(tensors)
    assert "'leak' alone tells 'y'" in said


def test_classes_in_turn_hide_nothing():
    (said,) = said_of(table((np.arange(1000) % 2).astype(np.int32)))
    assert "'leak' alone tells 'y'" in said


def test_a_class_of_nearly_all_rows_is_told():
    labels = (np.arange(1000) % 20 == 0).astype(np.int32)
    (said,) = said_of(table(labels), inputs=["x", "word"])
    assert said.startswith("data.target: 95% of the rows are of one class of 'y'")


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_diabetes])
def test_honest_tables_are_not_suspected(load):
    x, y = load(return_X_y=True)
    tensors = {**{f"x{i}": column.copy() for i, column in enumerate(x.T)}, "y": y.astype(float)}
    assert said_of(tensors, task="regression" if load is load_diabetes else "classification") == []


def test_windows_and_few_rows_are_left_alone():
    assert said_of(table(np.arange(20.0))) == []
    window = {"length": 3, "horizon": 1}
    assert said_of(table(np.arange(1000.0)), window=window) == []
