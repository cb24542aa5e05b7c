"""Messy tables: features are the same bits in training and in every way of predicting.

The training file goes through the service's own parser. Predictions come as JSON rows with typed
cells, as rows of text, one by one, and as another file with other codes; and through ONNX, where
the encoding has operators there, to 1e-6.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainrule.errors import SpecError
from chainrule.export import to_onnx
from chainrule.naming import named
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.recipe.reading import Reader
from chainrule.recipe.targets import InputTarget
from chainrule.spec import DataSpec, parse
from tests.golden_tables import EVERY, TABLES, cells, columns, onnx_cells
from tests.onnx_running import session
from tests.tables import parsed


def fit(table, options, **more):
    rows = len(next(iter(table.values())))
    target = [None if row == 1 else row % 2 + row / 10 for row in range(rows)]
    tensors, schema = parsed({**table, "target": target})
    spec = {"target": "target", "split": {"validation": 0.2}, "preprocessing": options, **more}
    recipe, _ = Recipe.fit(tensors, schema, parse(DataSpec, spec), seed=1)
    return Recipe.from_json(json.loads(json.dumps(recipe.to_json()))), tensors


def bits(x):
    return {
        name: array.tobytes()
        for name, array in named(x, [""] if not isinstance(x, dict) else x).items()
    }


def check(table, options, **more):
    """See to it that a table's features are the same bits whichever way they come."""
    recipe, tensors = fit(table, options, **more)
    rows = len(next(iter(table.values())))
    for dtype in ("float64", "float32"):
        x = recipe.apply(tensors, np.arange(rows), dtype)[0]
        for text in (False, True):
            raw = cells(table, text=text)
            assert bits(recipe.apply_rows(raw, dtype)) == bits(x)
            for row in range(rows):
                one = recipe.apply_rows(raw[row : row + 1], dtype)
                assert bits(one) == bits(_rows(x, [row]))
        order = [*range(rows - 1, -1, -2), 0, 0]
        other, schema = parsed({name: [values[i] for i in order] for name, values in table.items()})
        reader = Reader(recipe, schema, other)
        for start, stop in ((0, 1), (0, len(order)), (2, 4)):
            there = reader.read(other, start, stop, dtype)
            assert bits(there) == bits(_rows(x, order[start:stop]))
    check_onnx(recipe, table, x)


def _rows(x, rows):
    return {name: array[rows] for name, array in x.items()} if isinstance(x, dict) else x[rows]


def check_onnx(recipe, table, x):
    """Run the raw cells through a network that gives back what it gets."""
    if isinstance(x, dict):
        return
    target = InputTarget(sample_shape=[x.shape[1]])
    changes = {"target": target, "task": "reconstruction", "loss": "mean_squared_error"}
    same = recipe.model_copy(update=changes)
    layers = [{"kind": "activation", "activation": "linear"}]
    net = Network({"input": {"shape": [x.shape[1]]}, "layers": layers})
    hashed = any(
        getattr(c, "encoding", None) and c.encoding.kind == "hash" for c in recipe.inputs.columns
    )
    if hashed:
        with pytest.raises(SpecError, match="is hashed, which ONNX cannot: take inputs=features"):
            to_onnx(net, recipe=same, inputs="raw")
        return
    given = {c.name: onnx_cells(c, table[c.name]) for c in recipe.inputs.columns}
    (found,) = session(to_onnx(net, recipe=same, inputs="raw")).run(["predictions"], given)
    assert found.shape == x.shape
    np.testing.assert_allclose(found, x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TABLES)
def test_features_of_a_table_made_by_hand_are_the_same_every_way(name):
    check(*TABLES[name])


def test_features_of_several_inputs_are_the_same_every_way():
    embedded = columns(city={"kind": "category", "encoding": "embedding"})
    check(EVERY, embedded, inputs={"rest": ["price", "day", "zip"], "city": ["city"]})


NUMBERS = st.none() | st.floats(-1e6, 1e6, width=32) | st.integers(-9, 9).map(float)
LETTERS = (
    st.none()
    | st.sampled_from("abcdefg")
    | st.text("äöüXYZ ,;'\"", min_size=1).map(lambda text: f"x{text}x")
)
MOMENTS = st.none() | st.datetimes().map(lambda when: when.isoformat()).filter(
    lambda t: t >= "0002"
)
FILLS = st.sampled_from(["mean", "median", "mode", {"kind": "constant", "value": 2.5}])
OPTIONS = st.fixed_dictionaries(
    {
        "number": st.fixed_dictionaries(
            {
                "missing": FILLS,
                "indicator": st.booleans(),
                "scaling": st.sampled_from(["standard", "min_max", "robust", "log1p", "none"]),
            }
        ),
        "category": st.fixed_dictionaries(
            {
                "missing": st.sampled_from(["ignore", "mode", "category"]),
                "encoding": st.sampled_from(["one_hot", "ordinal"]),
                "rare": st.none() | st.just({"min_count": 2}),
            }
        ),
        "datetime": st.fixed_dictionaries(
            {
                "cyclic": st.booleans(),
                "missing": st.sampled_from(["ignore", "median"]),
                "indicator": st.booleans(),
            }
        ),
        "columns": st.sampled_from([{}, {"n": "category"}, {"d": "category"}]),
    }
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(NUMBERS, LETTERS, MOMENTS, NUMBERS), min_size=6, max_size=20), OPTIONS)
def test_features_of_any_table_are_the_same_every_way(rows, options):
    table = {
        name: list(values) for name, values in zip("nkdm", zip(*rows, strict=True), strict=True)
    }
    # A first row with all, so that no column of words or dates is empty in training or later.
    table = {
        n: [first, *values]
        for (n, values), first in zip(table.items(), [1.0, "a", "2024-01-01", 2.0], strict=True)
    }
    check(table, options)


def test_rows_that_are_not_trained_on_have_no_say():
    table = {**EVERY, "x": list(range(8))}
    options = {"number": {"scaling": "min_max"}, "category": {"rare": {"min_count": 2}}}
    tensors, schema = parsed({**table, "y": list(range(8))})
    spec = parse(
        DataSpec,
        {"target": "y", "split": {"validation": 0.2, "test": 0.2}} | {"preprocessing": options},
    )
    recipe, _ = Recipe.fit(tensors, schema, spec, seed=2)
    others = np.setdiff1d(np.arange(8), recipe.indices(tensors).train)
    changed = {name: tensor.copy() for name, tensor in tensors.items()}
    for name in table:
        changed[name][others] = changed[name][others[::-1]]
    changed["price"][others] = 1e9
    changed["city"][others] = -1
    changed["day"][others] = math.nan
    again, _ = Recipe.fit(changed, schema, spec, seed=2)
    assert again.inputs == recipe.inputs
    assert again.target == recipe.target
