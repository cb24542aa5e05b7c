"""The API in tests: the real application over the real database and parser, and a bell that notes.

The conftest files beside the tests offer the fixtures.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.numpy import load
from sqlalchemy import func, select

from chainrule.bundle import weights_safetensors, write_bundle
from chainrule.evaluation import evaluation_report
from chainrule.fitting import EpochReport, TrainingLoop
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.spec import TrainingSpec, parse
from service.actions import keys
from service.app import create_app
from service.parsing import Parser
from service.settings import Settings
from service.store import blobs, transitions
from service.store.tables import Base

if TYPE_CHECKING:
    from collections.abc import Generator

    from flask.testing import FlaskClient

    from service.store.database import Database

MAX_UPLOAD_BYTES = 3 * 2**20


def flowers(rows: int = 60, seed: int = 0) -> bytes:
    """Return a table: two numbers and a word to tell three species, and a height, by."""
    draw = random.Random(seed)
    lines = ["length,width,colour,height,species"]
    for row in range(rows):
        kind = row % 3
        length, width = draw.gauss(kind, 0.2), draw.gauss(-kind, 0.2)
        colour = "white" if kind == 1 else "blue"
        height = 3 * length + draw.gauss(0, 0.1)
        lines.append(f"{length:.3f},{width:.3f},{colour},{height:.3f},species {'abc'[kind]}")
    return "\n".join([*lines, ""]).encode()


def network(*units: Any) -> dict[str, Any]:
    return {"layers": [{"kind": "dense", "units": width} for width in units]}


@dataclass
class NotingBell:
    """A bell that nobody hears; it keeps what it was rung for."""

    rung: list[str] = field(default_factory=list)

    def ring(self, job_id: str) -> None:
        self.rung.append(job_id)

    def ping(self) -> None: ...


@dataclass
class Api:
    """The API as one tenant sees it."""

    client: FlaskClient
    database: Database
    bell: NotingBell
    settings: Settings
    key: str

    def call(self, method: str, path: str, *, key: str | None = "", **options: Any) -> Any:
        """Make a request; ``key``: another one than ours, or None for none."""
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key or self.key}")
        return self.client.open(path, method=method, headers=headers, buffered=True, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self.call("POST", path, **options)

    def upload(
        self, data: bytes | None = None, content_type: str = "text/csv", **query: str
    ) -> Any:
        data = flowers() if data is None else data
        return self.post(
            "/v1/datasets", data=data, content_type=content_type, query_string=query or None
        )

    def job_request(self, **changes: Any) -> dict[str, Any]:
        """Return a good job on an uploaded dataset."""
        return {
            "dataset_id": self.upload().json["id"],
            "data": {"inputs": ["length", "width", "colour"], "target": "species"},
            "architecture": network(8, "auto"),
            "training": {"epochs": 2, "batch_size": 16},
            **changes,
        }

    def submit(self, **changes: Any) -> dict[str, Any]:
        answer = self.post("/v1/jobs", json=self.job_request(**changes))
        assert answer.status_code == 202, answer.text
        return answer.json

    def row_counts(self) -> dict[str, int]:
        """Return the number of rows of every table."""
        with self.database.read() as session:
            return {
                name: session.scalar(select(func.count()).select_from(table)) or 0
                for name, table in Base.metadata.tables.items()
            }

    def other_tenant(self) -> str:
        """Return the key of somebody else."""
        return self.database.transact(lambda uow: keys.create(uow, "other", tenant="other")[1])


def training(api: Api, job_id: str) -> Generator[EpochReport]:
    """Train a job here, as a worker would: an epoch of it is committed before each report."""
    database = api.database
    claim = database.transact(
        lambda uow: transitions.claim(uow.session, job_id, worker="here", now=time.time())
    )
    recipe = Recipe.from_json(claim.recipe)
    spec = parse(TrainingSpec, claim.config["training"])
    with database.read() as session:
        tensors = load(blobs.read(session, claim.prepared))
    split = recipe.indices(tensors)
    net = Network(claim.config["architecture"], seed=spec.seed)
    rows, kept = (
        recipe.apply(tensors, part, "float32") for part in (split.train, split.validation)
    )
    loop = TrainingLoop(net, rows, spec, validation=kept, target_scale=recipe.target_scale)
    unit = {"job_id": job_id, "attempt": claim.attempt}
    _commit(database, loop, unit, prev=0, loss=None, rows=[])
    prev = 0
    for report in loop.run():
        if isinstance(report, EpochReport):
            _commit(
                database, loop, unit, prev=prev, loss=report.validation["loss"], rows=[vars(report)]
            )
            prev = loop.step
            yield report
    loop.finish()
    evaluation = evaluation_report(net, recipe, tensors, split)
    bundle = write_bundle(net, recipe=recipe, training=spec.render(), metrics=None)
    weights = hashlib.sha256(weights_safetensors(net)).hexdigest()
    metrics = {"train": report.train, "validation": report.validation, "test": report.validation}
    staged = blobs.stage(database, bundle)
    model = transitions.NewModel(
        staged, net.spec.render(), claim.recipe, "here", weights, evaluation
    )
    database.transact(
        lambda uow: transitions.succeed(
            uow.session,
            **unit,
            step=loop.step,
            metrics=metrics,
            model=model,
            early=loop.stopped,
        )
    )


def _commit(database, loop, unit, *, prev, loss, rows):
    staged = blobs.stage(database, loop.checkpoint().to_bytes())
    done = database.transact(
        lambda uow: transitions.commit_unit(
            uow.session,
            **unit,
            prev=prev,
            step=loop.step,
            epoch=loop.epoch,
            blob=staged,
            loss=loss,
            metrics_rows=rows,
        )
    )
    assert done is not None


def trained(api: Api, **changes: Any) -> dict[str, Any]:
    """Submit a job, train it, and return it."""
    job = api.submit(**changes)
    for _ in training(api, job["id"]):
        pass
    return api.get(f"/v1/jobs/{job['id']}").json


@pytest.fixture(scope="session")
def parser():
    parser = Parser()
    yield parser
    parser.close()


@pytest.fixture
def api(database, parser, tmp_path):
    settings = Settings(
        data_dir=tmp_path, database_url=database.url, max_upload_bytes=MAX_UPLOAD_BYTES
    )
    bell = NotingBell()
    app = create_app(settings, database, bell, parser)
    key = database.transact(lambda uow: keys.create(uow, "test")[1])
    return Api(app.test_client(), database, bell, settings, key)
