"""The golden tables over HTTP: what a job learnt from is what every prediction makes of its rows.

Each model's network gives back what it gets, so that an answer is the features themselves.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from safetensors.numpy import load

import chainrule
from chainrule.bundle import weights_safetensors, write_bundle
from chainrule.network import Network
from chainrule.recipe import Recipe
from service.store import blobs, transitions
from tests.golden_tables import TABLES, WIDE, cells, onnx_cells
from tests.onnx_running import session
from tests.tables import written
from worker.frames import Frame
from worker.trainer.prediction import Prediction

SAME = {"layers": [{"kind": "activation", "activation": "linear"}]}
ORDER = [7, 5, 3, 1, 0, 0]  # of another file: other codes of words, and not all of them


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


@dataclass
class Listener:
    """A supervisor that takes down what a trainer sends, and wants no end."""

    stop: str | None = None
    content: bytes = b""
    sent: list[str] = field(default_factory=list)

    def send(self, kind, payload=b"", **fields):
        self.sent.append(kind)

    def send_unit(self, kind, payload, *, sizes, **fields):
        self.content += payload[: sizes[0]]

    def wait_committed(self): ...


def learnt(api, table, options, precision):
    """Have a model made of a table; return its links, and the features that it was to learn."""
    asked = {
        "dataset_id": api.upload(written(table)).json["id"],
        "data": {
            "task": "reconstruction",
            "split": {"validation": 0.2},
            "preprocessing": options,
        },
        "architecture": SAME,
        "training": {"precision": precision},
    }
    answer = api.post("/v1/jobs", json=asked)
    assert answer.status_code == 202, answer.text
    claim = claimed(api, answer.json)
    with api.database.read() as session_:
        tensors = load(blobs.read(session_, claim.prepared))
    recipe = Recipe.from_json(claim.recipe)
    (features, _) = recipe.apply(tensors, np.arange(claim.schema["rows"]), precision)
    store(api, claim, recipe)
    view = api.get(answer.json["links"]["self"]).json
    return api.get(view["links"]["model"]).json["links"], recipe, features


def claimed(api, job):
    return api.database.transact(
        lambda uow: transitions.claim(uow.session, job["id"], worker="here", now=time.time())
    )


def store(api, claim, recipe):
    """End a job with a network that gives back what it gets, as a worker would."""
    precision = claim.config["training"]["precision"]
    net = Network(claim.config["architecture"], seed=0, dtype=precision)
    staged = blobs.stage(api.database, write_bundle(net, recipe=recipe))
    weights = weights_safetensors(net).hex()[:64]
    model = transitions.NewModel(staged, net.spec.render(), claim.recipe, "here", weights)
    done = api.database.transact(
        lambda uow: transitions.succeed(
            uow.session,
            claim.job_id,
            claim.attempt,
            step=claim.step,
            metrics={},
            model=model,
            early=True,
        )
    )
    assert done


def predicted(api, links, table):
    """Predict a dataset with the trainer's own code, and return what its result would hold."""
    dataset = api.upload(written(table)).json["id"]
    request = {"dataset_id": dataset, "format": "npy"}
    answer = api.post(links["predictions"], json=request)
    assert answer.status_code == 202, answer.text
    claim = claimed(api, answer.json)
    listener = Listener()
    with api.database.read() as session_:
        bundle = blobs.read(session_, claim.warm_start.blob)
        file = api.settings.cache_dir / "rows"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blobs.read(session_, claim.prepared))
    header = {
        "dataset": str(file),
        "schema": claim.schema,
        "format": "npy",
        "block_rows": 4,
        "step": 0,
    }
    Prediction(listener, Frame({"kind": "predict", **header}, bundle)).run()
    assert listener.sent[-1] == "done"
    return np.load(io.BytesIO(listener.content))["prediction"]


def same_bits(answer, features):
    found = np.array(answer, np.float64)
    np.testing.assert_array_equal(found, features.astype(np.float64), strict=True)
    return True


@pytest.mark.parametrize("name", TABLES)
def test_features_over_http_are_those_of_training(api, name):
    table, options = TABLES[name]
    precision = "float64" if name in WIDE else "float32"
    links, recipe, features = learnt(api, table, options, precision)
    bundle = chainrule.load(api.get(links["download"]).data)
    for text in (False, True):
        rows = cells(table, text=text)
        answer = api.post(links["predict"], json={"rows": rows})
        assert answer.status_code == 200, answer.text
        assert same_bits(answer.json["predictions"], features)
        assert bundle.predict(rows) == answer.json
    other = {column: [values[row] for row in ORDER] for column, values in table.items()}
    assert same_bits(predicted(api, links, other), features[ORDER])
    through_onnx(api, links, recipe, table, features)


def through_onnx(api, links, recipe, table, features):
    answer = api.get(links["download"] + "?format=onnx&inputs=raw")
    if any("hash" in str(getattr(one, "encoding", "")) for one in recipe.inputs.columns):
        assert answer.status_code == 422
        return
    given = {
        column.name: onnx_cells(column, table[column.name]) for column in recipe.inputs.columns
    }
    (found,) = session(answer.data).run(["predictions"], given)
    with np.errstate(over="ignore"):  # the file computes in float32
        wanted = features.astype(np.float32)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
