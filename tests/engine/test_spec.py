"""The architecture, training and data languages: what is accepted, what is refused, and where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import Problem, SpecError, step
from chainrule.spec import (
    ArchitectureSpec,
    DataSpec,
    TrainingSpec,
    complete,
    nodes,
    parse,
    summarize,
)

DIGITS = {
    "name": "digits",
    "input": {"shape": [64]},
    "layers": [
        {"kind": "dense", "units": 128, "activation": "relu"},
        {"kind": "dropout", "rate": 0.2},
        {"kind": "dense", "units": 10},
    ],
}


def refusal(kind, document):
    with pytest.raises(SpecError) as caught:
        parse(kind, document)
    return {problem.path: problem.detail for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("layer", "path", "detail"),
    [
        ({"kind": "dense", "units": 0}, "layers[0].units", "must be >= 1, got 0"),
        ({"kind": "dense", "units": 1.5}, "layers[0].units", "must be a valid integer"),
        ({"kind": "dense", "units": True}, "layers[0].units", "must be a valid integer"),
        ({"kind": "dense"}, "layers[0].units", "is missing"),
        ({"kind": "dense", "units": 3, "unit": 3}, "layers[0].unit", "is not a known field"),
        ({"kind": "dropout", "rate": 1.0}, "layers[0].rate", "must be < 1, got 1.0"),
        ({"units": 3}, "layers[0].kind", "is missing"),
        (7, "layers[0]", "must be an object"),
        (
            {"kind": "dense", "units": 3, "bias_initializer": {"kind": "constant", "value": 1e99}},
            "layers[0].bias_initializer.value",
            "must be <= 1e+30, got 1e+99",
        ),
        (
            {
                "kind": "dense",
                "units": 3,
                "kernel_initializer": {"kind": "random_uniform", "minval": 1.0, "maxval": -1.0},
            },
            "layers[0].kernel_initializer.maxval",
            "must be >= minval, 1, got -1",
        ),
    ],
)
def test_a_bad_layer_is_refused_at_its_place(layer, path, detail):
    assert refusal(ArchitectureSpec, {"layers": [layer]}) == {path: detail}


def test_an_unknown_kind_is_answered_with_the_known_ones():
    found = refusal(ArchitectureSpec, {"layers": [{"kind": "dens", "units": 3}]})
    assert found["layers[0].kind"].startswith("must be one of 'dense', 'activation'")
    assert found["layers[0].kind"].endswith("got 'dens'")


@pytest.mark.parametrize(
    ("kind", "document", "told"),
    [
        (TrainingSpec, {"lr": 0.1}, "lr: is not a known field: it is optimizer.learning_rate"),
        (
            TrainingSpec,
            {"optimizer": {"kind": "sgd", "lr": 0.1}},
            "optimizer.lr: is not a known field: it is optimizer.learning_rate",
        ),
        (
            ArchitectureSpec,
            {"layers": [{"type": "dense", "units": 3}]},
            "layers[0].kind: is missing: write it in the place of 'type'",
        ),
    ],
)
def test_a_name_from_elsewhere_is_answered_with_ours(kind, document, told):
    with pytest.raises(SpecError) as caught:
        parse(kind, document)
    assert str(caught.value) == told


def test_all_complaints_come_at_once():
    layers = [{"kind": "dense", "units": 0}, {"kind": "dense", "units": 3, "activation": "rlu"}]
    assert set(refusal(ArchitectureSpec, {"layers": layers})) == {
        "layers[0].units",
        "layers[1].activation",
    }


def test_a_pointer_names_the_same_place_as_the_path():
    with pytest.raises(SpecError) as caught:
        parse(ArchitectureSpec, {"layers": [{"kind": "dense", "units": 0}]})
    assert caught.value.under("architecture").problems[0].pointer == "/architecture/layers/0/units"


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "null", "[" * 100_000])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(SpecError):
        parse(ArchitectureSpec, text)


def test_numbers_may_be_numpys():
    labels, images = np.array([2, 0, 1]), np.zeros((3, 5))
    layers = [{"kind": "dense", "units": labels.max() + 1}]
    spec = parse(ArchitectureSpec, {"input": {"shape": images[0].shape}, "layers": layers})
    assert (spec.input.shape, spec.layers[0].units) == ([5], 3)
    optimizer = {"kind": "sgd", "learning_rate": np.float32(0.125)}
    assert parse(TrainingSpec, {"optimizer": optimizer}).optimizer.learning_rate == 0.125
    with pytest.raises(SpecError, match=r"layers\[0\].units: must be >= 1, got 0"):
        parse(ArchitectureSpec, {"layers": [{"kind": "dense", "units": np.int64(0)}]})
    with pytest.raises(SpecError, match="must be plain JSON: ndarray is neither a number"):
        parse(TrainingSpec, {"epochs": labels})


def test_parameters_follow_from_the_shapes():
    summary = summarize(parse(ArchitectureSpec, DIGITS), batch_size=32)
    first, last = 64 * 128 + 128, 128 * 10 + 10
    assert [row["parameters"] for row in summary["layers"]] == [first, 0, last]
    assert [row["output_shape"] for row in summary["layers"]] == [[128], [128], [10]]
    assert [row["name"] for row in summary["layers"]] == ["dense_1", "dropout_1", "dense_2"]
    assert summary["parameters"] == first + last
    assert summary["layers"][2]["flops"] == 2 * 128 * 10 + 10


def test_flatten_makes_one_axis():
    spec = parse(ArchitectureSpec, {"input": {"shape": [8, 8, 3]}, "layers": [{"kind": "flatten"}]})
    assert nodes(spec)[0].output_shape == (192,)


def test_a_dense_works_on_the_last_axis():
    document = {"input": {"shape": [8, 4]}, "layers": [{"kind": "dense", "units": 3}]}
    (node,) = nodes(parse(ArchitectureSpec, document))
    assert (node.output_shape, node.parameters) == ((8, 3), 4 * 3 + 3)


def test_the_data_completes_what_was_left_open():
    open_ended = {"layers": [{"kind": "dense", "units": 4}, {"kind": "dense", "units": "auto"}]}
    spec = complete(parse(ArchitectureSpec, open_ended), input_shape=(7,), output_units=3)
    assert [node.output_shape for node in nodes(spec)] == [(4,), (3,)]
    assert spec.render()["input"] == {"shape": [7]}


def test_a_shape_that_does_not_fit_the_data_states_both():
    with pytest.raises(SpecError, match=r"input.shape: is \(64,\), the data has \(65,\)"):
        complete(parse(ArchitectureSpec, DIGITS), input_shape=(65,))


def test_auto_units_may_have_activation_and_dropout_after_them():
    auto, other = {"kind": "dense", "units": "auto"}, {"kind": "dense", "units": 4}
    drop, bend = {"kind": "dropout", "rate": 0.1}, {"kind": "activation", "activation": "relu"}
    spec = complete(parse(ArchitectureSpec, {"layers": [other, auto, drop, bend]}), (7,), 3)
    assert [node.output_shape for node in nodes(spec)] == [(4,), (3,), (3,), (3,)]
    layers = [other, {**auto, "name": "a"}, {**bend, "inputs": ["a"]}]
    layers += [{**auto, "name": "b", "inputs": ["dense_1"]}]
    graph = parse(ArchitectureSpec, {"layers": layers, "outputs": ["activation_1", "b"]})
    done = complete(graph, (7,), {"activation_1": 2, "b": 5})
    assert [node.output_shape for node in nodes(done)] == [(4,), (2,), (2,), (5,)]


def test_auto_units_stand_last_only():
    layers = [{"kind": "dense", "units": "auto"}, {"kind": "dense", "units": 3}]
    with pytest.raises(SpecError, match=r"layers\[0\].units: only the last layer"):
        complete(parse(ArchitectureSpec, {"layers": layers}), (4,), 3)


@pytest.mark.parametrize(
    ("names", "detail"),
    [(("a", "a"), "names another layer"), (("input", "b"), "names the network's input")],
)
def test_names_are_unique(names, detail):
    layers = [{"kind": "flatten", "name": name} for name in names]
    with pytest.raises(SpecError, match=detail):
        nodes(parse(ArchitectureSpec, {"input": {"shape": [4]}, "layers": layers}))


def test_a_network_too_large_for_any_machine_is_refused():
    layers = [{"kind": "dense", "units": 1_000_000}] * 2
    with pytest.raises(SpecError, match="parameters; at most"):
        nodes(parse(ArchitectureSpec, {"input": {"shape": [4]}, "layers": layers}))


@pytest.mark.parametrize("kind", [ArchitectureSpec, TrainingSpec, DataSpec])
def test_a_rendered_document_reads_back_the_same(kind):
    spec = parse(kind, DIGITS if kind is ArchitectureSpec else {})
    assert parse(kind, spec.render()) == spec


def test_a_name_is_short_for_an_object_of_that_kind():
    short = parse(TrainingSpec, {"loss": "mean_squared_error", "optimizer": "sgd"})
    long = {"loss": {"kind": "mean_squared_error"}, "optimizer": {"kind": "sgd"}}
    assert short == parse(TrainingSpec, long)


@pytest.mark.parametrize(
    ("training", "path"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 10**18}, "epochs"),
        ({"batch_size": 10**9}, "batch_size"),
        ({"optimizer": {"kind": "adam", "learning_rate": float("nan")}}, "optimizer.learning_rate"),
        ({"optimizer": {"kind": "adam", "learning_rate": 1e308}}, "optimizer.learning_rate"),
        ({"optimizer": {"kind": "adam", "beta_1": 1.0}}, "optimizer.beta_1"),
        ({"optimizer": "adm"}, "optimizer"),
        ({"optimizer": {"kind": "adm"}}, "optimizer.kind"),
        ({"loss": "mse"}, "loss"),
        ({"seed": -1}, "seed"),
        ({"tenant": "me"}, "tenant"),
    ],
)
def test_bad_training_is_refused_at_its_place(training, path):
    assert list(refusal(TrainingSpec, training)) == [path]


def test_a_split_leaves_rows_to_train_on():
    assert refusal(DataSpec, {"split": {"validation": 0.5, "test": 0.5}}) == {
        "split": "validation and test leave no rows to train on"
    }


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"split": {"kind": "column", "column": "x", "test": [True]}}, "split.test[0]"),
        ({"split": {"kind": "column", "column": 5}}, "split.column"),
        ({"window": {"kind": "group", "group": "g", "max_length": 0}}, "window.max_length"),
        ({"window": {"kind": "group", "group": "g", "length": 3}}, "window.length"),
        (
            {"preprocessing": {"columns": {"a.b[0]": {"kind": "number", "scaling": "no"}}}},
            'preprocessing.columns["a.b[0]"].scaling',
        ),
        ({"inputs": {"a.b": [1]}}, 'inputs["a.b"][0]'),
    ],
)
def test_a_place_in_data_is_told_whatever_columns_and_kinds_are_called(document, path):
    assert list(refusal(DataSpec, document)) == [path]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_read_or_refused_with_a_place(document):
    for kind in (ArchitectureSpec, TrainingSpec, DataSpec):
        try:
            parse(kind, {"layers": [document], "optimizer": document, "inputs": document})
        except SpecError as error:
            located = error.problems
            assert located


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("", ""),
        ("layers[2].units", "/layers/2/units"),
        (f"rows[16]{step('age')}", "/rows/16/age"),
        (f"rows[16]{step('sepal.length')}", "/rows/16/sepal.length"),
        (f"rows[0]{step('a[0]/b~c')}", "/rows/0/a[0]~1b~0c"),
        (f"[3]{step('x')}", "/3/x"),
    ],
)
def test_a_pointer_keeps_names_whole(path, pointer):
    assert Problem(path, "").pointer == pointer


def test_a_kind_alone_where_an_object_is_wanted_is_shown_as_one():
    with pytest.raises(SpecError) as error:
        parse(DataSpec, {"split": "stratified", "preprocessing": {"number": "robust"}})
    assert [(one.path, one.detail) for one in error.value.problems] == [
        ("split", 'must be an object, such as {"kind": "stratified"}'),
        ("preprocessing.number", "must be an object"),
    ]
