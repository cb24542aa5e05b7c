"""One job in the trainer process: build it from the message, train, report, hand over the model."""

from __future__ import annotations

import hashlib
import statistics
import time
import traceback
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.bundle import weights_safetensors, write_bundle
from chainrule.certificate import certify, uncertified
from chainrule.checkpoint import Checkpoint
from chainrule.evaluation import evaluation_report, unevaluated
from chainrule.fingerprint import fingerprint
from chainrule.fitting import CrossValidation, EpochReport, TrainingLoop, evaluate, fold_summary
from chainrule.fitting.stopping import measured, plain
from chainrule.mapping import open_tensors
from chainrule.network import EVALUATION_ROWS, Network
from chainrule.recipe import Recipe
from chainrule.recipe.encoding import encode
from chainrule.recipe.folds import fold_recipe
from chainrule.spec import (
    ArchitectureSpec,
    DataSpec,
    TrainingSpec,
    nodes,
    parse,
    stage_rows,
    stage_steps,
    starting,
    summarize,
)
from chainrule.warmstart import warm_start
from worker.trainer.units import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.frames import Frame
    from worker.trainer.channel import Channel

__all__ = ["GradientCheckError", "NonReproducibleError", "Training"]

PROGRESS_S = 0.2
EVALUATING_S = 5.0  # between signs of life while nothing is learnt any more
RECENT_BATCHES = 50
SLOWEST_FLOPS_PER_S = 1e9  # for the first batch, of which nothing is known yet
SLOWEST_ROWS_PER_S = 2e5  # dealt to the parts, or put in order
WORTH_TELLING_S = 10.0
QUIET_S = 60.0  # while rows are encoded, of which a block takes far less
PATIENCE = 20  # a silence is suspect only after so many times what was to be expected


class Training:
    """The job of one ``train`` message."""

    def __init__(self, channel: Channel, frame: Frame) -> None:
        header = frame.header
        self._channel = channel
        self._last: dict[str, Any] | None = header["last"]
        self._config = header["config"]
        self._recipe = Recipe.from_json(header["recipe"])
        self._folder = Path(header["dataset"]).parent
        self._tensors = open_tensors(Path(header["dataset"]))
        training = parse(TrainingSpec, self._config["training"])
        self._precision = training.precision
        self._batch_size: int = training.batch_size
        self._spec = spec = parse(ArchitectureSpec, self._config["architecture"])
        self._batch_s = self._first_guess_s(spec)
        self._dealing_s = sum(self._recipe.rows.values()) / SLOWEST_ROWS_PER_S
        starting_s = max(self._dealing_s, starting(nodes(spec)).flops / SLOWEST_FLOPS_PER_S)
        if starting_s > WORTH_TELLING_S:
            channel.send("progress", quiet_s=starting_s)
        self._split = self._recipe.indices(self._tensors)
        self._stages = stage_rows(self._recipe.split, self._recipe.rows["train"])
        self._warm_start: dict[str, Any] | None = header["warm_start"]
        self._source: bytes | None = None  # what the first network begins with
        checkpoint = self._begin(frame.payload)
        self._loop: TrainingLoop | CrossValidation
        if len(self._stages) > 1:
            steps = stage_steps(self._stages, spec, training)
            self._loop = CrossValidation(self._stage, steps, training, checkpoint)
        else:
            self._loop = self._stage(0, training, checkpoint)
        self._certificate: dict[str, Any] | None = header["certificate"]
        self._replay: dict[str, Any] | None = header["replay"]
        self._fresh = checkpoint is None and self._replay is None
        self._committed = self._replay["step"] if self._replay else self._loop.step
        self._epochs: list[dict[str, Any]] = []
        self._at_epoch_end = False
        self._pace = Pace()
        self._batches: deque[float] = deque(maxlen=RECENT_BATCHES)
        self._saving_s = 0.0
        self._begun_at = self._told_at = self._stepped_at = time.monotonic()

    def run(self) -> None:
        """Train to the end, or until told to stop; report units on the way."""
        loop = self._loop
        self._start()
        for report in loop.run():
            if isinstance(report, EpochReport):
                self._note_epoch(report)
            else:
                self._note_batch()
                if not loop.epoch_left:
                    continue  # the epoch's own report comes next and belongs to the same unit
            if self._replay is not None:
                self._check_replay(self._replay)
            elif self._channel.stop is None and self._is_due():
                self._end_unit()
            if self._channel.stop is not None:
                self._end_unit()
                self._channel.send("stopped", step=loop.step)
                return
        with self._saving():
            self._channel.wait_committed()
        self._end_unit()
        self._finish()

    def _begin(self, payload: bytes) -> Checkpoint | None:
        """Return the checkpoint to go on from; without one, note the weights to begin with."""
        if self._warm_start is None or not self._warm_start["begins"]:
            return Checkpoint.from_bytes(payload) if payload else None
        self._source = payload
        return None

    def _stage(
        self, number: int, training: TrainingSpec, checkpoint: Checkpoint | None
    ) -> TrainingLoop:
        """Return the loop of a network: of a fold, or at last the one to keep."""
        recipe, split = self._recipe, self._split
        if number < len(self._stages) - 1:
            self._channel.send("progress", quiet_s=max(QUIET_S, self._quiet_s()))
            preprocessing = parse(DataSpec, self._config["data"]).preprocessing
            recipe, split = fold_recipe(recipe, self._tensors, preprocessing, number + 1)
        net = Network(self._spec, training.seed, training.precision)
        self._take_over(net)
        return TrainingLoop(
            net,
            self._rows(recipe, split.train),
            training,
            validation=self._rows(recipe, split.validation) if len(split.validation) else None,
            checkpoint=checkpoint,
            target_scale=recipe.target_scale,
            augmentation=self._config["data"].get("augmentation", ()),
        )

    def _take_over(self, net: Network) -> None:
        """Give a network the weights that the job begins with, if there are any."""
        if self._warm_start is None or self._source is None:
            return
        if self._warm_start["architecture"] is None:
            warm_start(net, self._source)
        else:
            source = Checkpoint.from_bytes(self._source)
            warm_start(net, source, self._warm_start["architecture"])
        self._source = None

    def _start(self) -> None:
        """Announce the job; a fresh one commits its initial weights, so that it always has some.

        Raises: GradientCheckError, once that is sent, if the gradients are to be right and are not.
        """
        place: dict[str, Any] = {"step": self._loop.step, "steps": self._loop.steps}
        place["quiet_s"] = self._quiet_s()
        if self._certificate is None:
            place["certificate"] = self._certificate = self._certify()
        if self._fresh:
            with self._saving():
                checkpoint = self._loop.checkpoint().to_bytes()
                self._channel.send_unit("started", checkpoint, **place)
        else:
            self._channel.send("started", **place)
        checked = self._certificate
        if checked["status"] == "failed" and self._loop.training.gradient_check == "enforce":
            raise GradientCheckError(checked["layer"], checked["reason"])

    def _certify(self) -> dict[str, Any]:
        """Check the gradients of the job's network as it began, whatever it has learnt since."""
        loop, wanted = self._loop, self._loop.training.gradient_check
        if wanted == "off":
            return uncertified("off", loop.objective, "the job has gradient_check: off")
        try:
            return certify(self._loop.net.spec, loop.objective, loop.training.seed)
        except Exception as error:  # what only reports is not to end the job
            if wanted == "enforce":
                raise
            traceback.print_exc()
            detail = f"the check itself failed: {type(error).__name__}: {error}"
            return uncertified("skipped", loop.objective, detail)

    def _is_due(self) -> bool:
        """Whether to end a unit here, if none is on its way."""
        if self._channel.busy:
            return False
        if self._at_epoch_end:
            return self._pace.is_due_after_epoch()
        return self._pace.is_due_within_epoch(self._loop.epoch_left * self._batch_s)

    def _check_replay(self, replay: dict[str, Any]) -> None:
        """Learn again what was committed but cannot be read back; the same bits must come out."""
        if self._loop.step < replay["step"]:
            return
        found = hashlib.sha256(self._loop.checkpoint().to_bytes()).hexdigest()
        if found != replay["sha256"]:
            raise NonReproducibleError(self._loop.step)
        self._replay, self._epochs = None, []

    def _note_batch(self) -> None:
        now = time.monotonic()
        self._at_epoch_end = False
        self._batches.append(now - self._stepped_at)
        self._stepped_at = now
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            self._batch_s = statistics.median(self._batches)
            self._channel.send("progress", step=self._loop.step, quiet_s=self._quiet_s())

    def _note_epoch(self, report: EpochReport) -> None:
        self._epochs.append(
            {
                **measured(report),
                "step": report.step,
                "learning_rate": report.learning_rate,
                "seconds": report.seconds,
                "samples_per_s": report.samples_per_s,
            }
        )
        self._last = self._epochs[-1]
        self._at_epoch_end = True
        self._stepped_at = time.monotonic()  # the validation was no batch

    def _end_unit(self) -> None:
        """Send all since the last unit, if there is any."""
        loop = self._loop
        if loop.step <= self._committed:
            return
        with self._saving():
            checkpoint = loop.checkpoint().to_bytes()
            self._channel.send_unit(
                "unit",
                checkpoint,
                prev=self._committed,
                step=loop.step,
                epoch=loop.epoch,
                loss=self._judged() if self._at_epoch_end and loop.is_last else None,
                rows=self._epochs,
                learning_s=time.monotonic() - self._begun_at,
                saving_s=self._saving_s,
            )
        self._committed, self._epochs = loop.step, []
        self._pace.cut(len(checkpoint), self._channel.cost_s)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Count the time that goes into checkpoints, not into learning."""
        begun_at = time.monotonic()
        yield
        self._saving_s += time.monotonic() - begun_at

    def _judged(self) -> float | None:
        """Return what a checkpoint is called the best for: the loss of its epoch."""
        last = self._epochs[-1]
        return (last["validation"] or last["train"])["loss"]  # type: ignore[no-any-return]

    def _finish(self) -> None:
        last = self._loop.finish() or self._last or {}
        metrics: dict[str, Any] = {
            "train": last.get("train"),
            "validation": last.get("validation"),
            "test": self._test(),
        }
        if isinstance(self._loop, CrossValidation):
            metrics["cross_validation"] = found = fold_summary(self._loop.folds)
            metrics["validation"] = found["mean"]
        evaluation = self._evaluate()
        source = self._warm_start
        bundle = write_bundle(
            self._loop.net,
            recipe=self._recipe,
            # By its hash, not by its id: equal jobs give equal bytes.
            warm_start=source and {"sha256": source["blob"], **source["receipt"]},
            training=self._config["training"] | {"warm_start": None},
            metrics=metrics,
            certificate=self._certificate,
            evaluation=evaluation,
        )
        self._channel.send(
            "done",
            bundle,
            step=self._loop.step,
            early=self._loop.stopped,
            metrics=metrics,
            model={
                "fingerprint": fingerprint(),
                "weights_sha256": hashlib.sha256(weights_safetensors(self._loop.net)).hexdigest(),
                "evaluation": evaluation,
            },
        )

    def _evaluate(self) -> dict[str, Any]:
        """Measure the network that was learnt, beside null models."""
        if self._loop.training.evaluation == "off":
            return unevaluated("off", "the job has evaluation: off")
        self._told_at = time.monotonic()
        try:
            return evaluation_report(
                self._loop.net, self._recipe, self._tensors, self._split, self._tell_of_evaluation
            )
        except Exception as error:  # what only reports is not to end the job
            traceback.print_exc()
            detail = f"the evaluation itself failed: {type(error).__name__}: {error}"
            return unevaluated("failed", detail)

    def _tell_of_evaluation(self) -> None:
        """Say that it goes on, so that nobody suspects a hang."""
        now = time.monotonic()
        if now - self._told_at >= EVALUATING_S:
            self._told_at = now
            self._channel.send("progress", step=self._loop.step, quiet_s=self._quiet_s())

    def _test(self) -> dict[str, float | None] | None:
        if not len(self._split.test):
            return None
        x, y, *weights = self._rows(self._recipe, self._split.test)
        rows = max(self._loop.training.batch_size, self._loop.net.block_rows(EVALUATION_ROWS))
        found = evaluate(
            self._loop.net,
            x,
            y,
            self._loop.objective,
            rows,
            sample_weight=weights[0] if weights else None,
            target_scale=self._recipe.target_scale,
        )
        return plain(found)

    def _rows(self, recipe: Recipe, indices: Any) -> tuple[Any, ...]:
        """Return rows as the network takes them; while that takes long, say that it goes on."""
        told_at = time.monotonic()

        def tell() -> None:
            nonlocal told_at
            if time.monotonic() - told_at > PROGRESS_S:
                told_at = time.monotonic()
                self._channel.send("progress", quiet_s=max(QUIET_S, self._quiet_s()))

        where, precision = self._folder, self._precision
        return encode(recipe, self._tensors, indices, precision, folder=where, tell=tell)

    def _quiet_s(self) -> float:
        """Say for how long the supervisor may hear nothing without suspecting a hang.

        A batch is one silence, the evaluation of all rows that are kept aside another, and the
        order of an epoch's rows a third.
        """
        fold = self._stages[-1] - min(self._stages)
        kept_aside = max(len(self._split.validation), len(self._split.test), fold)
        batches_s = self._batch_s * max(PATIENCE, 3 * kept_aside / self._batch_size)
        return batches_s + self._dealing_s

    def _first_guess_s(self, spec: ArchitectureSpec) -> float:
        """Say what a batch may take at the very most, before there was one."""
        flops = int(summarize(spec)["flops_per_sample"])
        return 3 * self._batch_size * flops / SLOWEST_FLOPS_PER_S


class NonReproducibleError(Exception):
    """The same steps gave other bits than those that were committed."""

    def __init__(self, step: int) -> None:
        super().__init__(f"learning again up to step {step} did not give the bits committed there")


class GradientCheckError(Exception):
    """A layer's gradient is not the slope of the loss, and the job is to fail for it."""

    def __init__(self, layer: str, detail: str) -> None:
        self.layer = layer
        super().__init__(detail)
