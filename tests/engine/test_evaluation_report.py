"""The report of a whole network: parts, null models beside scikit-learn's, segments, verdict."""

import functools
import json

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge

import chainrule
from chainrule.errors import DataError
from chainrule.evaluation import evaluation_report, linear, nulls, report, unevaluated
from chainrule.recipe import Recipe
from chainrule.spec import DataSpec


def near(value, rel=1e-12):
    return pytest.approx(value, rel=rel, abs=1e-13)


def table(data, names, target, words=None, categories=()):
    """Columns as the parser would have made them."""
    tensors = {name: np.array(data[:, i], float) for i, name in enumerate(names)}
    columns = [{"name": name, "type": "number", "missing": 0} for name in names]
    for name, codes, known in categories:
        tensors[name] = np.asarray(codes, np.int32)
        columns.append({"name": name, "type": "categorical", "missing": 0, "categories": known})
    if words is None:
        tensors["y"] = np.array(target, float)
        columns.append({"name": "y", "type": "number", "missing": 0})
    else:
        tensors["y"] = np.array(target, np.int32)
        columns.append({"name": "y", "type": "categorical", "missing": 0, "categories": words})
    return tensors, {"kind": "table", "rows": len(target), "columns": columns, "warnings": []}


def arrays_of(tensors):
    """The schema of arrays."""
    arrays = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    rows = arrays[0]["shape"][0]
    return {"kind": "arrays", "rows": rows, "arrays": arrays, "warnings": []}


def trained(tensors, schema, layers, data=None, training=None):
    """A network of a recipe, the recipe, and the parts."""
    loss = (training or {}).get("loss")
    name = loss["kind"] if isinstance(loss, dict) else loss
    asked = DataSpec.model_validate({"target": "y"} if data is None else data)
    recipe, _ = Recipe.fit(tensors, schema, asked, seed=1, loss=name)
    spec = {"input": {"shape": list(recipe.input_shape)}, "layers": layers}
    net = chainrule.Network(spec, seed=1)
    split = recipe.indices(tensors)
    x, y, *_ = recipe.apply(tensors, split.train, "float32")
    given = {"epochs": 12, "loss": recipe.loss, **(training or {})}
    for _ in chainrule.fit(net, (x, y), given):
        pass
    return net, recipe, split


def dense(units, activation="linear"):
    return {"kind": "dense", "units": units, "activation": activation}


def only(found):
    (output,) = found["outputs"].values()
    return output


def null(output, kind):
    return next(one for one in output["null_models"] if one["kind"] == kind)


def metric(output, part, name):
    return output["parts"][part]["metrics"][name]["value"]


@pytest.fixture(scope="module")
def iris():
    data = load_iris()
    names = ["a", "b", "c", "d"]
    words = [str(word) for word in data.target_names]
    long = (data.data[:, 0] > 5.8).astype(int)
    tensors, schema = table(data.data, names, data.target, words, [("size", long, ["s", "l"])])
    return tensors, *trained(tensors, schema, [dense(12, "relu"), dense(3)])


def test_the_report_of_classes_says_what_the_network_says(iris):
    tensors, net, recipe, split = iris
    found = evaluation_report(net, recipe, tensors, split)
    assert (found["status"], found["judged"], found["confidence"]) == ("complete", "test", 0.95)
    assert found["rows"]["train"] == {"rows": 120, "rows_used": 120}
    output = only(found)
    assert (output["kind"], output["target"], output["task"]) == ("classes", "y", "classification")
    for part in ("train", "validation", "test"):
        indices = getattr(split, part)
        x, y = recipe.apply(tensors, indices, "float32")
        said = net.predict(x)
        assert metric(output, part, "accuracy") == (said.argmax(axis=1) == y).mean()
        wanted = chainrule.fitting.evaluate(net, x, y, recipe.loss)
        assert metric(output, part, "log_loss") == near(wanted["loss"], 1e-6)
        assert output["parts"][part]["positions"] == len(indices)
    assert [row["label"] for row in output["parts"]["test"]["classes"]] == [
        "setosa", "versicolor", "virginica",
    ]  # fmt: skip
    assert len(output["detail"]["curves"]) == 3
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_equal_networks_have_equal_reports(iris):
    tensors, net, recipe, split = iris
    texts = [json.dumps(evaluation_report(net, recipe, tensors, split)) for _ in range(2)]
    assert texts[0] == texts[1]


def test_the_null_models_of_classes_are_those_of_scikit_learn(iris, monkeypatch):
    to_the_end = functools.partial(linear.logistic, steps=400, tolerance=0.0)
    monkeypatch.setattr(nulls, "logistic", to_the_end)
    tensors, net, recipe, split = iris
    output = only(evaluation_report(net, recipe, tensors, split))
    x, y = recipe.apply(tensors, split.train)
    tested, truth = recipe.apply(tensors, split.test)
    dummy = DummyClassifier(strategy="prior").fit(x, y)
    found = null(output, "majority")["parts"]["test"]
    assert found["accuracy"]["value"] == near(dummy.score(tested, truth))
    shares = dummy.predict_proba(tested)[np.arange(len(truth)), truth]
    assert found["log_loss"]["value"] == near(-np.log(shares).mean())
    middle, spread = x.mean(axis=0), x.std(axis=0)
    fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit((x - middle) / spread, y)
    theirs = fitted.predict_log_proba((tested - middle) / spread)[np.arange(len(truth)), truth]
    ours = null(output, "linear")
    assert (ours["rows"], ours["reason"]) == (120, None)
    assert ours["parts"]["test"]["log_loss"]["value"] == near(-theirs.mean(), 1e-4)
    assert set(ours["parts"]) == {"train", "validation", "test"}


def test_few_steps_are_enough_for_a_rival():
    data = load_breast_cancer()
    design, goal = linear.Design(data.data.copy()), np.eye(2)[data.target]
    scaled = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    score = LogisticRegression(C=1.0).fit(scaled, data.target).score(scaled, data.target)
    model = linear.logistic(design, goal, independent=False)
    assert (model(data.data).argmax(axis=1) == data.target).mean() > score - 0.01


def test_a_linear_model_of_labels_is_one_for_each():
    data = load_breast_cancer()
    x = (data.data[:, :5] - data.data[:, :5].mean(axis=0)) / data.data[:, :5].std(axis=0)
    truth = np.stack([data.target, data.data[:, 7] > 0.05], axis=1).astype(float)
    model = linear.logistic(
        linear.Design(x.copy()), truth, independent=True, steps=300, tolerance=0.0
    )
    for label in range(2):
        fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x, truth[:, label])
        assert model(x)[:, label] == pytest.approx(fitted.decision_function(x), abs=1e-3)


def test_the_null_models_of_numbers_are_those_of_scikit_learn():
    data = load_diabetes()
    tensors, schema = table(data.data, data.feature_names, data.target)
    net, recipe, split = trained(tensors, schema, [dense(16, "relu"), dense(1)])
    output = only(evaluation_report(net, recipe, tensors, split))
    x, _ = recipe.apply(tensors, split.train)
    tested, _ = recipe.apply(tensors, split.test)
    known, truth = tensors["y"][split.train], tensors["y"][split.test]
    x, tested = (x - x.mean(axis=0)) / x.std(axis=0), (tested - x.mean(axis=0)) / x.std(axis=0)
    said = Ridge(alpha=1.0).fit(x, known).predict(tested)
    parts = {one["kind"]: one["parts"]["test"] for one in output["null_models"]}
    assert {*parts} == {"mean", "median", "linear"}
    assert parts["linear"]["mse"]["value"] == near(np.square(said - truth).mean(), 1e-9)
    assert parts["mean"]["mse"]["value"] == near(np.square(known.mean() - truth).mean(), 1e-9)
    assert parts["median"]["mae"]["value"] == near(np.abs(np.median(known) - truth).mean(), 1e-9)
    answer = np.array(chainrule.bundle.Model(net, recipe, {}).predict(
        [{name: float(tensors[name][i]) for name in data.feature_names} for i in split.test]
    )["predictions"])  # fmt: skip
    assert metric(output, "test", "mae") == near(np.abs(answer - truth).mean(), 1e-6)
    assert output["verdict"]["metric"] == "rmse"
    best = min(parts.values(), key=lambda one: one["rmse"]["value"])
    assert output["verdict"]["null_value"] == best["rmse"]["value"]
    assert output["slices"]["metric"] == "mae"


def test_an_unbalanced_target_is_judged_by_balanced_accuracy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    target = (x[:, 0] > 1.2).astype(int)  # 11 in 100
    tensors, schema = table(x, ["a", "b"], target, ["no", "yes"])
    data = {"target": "y", "split": {"validation": 0.2, "test": 0.3}}
    training = {"epochs": 40, "loss": "binary_cross_entropy", "optimizer": "adam"}
    net, recipe, split = trained(tensors, schema, [dense(8, "relu"), dense(1)], data, training)
    output = only(evaluation_report(net, recipe, tensors, split))
    verdict = output["verdict"]
    assert verdict["metric"] == "balanced_accuracy"
    assert null(output, "majority")["parts"]["test"]["balanced_accuracy"]["value"] == 0.5
    assert null(output, "majority")["parts"]["test"]["accuracy"]["value"] > 0.8
    assert [one["label"] for one in output["detail"]["curves"]] == ["yes"]
    assert metric(output, "test", "roc_auc") > 0.9


def test_a_bad_segment_of_a_table_is_seen():
    rng = np.random.default_rng(2)
    x, shop = rng.normal(size=(900, 1)), rng.integers(0, 3, 900)
    target = (x[:, 0] > 0).astype(int)
    target[shop == 2] = rng.integers(0, 2, (shop == 2).sum())  # nothing to learn there
    shops = [("shop", shop, ["east", "north", "west"])]
    tensors, schema = table(x, ["x"], target, ["n", "y"], shops)
    data = {"target": "y", "split": {"validation": 0.1, "test": 0.4}}
    net, recipe, split = trained(
        tensors, schema, [dense(8, "relu"), dense(2)], data, {"epochs": 60}
    )
    worst = only(evaluation_report(net, recipe, tensors, split))["slices"]["items"][0]
    assert (worst["column"], worst["category"]) == ("shop", "west")
    assert worst["rows"] == (shop[split.test] == 2).sum()
    assert worst["high"] < 0.75


def test_without_rows_kept_aside_the_training_rows_are_judged(iris):
    tensors, _, _, _ = iris
    schema_columns = [{"name": n, "type": "number", "missing": 0} for n in "abcd"]
    target = {"name": "y", "type": "categorical", "missing": 0, "categories": ["s", "v", "w"]}
    schema = {"kind": "table", "rows": 150, "columns": [*schema_columns, target], "warnings": []}
    data = {"target": "y", "inputs": list("abcd"), "split": {"validation": 0.0, "test": 0.0}}
    found = evaluation_report(*_arguments(tensors, trained(tensors, schema, [dense(3)], data)))
    assert (found["judged"], [*found["rows"]]) == ("train", ["train"])
    assert only(found)["verdict"]["part"] == "train"


def _arguments(tensors, of_training):
    net, recipe, split = of_training
    return net, recipe, tensors, split


def test_labels_are_reported_one_by_one():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    tensors = {"inputs": x, "targets": (x[:, :3] + x[:, 1:] > 0).astype(np.uint8)}
    training = {"loss": "binary_cross_entropy", "epochs": 5}
    done = trained(tensors, arrays_of(tensors), [dense(3)], {}, training)
    output = only(evaluation_report(*_arguments(tensors, done)))
    assert (output["kind"], output["slices"]) == ("labels", None)
    assert [row["label"] for row in output["parts"]["test"]["labels"]] == [0, 1, 2]
    assert {one["kind"]: one["reason"] for one in output["null_models"]} == {
        "majority": None, "linear": None,
    }  # fmt: skip
    assert null(output, "linear")["parts"]["test"]["accuracy"]["value"] > 0.9


def series(rows=240, steps=8, features=1):
    rng = np.random.default_rng(6)
    walk = np.cumsum(rng.normal(size=(rows, steps + 2, features)), axis=1).astype(np.float32)
    tensors = {"inputs": walk[:, :steps], "targets": walk[:, steps:, 0]}
    return tensors, arrays_of(tensors)


def test_a_forecast_stands_beside_the_last_value():
    tensors, schema = series()
    data = {"task": "forecast"}
    layers = [{"kind": "gru", "units": 4}, dense(2)]
    net, recipe, split = trained(tensors, schema, layers, data, {"epochs": 2})
    output = only(evaluation_report(net, recipe, tensors, split))
    last, truth = tensors["inputs"][split.test][:, -1], tensors["targets"][split.test]
    found = null(output, "last_value")
    assert found["reason"] is None
    assert found["parts"]["test"]["mse"]["value"] == near(np.square(last - truth).mean(), 1e-6)
    assert output["verdict"]["null_model"] in ("last_value", "linear")
    assert len(output["detail"]["columns"]) == 2


def test_where_the_last_value_cannot_be_told_it_is_left_out_with_the_reason():
    tensors, schema = series(features=3)
    done = trained(tensors, schema, [{"kind": "gru", "units": 4}, dense(2)], {"task": "forecast"})
    output = only(evaluation_report(*_arguments(tensors, done)))
    assert "do not tell" in null(output, "last_value")["reason"]
    assert null(output, "last_value")["parts"] == {}


def test_padded_steps_count_nowhere():
    rng = np.random.default_rng(7)
    words = rng.integers(1, 5, size=(200, 6))
    words[:, 4:] = 0  # padding
    tensors = {"inputs": words.astype(np.int32), "targets": (words > 2).astype(np.int32)}
    schema = arrays_of(tensors)
    layers = [
        {"kind": "embedding", "input_dim": 5, "output_dim": 4, "mask_zero": True},
        {"kind": "gru", "units": 8, "return_sequences": True},
        dense(2),
    ]
    done = trained(tensors, schema, layers, {"task": "classification"}, {"epochs": 3})
    found = evaluation_report(*_arguments(tensors, done))
    output, (net, recipe, split) = only(found), done
    assert output["parts"]["test"]["positions"] == 4 * len(split.test)
    x, y = recipe.apply(tensors, split.test, "float32")
    wanted = chainrule.fitting.evaluate(net, x, y, recipe.loss)
    assert metric(output, "test", "accuracy") == near(wanted["accuracy"])
    assert metric(output, "test", "log_loss") == near(wanted["loss"], 1e-6)
    share = (words[split.test, :4] > 2).mean()
    most = (words[split.train, :4] > 2).mean() >= 0.5
    accuracy = null(output, "majority")["parts"]["test"]["accuracy"]["value"]
    assert accuracy == near(share if most else 1 - share)
    assert "word" in null(output, "linear")["reason"]


def test_a_network_that_gives_its_inputs_back_has_only_constants_beside_it():
    rng = np.random.default_rng(9)
    tensors = {"inputs": rng.random((120, 4, 4)).astype(np.float32)}
    schema = arrays_of(tensors)
    layers = [{"kind": "flatten"}, dense(16), {"kind": "reshape", "target_shape": [4, 4]}]
    training = {"loss": "binary_cross_entropy", "epochs": 2}
    done = trained(tensors, schema, layers, {"task": "reconstruction"}, training)
    output = only(evaluation_report(*_arguments(tensors, done)))
    net, _, split = done
    wanted = tensors["inputs"][split.test]
    said = 1 / (1 + np.exp(-net.predict(wanted).astype(float)))
    assert output["target"] is None
    assert metric(output, "test", "mse") == near(np.square(said - wanted).mean(), 1e-6)
    assert "themselves" in null(output, "linear")["reason"]


def test_of_too_many_rows_a_sample_is_measured_and_its_size_told(iris, monkeypatch):
    monkeypatch.setattr(report, "MAX_ROWS", 100)
    monkeypatch.setattr(nulls, "MAX_ROWS", 40)
    tensors, net, recipe, split = iris
    found = evaluation_report(net, recipe, tensors, split)
    assert found["rows"]["train"] == {"rows": 120, "rows_used": 100}
    assert found["rows"]["test"] == {"rows": 15, "rows_used": 15}
    assert null(only(found), "linear")["rows"] == 40
    assert found == evaluation_report(net, recipe, tensors, split)


@pytest.mark.parametrize(
    ("limit", "reason"), [("MAX_FEATURES", "features"), ("MAX_WEIGHTS", "weights")]
)
def test_what_would_take_too_long_is_left_out_with_the_reason(iris, monkeypatch, limit, reason):
    monkeypatch.setattr(nulls, limit, 3)
    tensors, net, recipe, split = iris
    output = only(evaluation_report(net, recipe, tensors, split))
    assert reason in null(output, "linear")["reason"]
    assert output["verdict"]["null_model"] == "majority"


def test_outputs_that_are_not_finite_are_an_error(iris):
    tensors, net, recipe, split = iris
    broken = chainrule.Network(net.spec)
    broken.flat[:] = np.inf
    with pytest.raises(DataError, match="not finite"):
        evaluation_report(broken, recipe, tensors, split)


def test_a_report_that_was_not_made_says_why():
    found = unevaluated("off", "nobody asked")
    assert (found["status"], found["reason"], found["outputs"]) == ("off", "nobody asked", {})


def test_every_kind_of_column_is_cut():
    rng = np.random.default_rng(11)
    rows = 400
    tensors = {
        "day": 1.7e9 + 86_400.0 * rng.integers(0, 400, rows),
        "floor": rng.integers(0, 3, rows).astype(float),
        "city": rng.integers(-1, 3, rows).astype(np.int32),
        "tag": rng.integers(0, 3, rows).astype(np.int32),
        "y": rng.normal(size=rows),
    }
    tensors["floor"][:40] = np.nan
    words = {"city": ["a", "b", "c"], "tag": ["t", "u", "v"]}
    kinds = {"day": "datetime", "city": "categorical", "tag": "categorical"}
    columns = [
        {"name": name, "type": kinds.get(name, "number"), "missing": 0, "unique": 3}
        | ({"categories": words[name]} if name in words else {})
        for name in tensors
    ]
    schema = {"kind": "table", "rows": rows, "columns": columns, "warnings": []}
    options = {
        "tag": {"kind": "category", "encoding": {"kind": "hash", "buckets": 4}},
        "floor": {"kind": "category"},
    }
    data = {"target": "y", "preprocessing": {"columns": options}, "split": {"test": 0.5}}
    done = trained(tensors, schema, [dense(1)], data, {"epochs": 1})
    found = only(evaluation_report(*_arguments(tensors, done)))["slices"]
    assert found["columns"] == 3  # of a hashed column the words are not known
    kept = done[2].test
    for column, where, which in (
        ("city", {"category": "b"}, tensors["city"][kept] == 1),
        ("city", {"missing": True}, tensors["city"][kept] == -1),
        ("floor", {"category": "2"}, tensors["floor"][kept] == 2),
        ("floor", {"missing": True}, np.isnan(tensors["floor"][kept])),
    ):
        (one,) = (
            one for one in found["items"] if {"column": column, **where}.items() <= one.items()
        )
        assert one["rows"] == which.sum()
    assert sum(one["rows"] for one in found["items"] if one["column"] == "day") == len(kept)
    cut = {one["column"] for one in found["items"] if one.get("datetime")}
    assert cut == {"day"}
