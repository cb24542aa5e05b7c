"""Bundles: the same bytes for the same model, the same predictions from the file, and no trust."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors

import chainrule
from chainrule.bundle import save, weights_safetensors, write_bundle
from chainrule.errors import CheckpointError, DataError
from chainrule.fingerprint import fingerprint
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.spec import DataSpec

SPEC = {"input": {"shape": [3]}, "layers": [{"kind": "dense", "units": 2}]}
DEEP = {
    "input": {"shape": [2, 2]},
    "layers": [
        {"kind": "flatten"},
        {"kind": "dense", "units": 4, "activation": "relu"},
        {"kind": "dense", "units": 1},
    ],
}


def flower_recipe():
    tensors = {
        "size": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        "colour": np.array([0, 1, 0, 1, 0], np.int32),
        "kind": np.array([0, 1, 0, 1, 1], np.int32),
    }
    columns = [
        {"name": "size", "type": "number"},
        {"name": "colour", "type": "categorical", "categories": ["blue", "red"]},
        {"name": "kind", "type": "categorical", "categories": ["iris", "rose"]},
    ]
    schema = {"kind": "table", "rows": 5, "columns": columns}
    return tensors, Recipe.fit(tensors, schema, DataSpec(target="kind"), seed=1)[0]


def edit(data, name, change):
    """Return the bundle with one part changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry.filename, change(content) if entry.filename == name else content)
    return file.getvalue()


def test_equal_networks_give_equal_bytes():
    one, other = Network(SPEC, seed=3), Network(json.dumps(SPEC), seed=3)
    assert weights_safetensors(one) == weights_safetensors(other)
    options = {"training": {"epochs": 1}, "metrics": {"train": {"loss": 0.5}}}
    recipe = flower_recipe()[1]
    assert write_bundle(one, recipe=recipe, **options) == write_bundle(
        other, recipe=recipe, **options
    )
    assert weights_safetensors(one) != weights_safetensors(Network(SPEC, seed=4))


def test_the_weights_are_safetensors_with_the_spec_as_their_only_metadata():
    net = Network(SPEC)
    data = weights_safetensors(net)
    (size,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    assert list(metadata) == ["spec"]
    assert json.loads(metadata["spec"]) == net.spec.render()
    assert " " not in metadata["spec"]
    for name, tensor in load_tensors(data).items():
        assert (tensor == net.parameters[name]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_network_comes_back_bit_for_bit(tmp_path, dtype):
    net = Network(DEEP, seed=5, dtype=dtype)
    path = tmp_path / "model.zip"
    net.save(path)
    model = chainrule.load(path)
    assert model.recipe is None
    assert model.network.flat.tobytes() == net.flat.tobytes()
    x = np.random.default_rng(0).normal(size=(7, 2, 2))
    assert model.predict(x)["predictions"] == net.predict(x).tolist()
    save(net, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


def test_a_model_predicts_raw_rows_as_it_was_trained_on_the_file():
    tensors, recipe = flower_recipe()
    net = Network(SPEC, seed=2)
    model = chainrule.load(write_bundle(net, recipe=recipe))
    rows = [
        {"size": size, "colour": ["blue", "red"][colour], "kind": None}
        for size, colour in zip(tensors["size"], tensors["colour"], strict=True)
    ]
    raw = net.predict(recipe.apply(tensors)[0])
    assert model.predict(rows) == recipe.invert(raw)
    assert model.predict(rows)["classes"] == ["iris", "rose"]


def test_no_rows_have_no_predictions():
    model = chainrule.load(write_bundle(Network(SPEC), recipe=flower_recipe()[1]))
    assert model.predict([]) == {
        "predictions": [],
        "probabilities": [],
        "classes": ["iris", "rose"],
    }


def test_an_array_model_predicts_lists_and_arrays_alike():
    tensors = {"x": np.eye(3)[[0, 1, 2, 0]], "y": np.array([0, 1, 1, 0])}
    entries = [{"name": name, "shape": list(t.shape)} for name, t in tensors.items()]
    schema = {"kind": "arrays", "rows": 4, "arrays": entries}
    recipe, _ = Recipe.fit(tensors, schema, DataSpec(target="y"), seed=0)
    model = chainrule.load(write_bundle(Network(SPEC), recipe=recipe))
    assert model.predict(tensors["x"]) == model.predict(tensors["x"].tolist())
    assert set(model.predict(tensors["x"])["predictions"]) <= {0, 1}


def test_a_bad_row_is_named():
    model = chainrule.load(write_bundle(Network(SPEC), recipe=flower_recipe()[1]))
    with pytest.raises(DataError, match=r"^rows\[1\]\.size: must be a number, got 'big'$"):
        model.predict([{"size": 1, "colour": "red"}, {"size": "big", "colour": "red"}])
    with pytest.raises(DataError, match=r"^rows\[0\]: must be an object"):
        model.predict([[1, 2]])


def test_an_output_beyond_all_numbers_is_told_at_its_row():
    net = Network(SPEC)
    net.flat[:] = 3e38
    model = chainrule.load(write_bundle(net, recipe=flower_recipe()[1]))
    with pytest.raises(DataError, match=r"^rows\[0\]: leads the network to an output"):
        model.predict([{"size": 1e300, "colour": "red"}])


def test_arrays_of_the_wrong_shape_are_told_both_shapes():
    model = chainrule.load(write_bundle(Network(DEEP)))
    with pytest.raises(DataError) as error:
        model.predict([[1, 2, 3]])
    assert str(error.value) == "inputs: must have shape (rows, 2, 2), got (1, 3)"


def test_the_manifest_tells_what_the_model_is():
    recipe = flower_recipe()[1]
    training = {"epochs": 3, "loss": {"kind": "softmax_cross_entropy"}}
    data = write_bundle(Network(SPEC), recipe=recipe, training=training, metrics={"test": None})
    manifest = chainrule.load(data).manifest
    assert manifest["training"] == training
    assert manifest["loss"] == "softmax_cross_entropy"
    assert manifest["recipe"] == recipe.to_json()
    assert manifest["parameters"] == 8
    assert manifest["fingerprint"] == fingerprint()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        weights = archive.read("weights.safetensors")
    assert manifest["sha256"]["weights.safetensors"] == hashlib.sha256(weights).hexdigest()


def test_the_golden_outputs_are_those_of_the_network():
    net = Network(DEEP, seed=8)
    with zipfile.ZipFile(io.BytesIO(write_bundle(net))) as archive:
        golden = np.load(io.BytesIO(archive.read("golden.npz")))
    assert (net.predict(golden["inputs"]) == golden["outputs"]).all()
    assert golden["inputs"].shape == (4, 2, 2)


@pytest.mark.parametrize("name", ["weights.safetensors", "golden.npz"])
def test_a_part_that_has_changed_is_seen(name):
    data = write_bundle(Network(SPEC))
    changed = edit(data, name, lambda part: part[:-1] + bytes([part[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=f"{name} has changed"):
        chainrule.load(changed)


def test_any_flipped_byte_or_cut_is_an_error_of_ours_or_harmless():
    net = Network(SPEC, seed=1)
    data = write_bundle(net)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 300):
        broken = bytearray(data)
        broken[place] ^= 1 << int(rng.integers(8))
        try:
            model = chainrule.load(bytes(broken))
        except CheckpointError:
            continue
        assert model.network.flat.tobytes() == net.flat.tobytes()
    for size in rng.integers(0, len(data) - 1, 50):
        with pytest.raises(CheckpointError):
            chainrule.load(data[:size])


def test_a_manifest_of_a_giant_costs_no_memory():
    def grow(part):
        manifest = json.loads(part)
        manifest["spec"]["layers"][0]["units"] = 900_000
        return json.dumps(manifest).encode()

    with pytest.raises(CheckpointError, match="not those of the architecture"):
        chainrule.load(edit(write_bundle(Network(SPEC)), "manifest.json", grow))


def test_a_format_of_the_future_is_refused():
    def age(part):
        return part.replace(b'"format": 1', b'"format": 2')

    with pytest.raises(CheckpointError, match="bundle format 2, wanted 1"):
        chainrule.load(edit(write_bundle(Network(SPEC)), "manifest.json", age))


def test_a_packed_part_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("README.md", "manifest.json", "weights.safetensors", "golden.npz"):
            archive.writestr(name, b"\0" * 10**6)
    with pytest.raises(CheckpointError, match="not stored as they are"):
        chainrule.load(file.getvalue())


def test_a_bundle_may_carry_an_evaluation_and_older_ones_have_none():
    net = Network(SPEC, seed=3)
    assert chainrule.load(write_bundle(net)).evaluation is None
    report = {"status": "complete", "outputs": {"dense_1": {"z": 1.5, "a": None}}}
    data = write_bundle(net, evaluation=report)
    assert chainrule.load(data).evaluation == report
    with pytest.raises(CheckpointError, match=r"evaluation\.json has changed"):
        chainrule.load(edit(data, "evaluation.json", lambda text: text + b" "))
