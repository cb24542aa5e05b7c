"""What a job would be: the request with every default decided, checked against its data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainrule.errors import Problem, SpecError
from chainrule.fitting import kept_vectors
from chainrule.losses import Objective
from chainrule.network import BLOCK_BYTES, EVALUATION_ROWS
from chainrule.recipe import Recipe
from chainrule.spec import (
    ArchitectureSpec,
    TrainingSpec,
    complete,
    nodes,
    parse,
    scratch,
    starting,
    summarize,
    windows,
)
from service.actions import architectures, datasets, warm_starts
from service.errors import AdmissionError
from service.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from chainrule.spec.layers import Scratch
    from service.actions.datasets import Tensors
    from service.actions.requests import JobRequest
    from service.actions.warm_starts import Source
    from service.settings import Settings
    from service.store.tables import Dataset

__all__ = ["Plan", "plan"]

MAX_STEPS = 10**9
PROCESS_BYTES = 96 * 2**20  # an interpreter with numpy, before any data
FLOPS_PER_S = 5e9  # of one core on small layers; for the estimate of time alone
STEP_S = 60e-6
SHAPE_KEEPING = ("activation", "dropout")


@dataclass(frozen=True)
class Plan:
    """A job that adds up.  ``seconds`` is a rough estimate, ``rows`` counts those of each part."""

    tenant: str
    dataset_id: str
    architecture_id: str | None
    name: str
    config: dict[str, Any]
    recipe: dict[str, Any]
    summary: dict[str, Any]
    rows: dict[str, int]
    epochs: int
    steps: int
    memory_bytes: int
    seconds: float
    warm_start: Source | None = None
    job_id: str = field(default_factory=lambda: new_id("job"))


def plan(session: Session, tenant: str, request: JobRequest, settings: Settings) -> Plan:
    """Check a request against its data and decide what it leaves open.

    Raises: NotFoundError; SpecError, at ``data``, ``architecture`` or ``training``; AdmissionError,
    if the job is sound but too large.
    """
    dataset = datasets.get(session, tenant, request.dataset_id)
    given = request.architecture
    if given is None:
        stored = architectures.get(session, tenant, str(request.architecture_id))
        given = parse(ArchitectureSpec, stored.spec)
    tensors = datasets.tensors(session, dataset)
    recipe, data = _fit(tensors, dataset, request)
    training = _training(request.training, recipe)
    architecture, summary = _complete(given, recipe, training)
    steps = training.epochs * _steps_per_epoch(architecture, recipe, training)
    memory_bytes = _memory(architecture, summary, tensors, recipe, training)
    source = _source(session, tenant, training, architecture)
    if source is not None:
        training = training.model_copy(update={"warm_start": source.spec})
        memory_bytes += source.memory_bytes
    _admit(steps, memory_bytes, settings.max_job_memory_bytes)
    name = request.name or architecture.name
    return Plan(
        tenant=tenant,
        dataset_id=dataset.id,
        architecture_id=request.architecture_id,
        name=name,
        config={
            "name": name,
            "dataset_id": dataset.id,
            "architecture_id": request.architecture_id,
            "architecture": architecture.render(),
            "data": data.render(),
            "training": training.render(),
        },
        recipe=recipe.to_json(),
        summary=summary,
        rows={str(part): count for part, count in recipe.rows.items()},
        epochs=training.epochs,
        steps=steps,
        memory_bytes=memory_bytes,
        seconds=_seconds(summary, recipe, training, steps),
        warm_start=source,
    )


def _source(
    session: Session, tenant: str, training: TrainingSpec, architecture: ArchitectureSpec
) -> Source | None:
    if training.warm_start is None:
        return None
    try:
        return warm_starts.resolve(session, tenant, training.warm_start, architecture)
    except SpecError as error:
        raise error.under("training.warm_start") from None


def _steps_per_epoch(spec: ArchitectureSpec, recipe: Recipe, training: TrainingSpec) -> int:
    try:
        cut = windows(spec, nodes(spec), training)
    except SpecError as error:
        raise error.under("training") from None
    return math.ceil(recipe.rows["train"] / training.batch_size) * cut.updates


def _fit(tensors: Tensors, dataset: Dataset, request: JobRequest) -> tuple[Recipe, Any]:
    loss = request.training.loss.kind if request.training.loss else None
    seed = request.training.seed
    try:
        return Recipe.fit(tensors, dataset.schema, request.data, seed=seed, loss=loss)
    except SpecError as error:
        raise error.under("data") from None


def _training(given: TrainingSpec, recipe: Recipe) -> TrainingSpec:
    """Fill in the loss, and put class weights in the order of the recipe's classes."""
    changes: dict[str, Any] = {}
    if given.loss is None:
        changes["loss"] = parse(TrainingSpec, {"loss": recipe.loss}).loss
    if given.losses is not None:
        raise SpecError.at("training.losses", "are for several outputs; give loss")
    try:
        if isinstance(given.class_weights, dict):
            changes["class_weights"] = recipe.class_weights(given.class_weights)
    except SpecError as error:
        raise error.under("training") from None
    return given.model_copy(update=changes)


def _complete(
    given: ArchitectureSpec, recipe: Recipe, training: TrainingSpec
) -> tuple[ArchitectureSpec, dict[str, Any]]:
    """Fill in what the data decides, and check that the last layer fits the loss."""
    itemsize = 8 if training.precision == "float64" else 4
    slots = kept_vectors(training)
    for names, place in ((given.inputs or {}, "inputs"), (given.outputs or [], "outputs")):
        if len(names) > 1:
            detail = f"are several, {', '.join(names)}: a job has one; use the library"
            raise SpecError.at(f"architecture.{place}", detail)
    try:
        spec = complete(given, recipe.input_shape, recipe.output_shape[-1])
        summary = summarize(spec, batch_size=training.batch_size, itemsize=itemsize, slots=slots)
    except SpecError as error:
        raise error.under("architecture") from None
    _check_head(spec, recipe)
    try:
        Objective({"output": nodes(spec)[-1].output_shape}, training.loss, training.class_weights)
    except SpecError as error:
        raise error.under("training") from None
    return spec, summary


def _check_head(spec: ArchitectureSpec, recipe: Recipe) -> None:
    """Raise SpecError, at the layer whose width is wrong, if the loss cannot take the output."""
    walked, wanted, loss = nodes(spec), recipe.output_shape, recipe.loss
    if loss != "binary_cross_entropy" and recipe.target.kind == "classes" and wanted[-1] < 2:
        detail = f"{loss} needs 2 classes at least, the data has {wanted[-1]}"
        raise SpecError.at("training.loss", detail)
    got = walked[-1].output_shape
    if recipe.fits(got):
        return
    unit = _unit(recipe)
    last = next((n for n in reversed(walked) if n.spec.kind not in SHAPE_KEEPING), walked[-1])
    if len(got) == 1 and last.spec.kind == "dense":
        shown = str(wanted) if len(wanted) != 1 else f"{wanted[0]:,}"
        place = f"architecture.layers[{last.index}].units"
        raise SpecError.at(place, f"must be {shown} for {loss} ({unit}), got {got[0]:,}")
    detail = f"{loss} wants outputs of shape {wanted} ({unit}), the last layer gives {got}"
    raise SpecError.at("training.loss", detail)


def _unit(recipe: Recipe) -> str:
    """Say what an output is."""
    target, units = recipe.target, recipe.output_shape[-1]
    if target.kind == "inputs":
        return "the inputs come back"
    if target.kind == "values":
        return f"the target has {units:,} value" + "s" * (units > 1)
    if recipe.loss == "binary_cross_entropy":
        return f"the data has {units:,} yes-or-no target" + "s" * (units > 1)
    return f"the data has {units:,} classes"


def _memory(
    spec: ArchitectureSpec,
    summary: dict[str, Any],
    tensors: Tensors,
    recipe: Recipe,
    training: TrainingSpec,
) -> int:
    """Estimate the trainer's memory: process, data twice over, network, checkpoint, evaluation."""
    itemsize = 8 if training.precision == "float64" else 4
    rows = sum(recipe.rows[part] for part in ("train", "validation", "test"))
    features = rows * (math.prod(recipe.input_shape) + math.prod(recipe.output_shape)) * itemsize
    prepared = sum(tensor.nbytes for tensor in tensors.values())
    kept = 1 + kept_vectors(training)
    checkpoint = 3 * itemsize * kept * int(summary["parameters"])  # vectors, tensors, the file
    walked = nodes(spec)
    evaluation = _evaluation(scratch(walked), itemsize, training.batch_size)
    learning = int(summary["memory_bytes"]) + checkpoint + evaluation
    filling = itemsize * int(summary["parameters"]) + starting(walked).n_bytes
    return PROCESS_BYTES + features + prepared + max(learning, filling)


def _evaluation(taken: Scratch, itemsize: int, batch_size: int) -> int:
    """Estimate what an evaluation takes: half of a training step's scratch memory is forward's."""
    row = itemsize * max(taken.per_row, 1)
    rows = max(batch_size, min(EVALUATION_ROWS, BLOCK_BYTES // row))
    return rows * row // 2 + itemsize * taken.fixed


def _admit(steps: int, memory_bytes: int, most_bytes: int) -> None:
    """Raise AdmissionError, naming each bound that the job exceeds."""
    problems = []
    if steps > MAX_STEPS:
        detail = f"make {steps:,} steps, one job may have {MAX_STEPS:,}"
        problems.append(Problem("training.epochs", detail))
    if memory_bytes > most_bytes:
        detail = f"needs about {_mib(memory_bytes)} MiB, one job may have {_mib(most_bytes)}"
        problems.append(Problem("architecture", detail))
    if problems:
        raise AdmissionError(*problems)


def _seconds(summary: dict[str, Any], recipe: Recipe, training: TrainingSpec, steps: int) -> float:
    """Guess the time: backward costs twice the forward pass, and each step something by itself."""
    samples = training.epochs * (recipe.rows["train"] + recipe.rows["validation"] / 3)
    flops = 3 * int(summary["flops_per_sample"]) * samples
    return round(flops / FLOPS_PER_S + steps * STEP_S, 3)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"
