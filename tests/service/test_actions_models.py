"""Models: downloaded byte for byte, and predicting as the library does; how the service is."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors

import chainrule
from chainrule import bundle
from chainrule.export import to_onnx
from service.actions import models, system, workers
from service.actions.cache import Cache
from service.errors import CorruptError, NotFoundError, UnavailableError
from service.store.database import Database

SPEC = {
    "name": "net",
    "input": {"shape": [2]},
    "layers": [{"kind": "dense", "units": 3, "activation": "tanh"}, {"kind": "dense", "units": 1}],
}


@pytest.fixture
def trained(scene):
    """A network, its bundle, and the row of the model that a finished job left."""
    net = chainrule.Network(SPEC, seed=4)
    data = bundle.write_bundle(net)
    claim = scene.running(steps=1)
    scene.commit(claim, 0, 1)
    assert scene.succeed(claim, 1, bundle=data)
    with scene.database.read() as session:
        (row,) = models.list_page(session, "default").items
    return net, data, row


def test_a_model_is_downloaded_in_each_format(scene, trained):
    net, data, row = trained
    with scene.database.read() as session:
        files = {name: models.download(session, row, name) for name in models.FORMATS}
        for name in ("npz", "onnx"):
            assert models.download(session, row, name) == files[name]  # the same bytes every time
    assert files["bundle"] == data
    assert files["onnx"] == to_onnx(net)
    assert files["safetensors"] == bundle.weights_safetensors(net)
    with np.load(io.BytesIO(files["npz"])) as arrays:
        loaded = dict(arrays)
    for tensors in (loaded, load_tensors(files["safetensors"])):
        assert set(tensors) == set(net.parameters)
        for name, values in net.parameters.items():
            np.testing.assert_array_equal(tensors[name], values)


def test_a_model_predicts_as_the_network_does(scene, trained):
    net, _, row = trained
    x = np.array([[0.5, -1.0], [2.0, 3.0]], np.float32)
    answer = models.predict(scene.database, "default", row.id, x.tolist())
    np.testing.assert_allclose(answer["predictions"], net.predict(x), rtol=1e-6)


def test_a_model_in_use_is_not_read_again_but_must_still_be_there(scene, trained):
    row = trained[2]
    first = models.predict(scene.database, "default", row.id, [[0.5, -1.0]])
    scene.sql("DELETE FROM blob_chunks")  # without its bytes only a loaded one can answer
    assert models.predict(scene.database, "default", row.id, [[0.5, -1.0]]) == first
    with pytest.raises(NotFoundError):
        models.predict(scene.database, "other", row.id, [[0.5, -1.0]])
    scene.sql("DELETE FROM models")
    with pytest.raises(NotFoundError):
        models.predict(scene.database, "default", row.id, [[0.5, -1.0]])


def test_threads_may_share_a_model(scene, trained):
    net, _, row = trained
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)

    def predict(one):
        return models.predict(scene.database, "default", row.id, [one.tolist()])["predictions"][0]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(predict, x))
    np.testing.assert_allclose(found, net.predict(x), rtol=1e-5, atol=1e-7)


def test_a_damaged_model_is_not_handed_out(scene, trained):
    row = trained[2]
    scene.sql("UPDATE chunks SET data = :bad", bad=b"x")
    with scene.database.read() as session, pytest.raises(CorruptError):
        models.download(session, row)


def test_a_model_of_another_tenant_is_not_there(scene, trained):
    row = trained[2]
    with scene.database.read() as session:
        assert models.get(session, "default", row.id).id == row.id
        with pytest.raises(NotFoundError):
            models.get(session, "other", row.id)
        assert models.list_page(session, "other").items == []


def test_a_cache_forgets_what_was_used_longest_ago():
    cache, loads = Cache(max_bytes=10), []

    def get(key, size=4):
        def load():
            loads.append(key)
            return key.upper(), size

        return cache.get(key, load)

    assert [get(key) for key in "aba"] == ["A", "B", "A"]
    get("c")  # there is no room for three: b goes
    get("a")
    assert loads == ["a", "b", "c"]
    get("b")
    get("huge", size=11)
    assert get("b") == "B"
    assert loads == ["a", "b", "c", "b", "huge"]


class Bell:
    """A broker that answers, or not."""

    def __init__(self, answers):
        self.answers = answers

    def ping(self):
        if not self.answers:
            raise UnavailableError("the broker does not answer")


def test_health_says_what_does_not_answer(scene):
    none_seen = "no worker was seen lately"
    expected = {"database": "ok", "broker": "ok", "worker": none_seen}
    assert system.health(scene.database, Bell(answers=True)) == expected
    scene.database.transact(lambda uow: workers.register(uow, "w", trainers=1, info={}))
    expected = {"database": "ok", "broker": "the broker does not answer", "worker": "ok"}
    assert system.health(scene.database, Bell(answers=False)) == expected
    away = Database("postgresql://nobody@127.0.0.1:1/nowhere")
    expected = {
        "database": "the database does not answer",
        "broker": "ok",
        "worker": "not known without the database",
    }
    assert system.health(away, Bell(answers=True)) == expected


def test_versions_name_what_runs(scene):
    told = system.versions(scene.database)
    assert told["numpy"] == np.__version__
    assert told["database"] == scene.database.engine.dialect.name
    assert told["fingerprint"].startswith("numpy")
