"""Rows encoded into files: the same bits as in memory, and no name left behind."""

import numpy as np
import pytest

from chainrule.recipe import Recipe, encoding
from chainrule.spec import DataSpec

ROWS = 3_001
RNG = np.random.default_rng(0)
COLUMNS = {
    "size": np.where(RNG.random(ROWS) < 0.1, np.nan, RNG.normal(5, 2, ROWS)),
    "kind": RNG.integers(-1, 4, ROWS).astype(np.int32),
    "weight": RNG.random(ROWS),
    "price": np.where(RNG.random(ROWS) < 0.1, np.nan, RNG.normal(300, 90, ROWS)),
}
ARRAYS: dict[str, np.ndarray] = {
    "left": RNG.standard_normal((ROWS, 3, 2)).astype(np.float32),
    "right": RNG.integers(0, 255, (ROWS, 4)).astype(np.uint8),
    "class": RNG.integers(0, 5, ROWS),
    "far": RNG.standard_normal((ROWS, 2)),
}


def table():
    columns = [{"name": name, "type": "number", "unique": ROWS} for name in COLUMNS]
    columns[1] |= {"type": "categorical", "categories": ["a", "b", "c", "d"]}
    return COLUMNS, {"kind": "table", "rows": ROWS, "columns": columns, "warnings": []}


def arrays():
    entries = [{"name": n, "shape": [*a.shape], "dtype": str(a.dtype)} for n, a in ARRAYS.items()]
    return ARRAYS, {"kind": "arrays", "rows": ROWS, "arrays": entries, "warnings": []}


CASES = {
    "numbers": (table(), {"target": "price"}, {}),
    "classes": (table(), {"target": "kind"}, {}),
    "weights": (table(), {"target": "price", "sample_weight": "weight"}, {}),
    "reconstruction": (table(), {"task": "reconstruction"}, {}),
    "array": (arrays(), {"inputs": "left", "target": "class"}, {}),
    "several": (
        arrays(),
        {"target": ["class", "far"]},
        {"inputs": ["left", "right"], "outputs": ["class", "far"]},
    ),
}


@pytest.fixture
def fitted(request):
    (tensors, schema), data, network = CASES[request.param]
    recipe, _ = Recipe.fit(tensors, schema, DataSpec(**data), seed=1, **network)
    return recipe, tensors


def flat(parts):
    return [a for part in parts for a in (part.values() if isinstance(part, dict) else [part])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fitted", CASES, indirect=True)
def test_rows_in_files_have_the_bits_of_rows_in_memory(fitted, dtype, tmp_path, monkeypatch):
    recipe, tensors = fitted
    indices = recipe.indices(tensors).train
    expected = recipe.apply(tensors, indices, dtype)
    monkeypatch.setattr(encoding, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 4096)
    told = []
    tell = lambda: told.append(1)  # noqa: E731
    found = encoding.encode(recipe, tensors, indices, dtype, folder=tmp_path, tell=tell)
    assert [type(part) for part in found] == [type(part) for part in expected]
    assert len(told) > 2
    for one, other in zip(flat(found), flat(expected), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
        assert not one.flags.writeable, "not in a file"
        assert one.flags.c_contiguous
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fitted", ["reconstruction"], indirect=True)
def test_targets_that_are_the_inputs_are_in_the_same_file(fitted, tmp_path, monkeypatch):
    recipe, tensors = fitted
    monkeypatch.setattr(encoding, "IN_MEMORY_BYTES", 1000)
    indices = recipe.indices(tensors).train
    x, y = encoding.encode(recipe, tensors, indices, "float32", folder=tmp_path)
    assert y is x


@pytest.mark.parametrize("fitted", CASES, indirect=True)
def test_few_rows_stay_in_memory(fitted, tmp_path):
    recipe, tensors = fitted
    for indices in (np.arange(0), np.arange(1), np.arange(ROWS)):
        found = encoding.encode(recipe, tensors, indices, "float32", folder=tmp_path)
        expected = recipe.apply(tensors, indices, "float32")
        for one, other in zip(flat(found), flat(expected), strict=True):
            assert one.tobytes() == other.tobytes()
