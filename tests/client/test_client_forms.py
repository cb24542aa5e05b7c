"""The short forms of the command line: layers, and rows from files."""

from pathlib import Path

import numpy as np
import pytest

from chainrule.cli.layers import architecture_of, chain
from chainrule.cli.rows import read_rows
from chainrule.errors import DataError, SpecError


def test_the_short_form_ends_with_the_layer_that_fits_the_target():
    assert architecture_of("128 relu, dropout 0.2, 64")["layers"] == [
        {"kind": "dense", "units": 128, "activation": "relu"},
        {"kind": "dropout", "rate": 0.2},
        {"kind": "dense", "units": 64},
        {"kind": "dense", "units": "auto"},
    ]


def test_the_short_form_takes_the_last_layer_as_written_too():
    assert architecture_of("16 relu, auto") == architecture_of("16 relu")


def test_a_network_is_told_in_short():
    layers = [{"kind": "flatten"}, {"kind": "dense", "units": 3}]
    assert chain({"input": {"shape": [2, 2]}, "layers": layers}) == "2x2-3, 15 parameters"


def test_an_empty_short_form_is_a_linear_model():
    assert architecture_of(" ")["layers"] == [{"kind": "dense", "units": "auto"}]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("auto, 64", r"layers\[0\]"),
        ("128 relu, relu 64", r"layers\[1\]"),
        ("128 rellu", r"layers\[0\]\.activation"),
        ("0 relu", r"layers\[0\]\.units"),
        ("64,,64", r"layers\[1\]"),
        ("dropout 2", r"layers\[0\]\.rate"),
    ],
)
def test_a_bad_short_form_names_the_layer(text, place):
    with pytest.raises(SpecError, match=place):
        architecture_of(text)


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_rows_of_a_csv_keep_their_text_for_the_recipe_to_read(tmp_path):
    path = write(tmp_path / "rows.csv", "\ufeffage,town\n51,Ulm\n,007\n")
    assert read_rows(path) == ("rows", [{"age": "51", "town": "Ulm"}, {"age": "", "town": "007"}])


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n"])
def test_a_ragged_csv_is_refused_with_the_row(tmp_path, text):
    with pytest.raises(DataError, match=r"rows\[0\]: must have 2 fields"):
        read_rows(write(tmp_path / "rows.csv", text))


def test_a_csv_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        read_rows(write(tmp_path / "rows.csv", "a,b\n"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('[{"a": 1}]', "rows"),
        ('{"rows": [{"a": 1}]}', "rows"),
        ("[[1.0, 2.0]]", "inputs"),
        ('{"inputs": [[1.0]]}', "inputs"),
    ],
)
def test_json_holds_rows_or_inputs(tmp_path, text, kind):
    assert read_rows(write(tmp_path / "rows.json", text))[0] == kind


@pytest.mark.parametrize("text", ["{}", "[]", '"a"', "{"])
def test_other_json_is_refused(tmp_path, text):
    with pytest.raises(DataError):
        read_rows(write(tmp_path / "rows.json", text))


def test_an_npz_holds_one_array_or_one_named_inputs(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, inputs=np.ones((2, 3)), other=np.zeros(2))
    kind, inputs = read_rows(path)
    assert kind == "inputs"
    assert inputs.shape == (2, 3)
    other = {"inputs": {"kind": "arrays", "name": "other"}}
    assert read_rows(path, other)[1].shape == (2,)
    np.savez(path, a=np.ones(2), b=np.zeros(2))
    with pytest.raises(DataError, match="one array"):
        read_rows(path)


def test_several_arrays_are_read_by_the_names_of_the_training(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, left=np.ones((2, 3)), right=np.zeros(2), other=np.zeros(7))
    recipe = {"inputs": {"a": {"name": "left"}, "b": {"name": "right"}, "c": {"name": "left"}}}
    kind, inputs = read_rows(path, recipe)
    assert (kind, {name: array.shape for name, array in inputs.items()}) == (
        "inputs",
        {"left": (2, 3), "right": (2,)},
    )
    with pytest.raises(DataError, match=r"must hold the arrays \['left', 'up'\]"):
        read_rows(path, {"inputs": {"a": {"name": "left"}, "b": {"name": "up"}}})
    text = '{"inputs": {"left": [[1]], "right": [2]}}'
    path = write(tmp_path / "rows.json", text)
    assert read_rows(path) == ("inputs", {"left": [[1]], "right": [2]})
