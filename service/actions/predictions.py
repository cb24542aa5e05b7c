"""Batch predictions: a job that reads a dataset and leaves another one, a row for each row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.errors import DataError, Problem, SpecError
from chainrule.network import BLOCK_BYTES
from chainrule.recipe import Recipe
from chainrule.recipe.reading import Reader
from chainrule.spec import ArchitectureSpec, WarmStartSpec, forward_scratch, nodes, parse, summarize
from service.actions import datasets, jobs, models
from service.actions.once import plainly
from service.actions.plans import FLOPS_PER_S, PROCESS_BYTES, Plan, admit
from service.actions.warm_starts import Source
from service.store import blobs

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.actions.once import Once
    from service.actions.requests import PredictionRequest
    from service.broker.bell import Bell
    from service.settings import Settings
    from service.store.database import Database
    from service.store.tables import Job

__all__ = ["submit"]

MAX_BLOCK_ROWS = 16_384
BLOCK_VALUES = 2**20  # of all that a block's rows are: as stored, as features, as answers
VALUE_BYTES = 100  # of a value's number, its Python object and its text
BLOCK_FLOPS = 4e9  # seconds, not minutes: between blocks a job is cancelled, and progress kept


def submit(  # noqa: PLR0913 one keyword for each part of the request
    database: Database,
    bell: Bell,
    settings: Settings,
    *,
    tenant: str,
    model_id: str,
    request: PredictionRequest,
    once: Once = plainly,
) -> Job:
    """Queue a prediction of all rows of a dataset (T1), once the model can read it.

    Raises: NotFoundError; SpecError at ``dataset_id``, naming each column or array that does not
    fit; AdmissionError.
    """

    def make() -> Plan:
        with database.read() as session:
            return plan(session, tenant, model_id, request, settings)

    act = once(lambda uow, planned: jobs.enqueue(uow, planned, bell))
    job: Job = blobs.attached(database, make, act)
    return job


def plan(
    session: Session, tenant: str, model_id: str, request: PredictionRequest, settings: Settings
) -> Plan:
    """Decide how a dataset is predicted.  Raises: as ``submit``."""
    model = models.get(session, tenant, model_id)
    dataset = datasets.ready(session, tenant, request.dataset_id)
    if model.recipe is None:
        raise SpecError.at("", f"model {model_id} has no recipe: it cannot read datasets")
    recipe = Recipe.from_json(model.recipe)
    try:
        tensors = {}
        if recipe.window is not None:  # how many groups there are, only their rows tell
            tensors = datasets.tensors(session, dataset, settings.cache_dir)
        reader = Reader(recipe, dataset.schema, tensors)
    except DataError as error:
        places = (Problem("dataset_id", problem.detail) for problem in error.problems)
        raise SpecError(*places) from None
    spec = parse(ArchitectureSpec, model.spec)
    flops = max(1, int(summarize(spec)["flops_per_sample"]))
    values = _values(spec)
    block_rows = _block_rows(flops, values)
    memory_bytes = (
        PROCESS_BYTES
        + 4 * model.bytes  # as the warm start's copies
        + VALUE_BYTES * block_rows * values
        + max(BLOCK_BYTES, 8 * forward_scratch(nodes(spec)).per_row)
    )
    rows = reader.rows
    admit(rows, memory_bytes, settings.max_job_memory_bytes)
    name = request.name or f"{model.name} on {dataset.name}"
    return Plan(
        tenant=tenant,
        kind="prediction",
        dataset_id=dataset.id,
        architecture_id=None,
        model_id=model.id,
        name=name,
        config={
            "name": name,
            "model_id": model.id,
            "dataset_id": dataset.id,
            "format": request.format,
            "block_rows": block_rows,
            **({"left_out": reader.left_out} if reader.left_out else {}),
        },
        recipe={},
        summary={},
        rows={},
        epochs=0,
        steps=rows,
        memory_bytes=memory_bytes,
        seconds=round(rows * flops / FLOPS_PER_S, 3),
        warm_start=Source(
            spec=WarmStartSpec(model_id=model.id),
            blob=model.bundle,
            bytes=model.bytes,
            architecture=None,
            receipt={},
        ),
    )


def _values(spec: ArchitectureSpec) -> int:
    """Return how many numbers a row is: its inputs twice, its outputs with what is made of them."""
    shapes = {node.name: node.output_shape for node in nodes(spec)}
    inputs = sum(math.prod(shape) for shape in spec.input_shapes.values())
    outputs = sum(math.prod(shapes[name]) for name in spec.output_names)
    return 2 * inputs + 2 * outputs


def _block_rows(flops: int, values: int) -> int:
    """Return a power of two, part of the job: the same rows together give the same bits."""
    most = min(MAX_BLOCK_ROWS, BLOCK_VALUES // values, int(BLOCK_FLOPS / flops))
    return int(2 ** int(math.log2(max(1, most))))
