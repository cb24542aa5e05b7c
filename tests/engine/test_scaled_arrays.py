"""Arrays scaled by batch: the numbers of numpy and scikit-learn, and bytes that stay bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from chainrule.errors import SpecError
from chainrule.export import to_onnx
from chainrule.fitting import TrainingLoop, evaluate
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.recipe.encoding import encode
from chainrule.recipe.reading import Reader
from chainrule.recipe.scaled import Scaled
from chainrule.spec import DataSpec, parse
from tests.onnx_running import session

STANDARD = {"array": {"scaling": "standard"}}
DIVIDE = {"array": {"scaling": "divide"}}
SPLIT = {"validation": 0.2, "test": 0.2}


def arrays(**tensors):
    entries = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    rows = len(next(iter(tensors.values())))
    return tensors, {"kind": "arrays", "rows": rows, "arrays": entries, "warnings": []}


def pictures(dtype=np.uint8, shape=(6, 5, 3)):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (50, *shape)) * np.array([1.0, 0.5, 0.1])[: shape[-1]]
    return arrays(x=x.astype(dtype), y=rng.integers(0, 3, 50))


def fit(data, **spec):
    document = {"inputs": ["x"], "target": "y", "split": SPLIT, **spec}
    recipe = Recipe.fit(*data, parse(DataSpec, document), seed=1)[0]
    return Recipe.from_json(json.loads(json.dumps(recipe.to_json())))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(6, 5, 3), (4, 3), (3,)])
def test_standard_scales_each_channel_by_the_training_rows_as_scikit_learn_does(dtype, shape):
    data = tensors, _ = pictures(dtype, shape)
    recipe = fit(data, preprocessing=STANDARD)
    train = recipe.indices(tensors).train
    scaler = StandardScaler().fit(tensors["x"][train].reshape(-1, 3).astype(float))
    wanted = scaler.transform(tensors["x"].reshape(-1, 3).astype(float)).reshape(50, *shape)
    x, _ = recipe.apply(tensors)
    np.testing.assert_allclose(np.asarray(x), wanted, rtol=1e-9, atol=1e-9)
    assert isinstance(x, Scaled) == (dtype in (np.uint8, np.int16))


def test_divide_makes_shares_of_pixels():
    data = tensors, _ = pictures()
    x, _ = fit(data, preprocessing=DIVIDE).apply(tensors, dtype="float32")
    assert (np.asarray(x) == (tensors["x"] / 255.0).astype(np.float32)).all()
    half = {"array": {"scaling": {"kind": "divide", "by": 127.5}}}
    x, _ = fit(data, preprocessing=half).apply(tensors)
    assert (np.asarray(x) == tensors["x"] / 127.5).all()


def test_bytes_are_read_where_they_are():
    data = tensors, _ = pictures()
    recipe = fit(data, preprocessing=DIVIDE)
    for part in (recipe.indices(tensors).train, None):
        x, _ = recipe.apply(tensors, part)
        assert x.values.dtype == np.uint8
        assert np.shares_memory(x.values, tensors["x"])


def test_a_channel_that_never_differs_is_zero():
    tensors, schema = pictures()
    tensors["x"][..., 1] = 200
    x, _ = fit((tensors, schema), preprocessing=STANDARD).apply(tensors)
    assert not np.asarray(x)[..., 1].any()


@pytest.mark.parametrize("options", [STANDARD, DIVIDE])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_predictions_get_the_bits_of_training(options, dtype, tmp_path):
    data = tensors, schema = pictures(dtype)
    recipe = fit(data, preprocessing=options)
    x = np.asarray(recipe.apply(tensors, dtype="float32")[0])
    assert recipe.apply_inputs(tensors["x"].tolist(), "float32").tobytes() == x.tobytes()
    reader = Reader(recipe, schema, {})
    blocks = [reader.read(tensors, n, n + 25, "float32") for n in (0, 25)]
    assert np.concatenate(blocks).tobytes() == x.tobytes()
    rows = np.arange(50)
    again = encode(recipe, tensors, rows, "float32", folder=tmp_path)[0]
    assert np.asarray(again).tobytes() == x.tobytes()


def test_a_recipe_without_a_scale_is_what_it_was():
    document = fit(pictures()).to_json()
    assert "scale" not in document["inputs"]
    assert "window" not in document


def test_scaled_pictures_are_given_back():
    data = tensors, schema = arrays(x=pictures()[0]["x"])
    document = {"task": "reconstruction", "preprocessing": DIVIDE}
    recipe = Recipe.fit(
        tensors, schema, parse(DataSpec, document), seed=0, loss="binary_cross_entropy"
    )[0]
    x, y = recipe.apply(data[0])
    assert (np.asarray(y) == np.asarray(x)).all()
    with pytest.raises(SpecError, match="must be from 0 to 1 for binary_cross_entropy"):
        Recipe.fit(
            tensors,
            schema,
            parse(DataSpec, {**document, "preprocessing": STANDARD}),
            seed=0,
            loss="binary_cross_entropy",
        )


def test_a_table_has_no_array_to_scale():
    columns = [{"name": n, "type": "number", "unique": 9} for n in ("x", "y")]
    tensors = {"x": np.arange(9.0), "y": np.arange(9.0)}
    with pytest.raises(SpecError, match=r"preprocessing.array: is of arrays, this is a table"):
        fit((tensors, {"kind": "table", "rows": 9, "columns": columns}), preprocessing=DIVIDE)


NETWORK = {
    "input": {"shape": [6, 5, 3]},
    "layers": [
        {"kind": "conv2d", "filters": 2, "kernel_size": 3},
        {"kind": "flatten"},
        {"kind": "dense", "units": 3},
    ],
}


def learnt(x, y, checkpoint=None, stop=None, **more):
    training = {"loss": "softmax_cross_entropy", "batch_size": 8, "epochs": 3, "seed": 3, **more}
    augmentation = more.pop("augmentation", ())
    training.pop("augmentation", None)
    net = Network(NETWORK, 0)
    loop = TrainingLoop(net, (x, y), training, checkpoint=checkpoint, augmentation=augmentation)
    for _ in loop.run():
        if loop.step == stop:
            break
    return loop


@pytest.mark.parametrize(
    "more", [{}, {"shards": 2}, {"augmentation": [{"kind": "noise", "stddev": 1.0}]}]
)
def test_bytes_are_learnt_as_the_numbers_that_they_stand_for(more):
    data = tensors, _ = pictures()
    recipe = fit(data, preprocessing=STANDARD)
    x, y = recipe.apply(tensors, recipe.indices(tensors).train, "float32")
    loop = learnt(x, y, **more)
    whole = loop.checkpoint().to_bytes()
    assert learnt(np.asarray(x), y, **more).checkpoint().to_bytes() == whole
    half = learnt(x, y, stop=5, **more).checkpoint()
    assert learnt(x, y, checkpoint=half, **more).checkpoint().to_bytes() == whole
    programs = [p for shard in loop._shards._shards for p in shard._replay._programs.values()]
    is_replayed = any(program is not None and program.is_proven for program in programs)
    assert is_replayed == ("augmentation" not in more)
    scores = [evaluate(loop.net, one, y, "softmax_cross_entropy") for one in (x, np.asarray(x))]
    assert scores[0] == scores[1]


def test_the_onnx_file_scales_raw_pixels_where_it_is_asked_to():
    data = tensors, _ = pictures()
    recipe = fit(data, preprocessing=STANDARD)
    net = Network(NETWORK, 0)
    raw = tensors["x"][:5].astype(np.float32)
    run = session(to_onnx(net, recipe=recipe, inputs="raw"))
    wanted = net.predict(recipe.apply_inputs(tensors["x"][:5], "float32"))
    powers = np.exp(wanted - wanted.max(axis=1, keepdims=True))
    found = run.run(["probabilities"], {"input": raw})[0]
    np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_window_has_no_raw_form_in_onnx():
    columns = [{"name": n, "type": "number", "unique": 9} for n in ("x", "y")]
    tensors = {"x": np.arange(9.0), "y": np.arange(9.0)}
    schema = {"kind": "table", "rows": 9, "columns": columns}
    nothing = {"validation": 0, "test": 0}
    recipe = fit((tensors, schema), window={"length": 2}, split=nothing)
    layers = [{"kind": "flatten"}, {"kind": "dense", "units": 1}]
    net = Network({"input": {"shape": [2, 2]}, "layers": layers})
    assert to_onnx(net, recipe=recipe)
    with pytest.raises(SpecError, match="inputs: a window is of many raw rows"):
        to_onnx(net, recipe=recipe, inputs="raw")
