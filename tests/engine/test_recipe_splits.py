"""Splits: which rows are kept from training, the same ones whenever and wherever it is asked."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import SpecError
from chainrule.recipe import Recipe
from chainrule.recipe.split import Sight, row_numbers, split_rows
from chainrule.recipe.values import read_datetime
from chainrule.spec import DataSpec, SplitSpec, parse
from chainrule.streams import generator

DAYS = ["2024-03-01", "2024-01-05", "2024-02-29", "2023-12-31"]


def table(rows, **columns):
    """Return tensors and schema: of words codes, of dates seconds."""
    tensors, described = {}, []
    for name, values in columns.items():
        entry = {"name": name, "type": "number", "unique": len(set(values)), "missing": 0}
        tensor = np.array(
            [np.nan if v is None else v for v in values if not isinstance(v, str)], float
        )
        if any(isinstance(value, str) for value in values):
            words = sorted({value for value in values if value is not None})
            entry |= {"type": "categorical", "categories": words}
            codes = [-1 if value is None else words.index(value) for value in values]
            tensor = np.array(codes, np.int32)
        tensors[name], _ = tensor, described.append(entry)
        assert len(tensor) == rows
    return tensors, {"kind": "table", "rows": rows, "columns": described, "warnings": []}


def fit(data, split, seed=0, **more):
    spec = parse(DataSpec, {"target": "y", "split": split, **more})
    recipe, rendered = Recipe.fit(*data, spec, seed=seed)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    return again, rendered


def parts(data, split, **more):
    found = fit(data, split, **more)[0].indices(data[0])
    rows = [found.train, found.validation, found.test]
    everyone = np.concatenate(rows)
    assert len(set(everyone.tolist())) == len(everyone)
    assert all((np.diff(part) > 0).all() for part in rows)
    return [part.tolist() for part in rows]


def refused(data, split, **more):
    with pytest.raises(SpecError) as error:
        fit(data, split, **more)
    (problem,) = error.value.problems
    return str(problem)


@given(rows=st.integers(3, 400), seed=st.integers(0, 2**53 - 1))
def test_a_random_split_has_the_bits_that_it_always_had(rows, seed):
    numbers = np.arange(rows) * 3
    found = split_rows(numbers.astype(np.int32), SplitSpec(), seed)
    kept = max(1, round(rows * 0.1))
    order = generator(seed, "split").permutation(rows)
    assert found.validation.tolist() == sorted(numbers[order[:kept]].tolist())
    assert found.test.tolist() == sorted(numbers[order[kept : 2 * kept]].tolist())
    assert found.train.dtype == np.int32


def test_shares_alone_are_those_of_a_random_split():
    given_spec = parse(DataSpec, {"split": {"validation": 0.2}})
    assert given_spec.split == SplitSpec(validation=0.2)


def test_row_numbers_are_those_of_a_mask():
    mask = np.random.default_rng(0).random((1 << 20) + 77) < 0.01
    assert (row_numbers(mask) == np.flatnonzero(mask)).all()


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    shares=st.tuples(st.sampled_from([0.0, 0.1, 0.25]), st.sampled_from([0.1, 0.3])),
)
def test_a_stratified_split_gives_each_class_its_share_to_a_row(counts, shares):
    words = [word for word, n in zip("abcdef", counts, strict=False) for _ in range(n)]
    np.random.default_rng(1).shuffle(words)
    data = table(len(words), x=list(range(len(words))), y=words)
    split = {"kind": "stratified", "validation": shares[0], "test": shares[1]}
    found = parts(data, split)
    for share, part in zip((shares[0], shares[1]), found[1:], strict=True):
        for word, n in zip("abcdef", counts, strict=False):
            there = sum(words[row] == word for row in part)
            assert abs(there - n * share) < 1 or (share and there <= n - 1)
    assert {words[row] for row in found[0]} == set(words)


@pytest.mark.parametrize(
    "split",
    [
        {"kind": "stratified"},
        {"kind": "hash", "key": "k"},
        {"kind": "time", "column": "t"},
        {"kind": "time", "column": "t", "test": 0.0},
        {"kind": "k_fold", "folds": 3, "fold": 2, "test": 0.1, "stratified": True},
    ],
)
def test_rows_are_dealt_alike_however_many_are_looked_at_together(monkeypatch, split):
    words = ["abc"[i * i % 3] for i in range(100)]
    times = [None if i % 11 == 3 else i * 7 % 13 for i in range(100)]
    keys = [f"k{i % 40}" for i in range(100)]
    data = table(100, x=list(range(100)), k=keys, t=times, y=words)
    found = parts(data, split)
    monkeypatch.setattr("chainrule.recipe.split.BLOCK_ROWS", 7)
    assert parts(data, split) == found


@pytest.mark.parametrize(
    "split",
    [
        {"kind": "random"},
        {"kind": "stratified"},
        {"kind": "time", "column": "x"},
        {"kind": "k_fold", "folds": 5, "test": 0.1, "stratified": True},
    ],
)
def test_dealing_many_rows_takes_few_bytes_each(monkeypatch, split):
    # Blocks are to count for little beside so many rows.
    monkeypatch.setattr("chainrule.recipe.split.BLOCK_ROWS", 1 << 14)
    monkeypatch.setattr("chainrule.recipe.gathering.BLOCK_ROWS", 1 << 14)
    rows, rng = 500_000, np.random.default_rng(0)
    tensors = {"x": rng.random(rows), "y": rng.integers(0, 5, rows).astype(np.float64)}
    numbers, spec = np.arange(rows, dtype=np.int32), parse(DataSpec, {"split": split}).split
    sight = Sight(tensors, {}, "y")
    tracemalloc.start()
    try:
        found = split_rows(numbers, spec, 0, sight)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.test) == rows // 10
    # A number's own eight bytes, or four of its place; and what is said of it.
    assert peak < 12 * rows


def test_a_class_too_rare_for_a_part_is_told_of():
    data = table(41, x=list(range(41)), y=["a"] * 20 + ["b"] * 20 + ["c"])
    recipe, _ = fit(data, {"kind": "stratified"})
    assert recipe.lacking == {"validation": ["c"], "test": ["c"]}
    assert 40 in recipe.indices(data[0]).train


def test_a_stratified_split_wants_classes():
    data = table(40, x=list(range(40)), y=[float(i % 2) for i in range(40)])
    assert refused(data, {"kind": "stratified"}).startswith("split.kind: stratified goes by class")
    said = refused(data, {"kind": "stratified"})
    assert said.endswith('give "task": "classification", if its values are classes')
    assert "'y' is learnt as numbers" in said
    few = table(4, x=[1, 2, 3, 4], y=["a", "b", "c", "d"])
    assert "a class keeps one at least" in refused(few, {"kind": "stratified"})


def test_a_column_says_which_rows_are_kept_aside_and_is_no_input():
    part = ["fit", "try", None, "test", "fit", "later"]
    data = table(6, x=list(range(6)), part=part, y=list(range(6)))
    split = {"kind": "column", "column": "part", "validation": ["try"], "test": ["test", "later"]}
    assert parts(data, split) == [[0, 2, 4], [1], [3, 5]]
    assert fit(data, split)[1].inputs == ["x"]
    assert fit(data, split, inputs=["x", "part"])[1].inputs == ["x", "part"]


def test_a_column_of_numbers_or_dates_says_it_too():
    data = table(4, x=[1, 2, 3, 4], n=[1, 2, 2, 3], y=[1, 2, 3, 4])
    split = {"kind": "column", "column": "n", "validation": [1], "test": ["3.0"]}
    assert parts(data, split) == [[1, 2], [0], [3]]
    data[0]["n"] = np.array([read_datetime(day) for day in DAYS])
    assert parts(data, split | {"validation": DAYS[1:2], "test": DAYS[3:]}) == [[0, 2], [1], [3]]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"test": ["c"]}, "split.test[0]: no row with a target has 'c' in 'k'; its values are"),
        ({"validation": ["a"], "test": ["a"]}, "split.test[0]: 'a' is named before"),
        ({"validation": ["a"], "test": ["b"]}, "split: leaves no row to train on"),
        ({"column": "z"}, "split.column: there is no column 'z'; the columns are 'x', 'k', 'y'"),
        ({"column": "x", "test": ["q"]}, "split.test[0]: must be a number, got 'q'"),
        ({"kind": "time"}, "split.column: column 'k' holds text, times are dates or numbers"),
    ],
)
def test_a_split_that_cannot_be_is_told_where(split, message):
    data = table(4, x=[1, 2, 3, 4], k=["a", "b", "a", "b"], y=[1, 2, 3, 4])
    assert refused(data, {"kind": "column", "column": "k", **split}).startswith(message)


def test_text_that_is_not_kept_splits_nothing():
    tensors, schema = table(4, x=[1, 2, 3, 4], y=[1, 2, 3, 4])
    schema["columns"].append({"name": "id", "type": "text", "unique": 20_000})
    said = refused((tensors, schema), {"kind": "hash", "key": ["x", "id"]})
    assert said.startswith("split.key[1]: column 'id' is text with 20,000 different values")


def people(rows):
    """Rows of some persons, in any order, each with a name and a number."""
    rng = np.random.default_rng(3)
    who = rng.integers(0, rows // 4, rows)
    return table(
        rows,
        x=rng.normal(size=rows).tolist(),
        name=[f"person {i}" for i in who],
        number=who.tolist(),
        y=rng.normal(size=rows).tolist(),
    )


@pytest.mark.parametrize("key", ["name", "number", ["name", "number"]])
def test_rows_of_a_key_stay_together_and_where_they_are_when_rows_are_added(key):
    tensors, schema = people(2000)
    split = {"kind": "hash", "key": key, "validation": 0.2, "test": 0.1}
    _, rendered = fit((tensors, schema), split)
    assert set(rendered.inputs) == {"x", "name", "number"} - {*([key] if "n" in key else key)}
    found = parts((tensors, schema), split)
    keys = [set(tensors["number"][part].tolist()) for part in found]
    assert not (keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2])
    for part, share in zip(found[1:], (0.2, 0.1), strict=True):
        # Of 500 keys a share p falls to a part, give or take four deviations.
        assert abs(len(part) / 2000 - share) < 4 * np.sqrt(share * (1 - share) / 490) + 0.02
    where = {row: part for part, rows in enumerate(found) for row in rows}
    more = people(2000)
    words = ["a newcomer", *more[1]["columns"][1]["categories"]]
    more[1]["columns"][1]["categories"] = words
    more[0]["name"] = np.append(more[0]["name"] + 1, [0, 0]).astype(np.int32)
    for name in ("x", "number", "y"):
        more[0][name] = np.append(more[0][name], [1e6, 1e6])
    grown = parts(more, split, seed=9)
    assert all(where.get(row, part) == part for part, rows in enumerate(grown) for row in rows)
    assert parts(more, split | {"salt": "other"}) != grown


def test_a_key_falls_where_its_hash_says():
    """SplitMix64 over SHA-256, written down once more with Python's whole numbers."""
    mask = 2**64 - 1

    def mix(z):
        z = (z + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def sha(text):
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    words = [f"w{i:03}" for i in range(200)]
    data = table(200, x=list(range(200)), k=words, y=list(range(200)))
    found = parts(data, {"kind": "hash", "key": "k", "salt": "s", "validation": 0.3, "test": 0.2})
    at = [mix(sha("s") ^ sha(word)) / 2**64 for word in words]
    assert found[1] == [row for row in range(200) if at[row] < 0.3]
    assert found[2] == [row for row in range(200) if 0.3 <= at[row] < 0.5]


def test_too_few_keys_for_a_part_are_told_of():
    data = table(4, x=[1, 2, 3, 4], k=["a"] * 4, y=[1, 2, 3, 4])
    assert "split.key: no key falls to" in refused(data, {"kind": "hash", "key": "k"})


def test_the_newest_rows_are_the_test_and_those_before_them_the_validation():
    when = [5.0, None, 1.0, 9.0, 9.0, 9.0, 7.0, 2.0, 3.0, 4.0]
    data = table(10, x=list(range(10)), when=when, y=list(range(10)))
    split = {"kind": "time", "column": "when", "validation": 0.2, "test": 0.2}
    # Newest first: rows 5, 4, 3 (of equal times the later one), 6, 0, 9, 8, 7, 2, and 1 undated.
    assert parts(data, split) == [[0, 1, 2, 7, 8, 9], [3, 6], [4, 5]]
    assert fit(data, split)[1].inputs == ["x"]


def test_rows_that_are_dropped_are_in_no_part_of_any_split():
    data = table(40, x=list(range(40)), k=["ab"[i % 2] for i in range(40)], y=[*range(40)])
    data[0]["y"][::5] = np.nan
    by_time = {"kind": "time", "column": "x", "test": 0.2}
    for split in (by_time, {"kind": "column", "column": "k", "test": ["a"]}):
        rows = sorted(row for part in parts(data, split) for row in part)
        assert rows == [row for row in range(40) if row % 5]
