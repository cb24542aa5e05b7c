"""A feature that is the target in disguise, and a class that is nearly everything, are told."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from service.actions.suspicions import suspicions

DATA = {"inputs": ["x", "leak", "word"], "target": "y"}


def table(y, kind="number", rows=1000):
    rng = np.random.default_rng(0)
    tensors = {
        "x": rng.normal(size=rows),
        "leak": np.asarray(y) * 2.0 + 1,
        "word": rng.integers(-1, 5, rows).astype(np.int32),
        "y": np.asarray(y),
    }
    columns = [{"name": n, "type": "categorical" if n == "word" else "number"} for n in tensors]
    columns[-1]["type"] = kind
    return tensors, {"kind": "table", "rows": rows, "columns": columns}


def test_a_number_that_is_the_target_is_suspected():
    tensors, schema = table(np.random.default_rng(1).normal(size=1000))
    (said,) = suspicions(tensors, schema, {**DATA, "task": "regression"})
    assert said.startswith("data.inputs: 'leak' alone tells 'y'")


def test_so_is_one_that_tells_the_class():
    labels = np.random.default_rng(1).integers(0, 3, 1000).astype(np.int32)
    tensors, schema = table(labels, "categorical")
    tensors["leak"][:3] = np.nan
    (said,) = suspicions(tensors, schema, {**DATA, "task": "classification"})
    assert "'leak' alone tells 'y'" in said


def test_classes_in_turn_hide_nothing():
    tensors, schema = table((np.arange(1000) % 2).astype(np.int32), "categorical")
    (said,) = suspicions(tensors, schema, {**DATA, "task": "classification"})
    assert "'leak' alone tells 'y'" in said


def test_a_class_of_nearly_all_rows_is_told():
    labels = (np.arange(1000) % 20 == 0).astype(np.int32)
    tensors, schema = table(labels, "categorical")
    data = {**DATA, "inputs": ["x", "word"], "task": "classification"}
    (said,) = suspicions(tensors, schema, data)
    assert said.startswith("data.target: 95% of the rows are of one class of 'y'")


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_diabetes])
def test_honest_tables_are_not_suspected(load):
    x, y = load(return_X_y=True)
    names = [f"x{i}" for i in range(x.shape[1])]
    tensors = {**dict(zip(names, x.T, strict=True)), "y": y.astype(np.float64)}
    schema = {"kind": "table", "rows": len(y)}
    schema["columns"] = [{"name": name, "type": "number"} for name in tensors]
    task = "regression" if load is load_diabetes else "classification"
    assert suspicions(tensors, schema, {"inputs": names, "target": "y", "task": task}) == []


def test_arrays_and_few_rows_are_left_alone():
    tensors, schema = table(np.arange(20.0), rows=20)
    assert suspicions(tensors, schema, {**DATA, "task": "regression"}) == []
    assert suspicions({}, {"kind": "arrays"}, DATA) == []
