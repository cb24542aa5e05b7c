"""Windows over a table: against a loop over its rows, against pandas and numpy, and for leaks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import DataError, SpecError
from chainrule.evaluation import evaluation_report
from chainrule.fitting import TrainingLoop, evaluate, replay
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.recipe.reading import Reader
from chainrule.recipe.runs import Runs
from chainrule.spec import DataSpec, parse

WORDS = ["a", "b", "c", "d"]
NOTHING_ASIDE = {"validation": 0, "test": 0}


def table(**columns):
    """Tensors and schema; whole numbers of int32 are codes of WORDS."""
    tensors = {n: np.asarray(v) for n, v in columns.items()}
    described = [
        {"name": n, "type": "categorical", "categories": WORDS, "unique": 4}
        if t.dtype == np.int32
        else {"name": n, "type": "number", "unique": 99}
        for n, t in tensors.items()
    ]
    rows = len(next(iter(tensors.values())))
    return tensors, {"kind": "table", "rows": rows, "columns": described, "warnings": []}


def fit(data, seed=0, loss=None, **spec):
    return Recipe.fit(*data, parse(DataSpec, spec), seed=seed, loss=loss)[0]


def shops(rows, seed=0, gaps=False):
    """A table of rows in any order, of up to four groups, with a time that never ties."""
    rng = np.random.default_rng(seed)
    sales = rng.normal(10, 3, rows)
    if gaps:
        sales[rng.random(rows) < 0.1] = np.nan
    return table(
        shop=rng.integers(0, 4, rows).astype(np.int32),
        day=rng.permutation(rows).astype(float),
        price=rng.normal(5, 2, rows),
        sales=sales,
    )


def plain_windows(frame, length, horizons, stride, shares):
    """Each window as (part, its rows, the rows of its targets), by a loop over the groups."""
    found = []
    for index in frame.sort_values("day").groupby("shop").groups.values():
        rows = list(index)
        test, validation = (round(len(rows) * share) for share in shares[::-1])
        cut = len(rows) - test - validation
        parts = [rows[:cut], rows[cut : cut + validation], rows[cut + validation :]]
        for part, own in enumerate(parts):
            for start in range(0, len(own), stride):
                last = start + length - 1
                if last + horizons[-1] < len(own):
                    goals = [own[last + ahead] for ahead in horizons]
                    found.append((part, own[start : last + 1], goals))
    return found


@settings(deadline=None, max_examples=150)
@given(
    rows=st.integers(20, 120),
    length=st.integers(1, 5),
    horizon=st.integers(1, 3) | st.just([1, 2]) | st.just([2]),
    stride=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_windows_are_those_of_a_loop_over_each_group(rows, length, horizon, stride, seed):
    data = tensors, _ = shops(rows, seed)
    window = {"length": length, "horizon": horizon, "stride": stride}
    horizons = horizon if isinstance(horizon, list) else [horizon]
    frame = pd.DataFrame(tensors)
    wanted = plain_windows(frame, length, horizons, stride, (0.25, 0.25))
    wanted.sort(key=lambda one: one[1][0])
    spec = {
        "target": "sales",
        "window": {**window, "group": "shop", "order_by": "day"},
        "split": {"validation": 0.25, "test": 0.25},
    }
    counts = [sum(part == number for part, *_ in wanted) for number in range(3)]
    if not all(counts):
        with pytest.raises(SpecError, match="split: leaves no window with a target to "):
            fit(data, **spec)
        return
    recipe = fit(data, **spec)
    assert [recipe.rows[part] for part in ("train", "validation", "test")] == counts
    assert recipe.rows["dropped"] == rows - sum(counts)
    # What scales is learnt from the rows of training windows, each once.
    inside = sorted({row for part, own, _ in wanted if part == 0 for row in own})
    goals = sorted({row for part, _, own in wanted if part == 0 for row in own})
    scaled = [
        (tensors[n] - tensors[n][inside].mean()) / (tensors[n][inside].std() or 1.0)
        for n in ("price", "sales")
    ]
    features = np.stack(scaled, axis=1)
    split = recipe.indices(tensors)
    for number, indices in enumerate((split.train, split.validation, split.test)):
        x, y = recipe.apply(tensors, indices)
        mine = [(own, ahead) for part, own, ahead in wanted if part == number]
        assert x.shape == (len(mine), length, 2)
        if len(inside) > 1:
            np.testing.assert_allclose(x[:], [features[own] for own, _ in mine], atol=1e-9)
        if len(goals) > 1:
            truth = np.array([tensors["sales"][ahead] for _, ahead in mine])
            back = y * recipe.target.std + recipe.target.mean
            np.testing.assert_allclose(back, truth, atol=1e-9)


def test_one_series_gives_the_windows_of_numpy():
    series = np.arange(30.0) ** 2
    data = table(y=series)
    recipe = fit(data, target="y", window={"length": 4, "horizon": 3}, split=NOTHING_ASIDE)
    x, y = recipe.apply(data[0])
    # Keras's timeseries_dataset_from_array(series, series[4 - 1 + 3 :], 4) has the same ones.
    raw = np.lib.stride_tricks.sliding_window_view(series, 4)[:-3]
    column, target = recipe.inputs.columns[0], recipe.target
    np.testing.assert_allclose(x[:][..., 0] * column.scale + column.offset, raw, atol=1e-9)
    np.testing.assert_allclose(y[:, 0] * target.std + target.mean, series[6:], atol=1e-9)
    assert recipe.rows == {"train": 24, "validation": 0, "test": 0, "dropped": 6}
    assert recipe.task == "forecast"
    assert recipe.input_shape == (4, 1)


def test_several_horizons_are_the_lags_of_pandas():
    data = shops(60)
    spec = {"length": 2, "horizon": [1, 3], "group": "shop", "order_by": "day"}
    recipe = fit(data, target="sales", window=spec, split=NOTHING_ASIDE)
    assert recipe.output_shape == (2,)
    frame = pd.DataFrame(data[0]).sort_values("day")
    sales = frame.groupby("shop")["sales"]
    ahead = pd.DataFrame({n: sales.shift(-n - 1) for n in (1, 3)}).dropna().sort_index()
    _, y = recipe.apply(data[0])
    back = y * recipe.target.std + recipe.target.mean
    np.testing.assert_allclose(back, ahead.to_numpy(), atol=1e-9)
    told = recipe.invert(y[:2])["predictions"]
    np.testing.assert_allclose(told, ahead.to_numpy()[:2], atol=1e-9)


def test_rows_are_kept_once_however_many_windows_they_are_in():
    data = shops(400)
    window = {"length": 20, "group": "shop", "order_by": "day"}
    x, _ = fit(data, target="sales", window=window, split=NOTHING_ASIDE).apply(data[0])
    assert isinstance(x, Runs)
    assert len(x) == 400 - 4 * 20
    # All but the last row of each group, of which none goes into a window.
    assert x.rows.shape == (396, 2)


def test_nothing_of_what_is_kept_aside_is_seen_in_training():
    data = tensors, _ = shops(200)
    window = {"length": 3, "horizon": [1, 2], "group": "shop", "order_by": "day"}
    recipe = fit(data, target="sales", window=window)
    x, y = recipe.apply(tensors, recipe.indices(tensors).train)
    frame = pd.DataFrame(tensors)
    late = [
        row
        for part, own, ahead in plain_windows(frame, 3, [1, 2], 1, (0.1, 0.1))
        for row in [*own, *ahead]
        if part
    ]
    assert len(late) > 20
    changed = {name: values.copy() for name, values in tensors.items()}
    changed["price"][late] += 1e6
    changed["sales"][late] -= 1e6
    again = fit((changed, data[1]), target="sales", window=window)
    assert again == recipe
    x_again, y_again = again.apply(changed, again.indices(changed).train)
    assert x[:].tobytes() == x_again[:].tobytes()
    assert y.tobytes() == y_again.tobytes()


def test_random_deals_whole_groups():
    data = tensors, _ = shops(100)
    window = {"length": 3, "group": "shop"}
    split = {"kind": "random", "validation": 0.25, "test": 0.25}
    parts = fit(data, target="sales", window=window, split=split).indices(tensors)
    of_each = [set(tensors["shop"][rows]) for rows in (parts.train, parts.validation, parts.test)]
    assert [len(one) for one in of_each] == [2, 1, 1]
    assert set.union(*of_each) == {0, 1, 2, 3}


def test_windows_with_a_missing_target_are_left_out_and_a_missing_past_is_the_mean():
    data = tensors, _ = shops(80, gaps=True)
    window = {"length": 3, "group": "shop", "order_by": "day"}
    recipe = fit(data, target="sales", window=window, split=NOTHING_ASIDE)
    wanted = [
        (own, ahead)
        for _, own, (ahead,) in plain_windows(pd.DataFrame(tensors), 3, [1], 1, (0, 0))
        if not np.isnan(tensors["sales"][ahead])
    ]
    wanted.sort()
    x, y = recipe.apply(tensors)
    assert len(x) == len(wanted) == recipe.rows["train"] == 80 - recipe.rows["dropped"]
    gaps = np.array([np.isnan(tensors["sales"][own]) for own, _ in wanted])
    assert gaps.any()
    assert ((x[:][..., 1] == 0) == gaps).all()
    assert np.isfinite(y).all()


def test_the_past_of_the_target_may_stay_out_and_classes_may_be_of_the_last_row():
    data = tensors, _ = table(x=np.arange(12.0), y=np.arange(12, dtype=np.int32) % 3)
    window = {"length": 4, "horizon": 0, "past_target": False}
    recipe = fit(data, target="y", window=window, split=NOTHING_ASIDE)
    x, y = recipe.apply(tensors)
    assert (recipe.task, x.shape) == ("classification", (9, 4, 1))
    assert y.tolist() == (np.arange(3, 12) % 3).tolist()
    with pytest.raises(SpecError, match="window: horizon 0 is the window's own last row"):
        fit(data, target="y", window={"length": 4, "horizon": 0})


def test_weights_are_those_of_the_rows_that_hold_the_targets():
    data = table(y=np.arange(9.0), w=np.arange(9.0))
    window = {"length": 2, "horizon": [2, 3]}
    recipe = fit(data, target="y", sample_weight="w", window=window, split=NOTHING_ASIDE)
    assert [c.name for c in recipe.inputs.columns] == ["y"]
    assert recipe.apply(data[0])[2].tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_groups_shorter_than_a_window_are_padded(padding):
    data = tensors, _ = table(
        g=np.array([0, 0, 0, 0, 0, 1, 1, 2], np.int32),
        x=np.array([1.0, 2, 3, 4, 5, 6, 7, 8]),
        y=np.arange(8.0),
    )
    window = {"length": 3, "group": "g", "padding": padding, "mask_value": -9.0}
    spec = {"target": "y", "inputs": ["x"], "split": NOTHING_ASIDE}
    recipe = fit(data, window={**window, "past_target": False}, **spec)
    x, y = recipe.apply(tensors)
    rows = [[0, 1, 2], [1, 2, 3], [5]]  # c has one row: nothing comes after it
    goals = np.array([3, 4, 6])
    column = recipe.inputs.columns[0]
    # Of the training rows, which are all but those that are targets only.
    inside = tensors["x"][[0, 1, 2, 3, 5]]
    assert (column.offset, column.scale) == (inside.mean(), inside.std())
    for got, own in zip(x[:][..., 0], rows, strict=True):
        real = (tensors["x"][own] - inside.mean()) / inside.std()
        pads = [-9.0] * (3 - len(own))
        assert got.tolist() == [*pads, *real] if padding == "pre" else [*real, *pads]
    np.testing.assert_allclose(y[:, 0] * recipe.target.std + recipe.target.mean, goals)
    assert recipe.rows["dropped"] == 5


def test_a_padded_window_is_masked_as_if_it_were_short():
    spec = {
        "input": {"shape": [4, 1]},
        "layers": [
            {"kind": "masking", "mask_value": -9.0},
            {"kind": "lstm", "units": 3},
            {"kind": "dense", "units": 1},
        ],
    }
    data = table(g=np.array([0] * 8 + [1] * 3, np.int32), y=np.sin(np.arange(11.0)))
    window = {"length": 4, "group": "g", "padding": "pre", "mask_value": -9.0}
    recipe = fit(data, target="y", window=window, split=NOTHING_ASIDE)
    x, _ = recipe.apply(data[0], dtype="float64")
    net = Network(spec, 0, "float64")
    short = {**spec, "input": {"shape": [2, 1]}}
    alone = Network(short, 0, "float64")
    np.testing.assert_allclose(net.predict(x[4:5]), alone.predict(x[4:5][:, 2:]), rtol=1e-12)


def test_whole_groups_are_sequences_with_the_target_of_their_last_row():
    group = np.array([1, 0, 0, 2, 0, 1, 0], np.int32)
    data = tensors, _ = table(
        g=group,
        t=np.arange(7.0)[::-1].copy(),
        x=np.arange(7.0),
        y=np.array([0, 1, 1, 0, 1, 0, 1], np.int32),
    )
    window = {"kind": "group", "group": "g", "order_by": "t", "mask_value": -5}
    recipe, decided = Recipe.fit(
        *data,
        parse(DataSpec, {"target": "y", "window": window, "split": NOTHING_ASIDE}),
        seed=0,
    )
    assert decided.window.max_length == 4
    assert recipe.input_shape == (4, 1)
    x, y = recipe.apply(tensors)
    mean, std = 3.0, 2.0  # of 0 to 6
    # By their first rows, which are 3, 5 and 6: the last of the file are the earliest.
    wanted = [[3], [5, 0], [6, 4, 2, 1]]
    for got, own in zip(x[:][..., 0], wanted, strict=True):
        assert got.tolist() == [-5.0] * (4 - len(own)) + [(row - mean) / std for row in own]
    assert y.tolist() == [0, 0, 1]
    cut = fit(data, target="y", window={**window, "max_length": 2}, split=NOTHING_ASIDE)
    assert cut.input_shape == (2, 1)
    assert len(cut.apply(tensors)[0]) == 3
    assert cut.rows["dropped"] == 4


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(8, 40),
    padding=st.sampled_from([None, "pre", "post"]),
    seed=st.integers(0, 99),
    with_groups=st.booleans(),
    with_order=st.booleans(),
)
def test_raw_rows_and_datasets_give_the_bits_of_training(
    rows, padding, seed, with_groups, with_order
):
    data = tensors, schema = shops(rows, seed, gaps=True)
    window = {"length": 2, "padding": padding}
    window |= {"group": "shop"} if with_groups else {}
    window |= {"order_by": "day"} if with_order else {}
    spec = {"target": "sales", "inputs": ["price", "shop"], "split": NOTHING_ASIDE}
    try:
        recipe = fit(data, window=window, **spec)
    except SpecError:
        return
    recipe = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    # Without the rows after the last window of each group, what is latest is that window.
    frame = pd.DataFrame(tensors)
    ordered = frame.sort_values("day") if with_order else frame
    groups = ordered.groupby("shop") if with_groups else [(0, ordered)]
    heads = recipe.indices(tensors).train
    x = recipe.apply(tensors, heads, "float32")[0][:]
    taken, wanted = [], []
    for _, some in groups:
        own = list(some.index)
        windows = [n for n in range(len(own)) if own[n] in heads]
        if windows:
            last = windows[-1]
            kept = own[: min(last + 2, len(own) - 1)]  # a short group's is one row
            taken += kept
            wanted.append((min(kept), x[list(heads).index(own[last])]))
    taken = sorted(taken)
    whole = np.stack([one for _, one in sorted(wanted, key=lambda pair: pair[0])])
    raw = [
        {
            "shop": WORDS[tensors["shop"][row]],
            "day": tensors["day"][row],
            "price": str(tensors["price"][row]),
            "sales": None if np.isnan(tensors["sales"][row]) else tensors["sales"][row],
        }
        for row in taken
    ]
    assert recipe.apply_rows(raw, "float32").tobytes() == whole.tobytes()
    others = {name: values[taken] for name, values in tensors.items()}
    reader = Reader(recipe, {**schema, "rows": len(taken)}, others)
    assert reader.rows == len(wanted)
    blocks = [reader.read(others, n, n + 1, "float32") for n in range(reader.rows)]
    assert np.concatenate(blocks).tobytes() == whole.tobytes()


def test_what_a_prediction_lacks_is_named():
    window = {"length": 3, "group": "shop", "order_by": "day"}
    recipe = fit(shops(60), target="sales", window=window, split=NOTHING_ASIDE)
    row = {"shop": "a", "day": 1, "price": 2, "sales": 3}

    def refused(*rows):
        with pytest.raises(DataError) as error:
            recipe.apply_rows(rows)
        return str(error.value)

    short = "rows: none of the groups has enough rows: the longest has 2 rows, a window takes 3"
    assert refused(row, row) == short
    assert refused({**row, "shop": None}) == "rows[0].shop: must have a value: the window's group"
    assert (
        refused({"shop": "a", "price": 1, "sales": 2})
        == "rows[0].day: is missing: it is the window's order_by"
    )
    assert "rows[0].day: must be a number" in refused({**row, "day": "soon"})
    tensors, schema = shops(9)
    tensors["day"][4] = np.nan
    with pytest.raises(DataError, match="column 'day', the window's order_by, is empty in row 4"):
        Reader(recipe, schema, tensors)


@pytest.mark.parametrize("words", [True, False])
def test_a_dataset_is_grouped_and_ordered_as_its_rows_are(words):
    """What orders rows is text where the model's was: 10 comes before 9."""
    days = [8.0, 9.0, 10.0, 11.0]
    data = table(
        day=np.array([0, 1, 2, 3], np.int32) if words else np.array(days), y=np.arange(4.0)
    )
    window = {"length": 2, "order_by": "day"}
    recipe = fit(data, target="y", window=window, split=NOTHING_ASIDE)
    tensors, schema = table(day=np.array(days), y=np.arange(4.0))
    rows = [{"day": day, "y": n} for n, day in enumerate(days)]
    found = Reader(recipe, schema, tensors).read(tensors, 0, 1, "float64")
    assert found.tolist() == recipe.apply_rows(rows).tolist()
    last = recipe.apply_rows(rows[:2] if words else rows[2:])
    assert found.tolist() == last.tolist()


@pytest.mark.parametrize("key", ["group", "order_by"])
def test_a_dataset_whose_group_or_order_is_of_another_type_is_refused(key):
    data = table(k=np.repeat(np.arange(5.0), 4), y=np.arange(20.0))
    recipe = fit(data, target="y", window={"length": 2, key: "k"}, split=NOTHING_ASIDE)
    for held, type_ in (("is text", "categorical"), ("holds dates", "datetime")):
        tensors, schema = table(k=np.zeros(20, np.int32), y=np.arange(20.0))
        schema["columns"][0]["type"] = type_
        with pytest.raises(DataError, match=f"column 'k' {held}, the model takes numbers"):
            Reader(recipe, schema, tensors)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"window": {"length": 3, "group": "shp"}}, "window.group: there is no column 'shp'"),
        ({"split": {"kind": "random"}}, "split.kind: must be time"),
        ({"window": {"length": 0}}, "window.length: must be >= 1, got 0"),
        ({"window": {"length": 3, "horizon": [2, 1]}}, "window: horizon must name each step once"),
        (
            {"window": {"length": 40}},
            "split: leaves no window with a target to validation: it has 6 ",
        ),
        ({"task": "reconstruction", "target": None}, "task: reconstruction is of rows or arrays"),
        ({"window": {"kind": "group"}}, "window.group: is missing"),
        ({"window": None, "split": {"kind": "time"}}, "split.column: is missing"),
        ({"split": {"kind": "time", "column": "day"}}, "split.column: is not given"),
        ({"inputs": {"a": ["price"], "b": ["shop"]}}, "inputs: of a window go in side by side"),
        ({"window": None, "task": "forecast"}, "task: forecast learns from arrays of sequences"),
    ],
)
def test_a_window_that_does_not_add_up_is_refused(spec, message):
    with pytest.raises(SpecError) as error:
        fit(shops(60), **{"target": "sales", "window": {"length": 3}, **spec})
    assert str(error.value).startswith(message)


def test_a_row_without_a_place_in_the_order_is_refused():
    tensors, schema = shops(60)
    tensors["day"][7] = np.nan
    with pytest.raises(SpecError, match=r"window\.order_by: column 'day' has no value in row 7"):
        fit((tensors, schema), target="sales", window={"length": 3, "order_by": "day"})


NETWORK = {
    "input": {"shape": [5, 2]},
    "layers": [{"kind": "lstm", "units": 4}, {"kind": "dense", "units": 1}],
}
TRAINING = {"loss": "mean_squared_error", "batch_size": 16, "epochs": 3, "seed": 3}


def learnt(x, y, checkpoint=None, stop=None, **more):
    net = Network(NETWORK, 0)
    loop = TrainingLoop(net, (x, y), {**TRAINING, **more}, checkpoint=checkpoint)
    for _ in loop.run():
        if loop.step == stop:
            break
    return loop


@pytest.fixture(scope="module")
def rows():
    data = shops(120)
    window = {"length": 5, "group": "shop", "order_by": "day"}
    recipe = fit(data, target="sales", window=window, split=NOTHING_ASIDE)
    return recipe.apply(data[0], dtype="float32")


@pytest.mark.parametrize("more", [{}, {"shards": 2, "threads": 2}, {"shuffle": False}])
def test_windows_are_learnt_as_the_array_that_they_stand_for(rows, more):
    x, y = rows
    loop = learnt(x, y, **more)
    assert loop.checkpoint().to_bytes() == learnt(x[:], y, **more).checkpoint().to_bytes()
    programs = [p for shard in loop._shards._shards for p in shard._replay._programs.values()]
    assert any(program is not None and program.is_proven for program in programs)
    scored = evaluate(loop.net, x, y, "mean_squared_error")
    assert scored == evaluate(loop.net, x[:], y, "mean_squared_error")


def test_windows_replayed_are_windows_run_plainly(rows, monkeypatch):
    replayed = learnt(*rows).checkpoint().to_bytes()
    monkeypatch.setattr(replay, "_MOST_BYTES", 0)
    assert learnt(*rows).checkpoint().to_bytes() == replayed


def test_a_run_over_windows_resumes_to_the_bit(rows):
    whole = learnt(*rows).checkpoint().to_bytes()
    half = learnt(*rows, stop=4).checkpoint()
    assert learnt(*rows, checkpoint=half).checkpoint().to_bytes() == whole


def test_rows_that_are_dropped_are_in_no_window():
    tensors, schema = shops(90)
    tensors["price"][[10, 40, 70]] = np.nan
    window = {"length": 3, "group": "shop", "order_by": "day"}
    options = {"number": {"missing": "drop"}}
    recipe = fit(
        (tensors, schema),
        target="sales",
        window=window,
        split=NOTHING_ASIDE,
        preprocessing=options,
    )
    windows = plain_windows(pd.DataFrame(tensors), 3, [1], 1, (0, 0))
    wanted = [own[0] for _, own, _ in windows if not np.isnan(tensors["price"][own]).any()]
    assert len(wanted) < len(windows)
    assert recipe.indices(tensors).train.tolist() == sorted(wanted)


def test_the_last_value_of_a_window_is_a_null_model():
    data = tensors, _ = shops(200)
    window = {"length": 5, "horizon": [1, 2], "group": "shop", "order_by": "day"}
    recipe = fit(data, target="sales", window=window, split={"validation": 0, "test": 0.3})
    net = Network(
        {
            "input": {"shape": [5, 2]},
            "layers": [{"kind": "lstm", "units": 2}, {"kind": "dense", "units": 2}],
        }
    )
    report = evaluation_report(net, recipe, tensors, recipe.indices(tensors), lambda: None)
    frame = pd.DataFrame(tensors)
    found = [w for w in plain_windows(frame, 5, [1, 2], 1, (0, 0.3)) if w[0] == 2]
    errors = [tensors["sales"][own[-1]] - tensors["sales"][ahead] for _, own, ahead in found]
    (output,) = report["outputs"].values()
    (null,) = [one for one in output["null_models"] if one["kind"] == "last_value"]
    mse = null["parts"]["test"]["mse"]["value"]
    assert mse == pytest.approx(np.mean(np.square(errors)))


def test_groups_that_are_too_short_are_told_and_the_others_answered():
    window = {"length": 3, "group": "shop", "order_by": "day"}
    recipe = fit(shops(60), target="sales", window=window, split=NOTHING_ASIDE)
    names = ["b", "a", "c", "b", "b", "a", "b"]
    rows = [{"shop": n, "day": i, "price": 1, "sales": 2} for i, n in enumerate(names)]
    assert recipe.window.told(rows) == {
        "groups": ["b"],
        "left_out": [{"group": "a", "rows": 2}, {"group": "c", "rows": 1}],
    }
    (found,) = recipe.apply_rows(rows)
    (alone,) = recipe.apply_rows([row for row in rows if row["shop"] == "b"])
    assert found.tobytes() == alone.tobytes()
    assert recipe.window.told(rows[:1] + rows[3:5]) == {"groups": ["b"]}


def test_a_dataset_of_short_groups_is_read_and_each_row_accounted_for():
    window = {"length": 3, "group": "shop", "order_by": "day"}
    recipe = fit(shops(60), target="sales", window=window, split=NOTHING_ASIDE)
    tensors, schema = shops(60)
    codes = np.array([1] * 5 + [0] * 2 + [2] * 1 + [-1] * 4, np.int32)
    tensors = {name: values[:12] for name, values in tensors.items()} | {"shop": codes}
    reader = Reader(recipe, {**schema, "rows": 12}, tensors)
    assert (reader.rows, reader.groups) == (1, [WORDS[1]])
    assert reader.left_out == [
        "2 groups with 3 rows are too short for a window of 3 rows, and get no prediction: "
        f"{WORDS[0]!r} (2 rows), {WORDS[2]!r} (1 row)",
        "4 rows have no 'shop', and so no group",
    ]
