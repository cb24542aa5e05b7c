"""What a job would be: the request with every default decided, checked against its data."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from chainrule.errors import Problem, SpecError, step
from chainrule.evaluation import suspicions
from chainrule.fitting import kept_vectors
from chainrule.losses import Objective
from chainrule.network import BLOCK_BYTES, EVALUATION_ROWS
from chainrule.recipe.encoding import IN_MEMORY_BYTES
from chainrule.spec import (
    ArchitectureSpec,
    TrainingSpec,
    asked,
    complete,
    forward_scratch,
    nodes,
    parse,
    stage_rows,
    stage_steps,
    starting,
    summarize,
)
from service.actions import architectures, augmenting, datasets, fits, heads, tokens, warm_starts
from service.errors import AdmissionError
from service.ids import new_id
from service.store.database import rest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session

    from chainrule.recipe import Recipe
    from chainrule.spec.layers import Scratch
    from chainrule.spec.training.losses import LossName
    from service.actions.datasets import Tensors
    from service.actions.requests import JobRequest
    from service.actions.warm_starts import Source
    from service.settings import Settings
    from service.store.tables import Dataset

__all__ = ["FLOPS_PER_S", "PROCESS_BYTES", "Plan", "admit", "plan"]

MAX_STEPS = 10**9
PROCESS_BYTES = 96 * 2**20  # an interpreter with numpy, before any data
THREAD_BYTES = 48 * 2**20  # a thread's stack, its heap, and what OpenBLAS keeps for it
NUMBERS_BYTES = 16  # a row: its place in the parts and in the order, and what making these takes
FLOPS_PER_S = 5e9  # of one core on small layers; for the estimate of time alone
STEP_S = 60e-6


@dataclass(frozen=True)
class Plan:
    """A job that adds up.  ``seconds`` is a rough estimate, ``rows`` counts those of each part.

    ``disk_bytes`` is what the trainer needs beside its memory, for rows that are too many for it.
    """

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
    disk_bytes: int = 0
    warm_start: Source | None = None
    kind: str = "training"
    model_id: str | None = None  # which predicts
    job_id: str = field(default_factory=lambda: new_id("job"))
    suspicions: Callable[[], list[str]] = list  # only who asks for a plan alone reads them


def plan(session: Session, tenant: str, request: JobRequest, settings: Settings) -> Plan:
    """Check a request against its data and decide what it leaves open.

    Raises: NotFoundError; SpecError, at ``data``, ``architecture`` or ``training``; AdmissionError,
    if the job is sound but too large; UnavailableError, as ``fits.turn``.
    """
    dataset = datasets.ready(session, tenant, request.dataset_id)
    given = request.architecture
    if given is None:
        stored = architectures.get(session, tenant, str(request.architecture_id))
        given = parse(ArchitectureSpec, stored.spec)
    rest(session)  # what follows may take long: no snapshot is held meanwhile
    tensors = datasets.tensors(session, dataset, settings.cache_dir)
    rest(session)
    with fits.turn(dataset):
        recipe, data = _fit(tensors, dataset, request, given)
        training = _training(request.training, recipe, tensors)
        architecture, summary = _complete(given, recipe, training)
        _check_tokens(architecture, recipe, tensors)
    stages = stage_rows(data.split, recipe.rows["train"])
    steps = _steps(stages, architecture, training)
    encoded, disk_bytes = _encoded(recipe, tensors, training)
    memory_bytes = encoded + _memory(architecture, summary, recipe, training)
    memory_bytes += augmenting.memory_bytes(data, architecture, training)
    source = _source(session, tenant, training, architecture)
    if source is not None:
        training = training.model_copy(update={"warm_start": source.spec})
        memory_bytes += source.memory_bytes
    admit(steps, memory_bytes, settings.max_job_memory_bytes)
    if settings.embedded:  # elsewhere the trainer's disk is another one
        _check_disk(disk_bytes, settings.cache_dir)
    name = request.name or architecture.name
    config = {
        "name": name,
        "dataset_id": dataset.id,
        "architecture_id": request.architecture_id,
        "architecture": architecture.render(),
        "data": data.render(),
        "training": training.render(),
    }
    return Plan(
        tenant=tenant,
        dataset_id=dataset.id,
        architecture_id=request.architecture_id,
        name=name,
        config=config,
        recipe=recipe.to_json(),
        summary=summary,
        rows={str(part): count for part, count in recipe.rows.items()},
        epochs=len(stages) * training.epochs,
        steps=steps,
        memory_bytes=memory_bytes,
        disk_bytes=disk_bytes,
        seconds=_seconds(summary, recipe, len(stages) * training.epochs, steps),
        warm_start=source,
        suspicions=partial(suspicions, tensors, recipe),
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


def _steps(stages: list[int], spec: ArchitectureSpec, training: TrainingSpec) -> int:
    if len(stages) > 1 and training.warm_start is not None:
        detail = "may have learnt from the rows of a fold before: not with split.kind k_fold"
        raise SpecError.at("training.warm_start", detail)
    try:
        return sum(stage_steps(stages, spec, training))
    except SpecError as error:
        raise error.under("training") from None


def _fit(
    tensors: Tensors, dataset: Dataset, request: JobRequest, network: ArchitectureSpec
) -> tuple[Recipe, Any]:
    inputs = network.input_shapes if network.input or network.inputs else None
    outputs, chosen = _outputs(network), request.data
    names = asked(network) if inputs is None and dataset.schema["kind"] == "arrays" else []
    if len(names) == 1 and chosen.inputs in (names, names[0]):
        # The only input has the name that the layers give it, as several inputs have.
        chosen = chosen.model_copy(update={"inputs": {names[0]: names[0]}})
    losses = _losses(request.training, outputs)
    try:
        return fits.fit(
            tensors,
            dataset,
            chosen,
            seed=request.training.seed,
            loss=losses,
            inputs=None if inputs is None else list(inputs),
            outputs=outputs,
        )
    except SpecError as error:
        raise error.under("data") from None


def _outputs(network: ArchitectureSpec) -> list[str]:
    """Return the names of the outputs; whether all are layers, and none twice, is seen later."""
    return list(dict.fromkeys(network.output_names))


def _losses(training: TrainingSpec, outputs: list[str]) -> dict[str, LossName]:
    """Return the kinds of the outputs' losses, as far as they are given."""
    if training.losses is None:
        return dict.fromkeys(outputs, training.loss.kind) if training.loss else {}
    if len(outputs) == 1:
        raise SpecError.at("training.losses", "are for several outputs; give loss")
    if training.loss is not None:
        raise SpecError.at("training.losses", "give loss or losses, not both")
    known = ", ".join(outputs)
    problems = [
        Problem(f"training.losses{step(name)}", f"there is no such output; there is {known}")
        for name in training.losses
        if name not in outputs
    ]
    if problems:
        raise SpecError(*problems)
    return {name: loss.kind for name, loss in training.losses.items()}


def _training(given: TrainingSpec, recipe: Recipe, tensors: Tensors) -> TrainingSpec:
    """Fill in the losses, and put class weights in the order of the recipe's classes."""
    changes: dict[str, Any] = {}
    if isinstance(recipe.loss, dict):
        kept = given.losses or dict.fromkeys(recipe.loss, given.loss)
        losses = {name: kept.get(name) or kind for name, kind in recipe.loss.items()}
        rendered = {n: one if isinstance(one, str) else one.render() for n, one in losses.items()}
        changes["losses"] = parse(TrainingSpec, {"losses": rendered}).losses
        changes["loss"] = None
    elif given.loss is None:
        changes["loss"] = parse(TrainingSpec, {"loss": recipe.loss}).loss
    try:
        if given.class_weights == "balanced":
            changes["class_weights"] = recipe.balanced_weights(tensors)
        elif isinstance(given.class_weights, dict):
            changes["class_weights"] = recipe.class_weights(given.class_weights)
    except SpecError as error:
        raise error.under("training") from None
    return given.model_copy(update=changes)


def _complete(
    given: ArchitectureSpec, recipe: Recipe, training: TrainingSpec
) -> tuple[ArchitectureSpec, dict[str, Any]]:
    """Fill in what the data decides, and check that each output's layer fits its loss."""
    itemsize = 8 if training.precision == "float64" else 4
    slots = kept_vectors(training)
    units = {name: one.shape[-1] for name, one in recipe.learnt(_outputs(given)).items()}
    try:
        spec = complete(given, recipe.input_shape, units, recipe.vocabularies)
        summary = summarize(
            spec,
            batch_size=training.batch_size,
            itemsize=itemsize,
            slots=slots,
            shards=training.shards,
        )
    except SpecError as error:
        raise error.under("architecture") from None
    heads.check(spec, recipe)
    shapes = {node.name: node.output_shape for node in nodes(spec)}
    outputs = {name: shapes[name] for name in spec.output_names}
    try:
        Objective(outputs, training.losses or training.loss, training.class_weights)
    except SpecError as error:
        raise error.under("training") from None
    return spec, summary


def _check_tokens(spec: ArchitectureSpec, recipe: Recipe, tensors: Tensors) -> None:
    try:
        tokens.check(spec, recipe, tensors)
    except SpecError as error:
        raise error.under("data") from None


def _encoded(recipe: Recipe, tensors: Tensors, training: TrainingSpec) -> tuple[int, int]:
    """Estimate what the encoded rows take of the trainer's memory, and what of its disk.

    Those of a large part are in files; of all there are their numbers, and an order to learn in.
    """
    itemsize = 8 if training.precision == "float64" else 4
    targets = sum(math.prod(learnt.shape) for learnt in recipe.learnt().values())
    if recipe.window is not None:  # rows that are kept once, however many samples they are in
        samples = sum(recipe.rows[part] for part in ("train", "validation", "test"))
        kept = recipe.window_bytes(tensors, itemsize) + 2 * samples * targets * itemsize
        return kept + NUMBERS_BYTES * sum(recipe.rows.values()), 0
    row = (recipe.sample_values(tensors) + targets) * itemsize
    parts = [recipe.rows[part] * row for part in ("train", "validation", "test")]
    on_disk = sum(size for size in parts if size > IN_MEMORY_BYTES)
    return 2 * (sum(parts) - on_disk) + NUMBERS_BYTES * sum(recipe.rows.values()), on_disk


def _check_disk(needed: int, folder: Path) -> None:
    """Raise AdmissionError, if a folder's disk has no room for so much."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        detail = f"need about {_mib(needed)} MiB on the disk once encoded, {_mib(free)} are free"
        raise AdmissionError(Problem("data.inputs", detail))


def _memory(
    spec: ArchitectureSpec, summary: dict[str, Any], recipe: Recipe, training: TrainingSpec
) -> int:
    """Estimate the trainer's memory but for the rows.

    It has a process and threads, the network, a checkpoint, an evaluation.
    """
    itemsize = 8 if training.precision == "float64" else 4
    kept = 1 + kept_vectors(training)
    checkpoint = 3 * itemsize * kept * int(summary["parameters"])  # vectors, tensors, the file
    walked = nodes(spec)
    evaluation = _evaluation(forward_scratch(walked), itemsize, training.batch_size)
    learning = int(summary["memory_bytes"]) + checkpoint + evaluation
    filling = itemsize * int(summary["parameters"]) + starting(walked).n_bytes
    threads = THREAD_BYTES * (min(training.threads, training.shards) - 1)
    return PROCESS_BYTES + threads + max(learning, filling)


def _evaluation(taken: Scratch, itemsize: int, batch_size: int) -> int:
    """Estimate what an evaluation takes: forward, over as many rows as one pass may have."""
    row = itemsize * max(taken.per_row, 1)
    rows = max(batch_size, min(EVALUATION_ROWS, BLOCK_BYTES // row))
    return rows * row + itemsize * taken.fixed


def admit(steps: int, memory_bytes: int, most_bytes: int) -> None:
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


def _seconds(summary: dict[str, Any], recipe: Recipe, epochs: int, steps: int) -> float:
    """Guess the time: backward costs twice the forward pass, and each step something by itself."""
    samples = epochs * (recipe.rows["train"] + recipe.rows["validation"] / 3)
    flops = 3 * int(summary["flops_per_sample"]) * samples
    return round(flops / FLOPS_PER_S + steps * STEP_S, 3)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"
