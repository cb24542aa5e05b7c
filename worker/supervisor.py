"""Claims a job, gives the trainer what it needs, and stays with the attempt until its end."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from chainrule.fingerprint import fingerprint
from service import faults
from service.errors import CorruptError
from service.store import blobs, transitions
from service.store.file_cache import FileCache
from service.store.tables import EpochMetrics
from worker.attempt import Attempt, Timing
from worker.parser_process import ParserProcess
from worker.parsing import ParsingAttempt
from worker.predicting import PredictionAttempt
from worker.receipts import restored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.settings import Settings
    from service.store.database import Database
    from service.store.transitions import CheckpointRef, Claim
    from worker.process import TrainerProcess

    Keep = Callable[[], object]

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

SPARE_BYTES = 256 << 20  # beyond the estimate; what is mapped from files does not count


class Supervisor:
    """What all slots of a worker share.  ``run`` is called by each slot's own thread."""

    def __init__(self, database: Database, settings: Settings, worker_id: str) -> None:
        self._database = database
        self._worker_id = worker_id
        self._timing = Timing(settings.heartbeat_s, settings.lease_ttl_s)
        self._cache = FileCache(settings.cache_dir)
        self._lock = threading.Lock()
        self._attempts: set[Attempt] = set()
        self._releasing = False
        self._jobs = {
            "training": self._training,
            "prediction": self._prediction,
            "parsing": self._parsing,
        }

    def run(self, job_id: str, take: Callable[[], TrainerProcess]) -> bool:
        """Make one attempt, if the job can be claimed (T2); return whether it could."""
        claim = self._database.transact(
            lambda uow: transitions.claim(
                uow.session,
                job_id,
                worker=self._worker_id,
                now=time.time(),
                fingerprint=fingerprint(),
            )
        )
        if claim is None:
            return False
        log.info("job %s: attempt %d from step %d", claim.job_id, claim.attempt, claim.step)
        faults.reach("claimed", claim.kind)
        try:
            attempt = self._attempt(claim, take)
        except (OSError, RuntimeError) as error:  # no process or no thread is to be had
            key = (claim.job_id, claim.attempt)
            log.warning("job %s: attempt %d has no process: %s", *key, error)
            hold_s = Attempt.full_hold_s
            self._database.transact(
                lambda uow: transitions.release(uow.session, *key, hold_s=hold_s)
            )
            return True
        with self._lock:
            self._attempts.add(attempt)
            if self._releasing:
                attempt.release()
        try:
            attempt.run(lambda: self._jobs[claim.kind](claim, attempt.keep))
        finally:
            with self._lock:
                self._attempts.discard(attempt)
        return True

    def next_queued(self) -> str | None:
        """Name a job that waits and is due, or None."""
        with self._database.read() as session:
            return transitions.next_queued(session, time.time())

    def release(self) -> None:
        """Ask for the end of every attempt, now and from now on, each with its last unit kept."""
        with self._lock:
            self._releasing = True
            for attempt in self._attempts:
                attempt.release()

    def watch(self) -> None:
        """Kill the trainers of attempts that the database has not confirmed for too long."""
        with self._lock:
            for attempt in self._attempts:
                attempt.watch()

    def _attempt(self, claim: Claim, take: Callable[[], TrainerProcess]) -> Attempt:
        if claim.kind == "parsing":  # the slot's trainer stays where it is
            parser = ParserProcess(claim.memory_bytes)
            return ParsingAttempt(self._database, claim, parser, self._timing, self._cache)
        kind = PredictionAttempt if claim.kind == "prediction" else Attempt
        return kind(self._database, claim, take(), self._timing)

    def _parsing(self, claim: Claim, keep: Keep) -> tuple[dict[str, Any], bytes]:
        """Return the message that makes the parser start.

        Raises: CorruptError, if the file is not what was uploaded.
        """
        path = self._file(claim.content, keep)
        config = claim.config
        return {"path": str(path), "format": config["format"], "types": config["types"]}, b""

    def _prediction(self, claim: Claim, keep: Keep) -> tuple[dict[str, Any], bytes]:
        """Return the message that makes the trainer predict, and the model's bundle.

        Raises: CorruptError, if the dataset or the model is not what was stored.
        """
        if claim.warm_start is None:
            raise CorruptError("the job has no model")
        header = {
            "dataset": str(self._file(claim.prepared, keep)),
            "schema": claim.schema,
            "format": claim.config["format"],
            "block_rows": claim.config["block_rows"],
            "step": claim.step,
            "memory_bytes": claim.memory_bytes + SPARE_BYTES,
            "restored": self._receipt(claim, None, []) if claim.step else None,
        }
        return header, self._blob(claim.warm_start.blob)

    def _file(self, sha256: str, keep: Keep) -> Path:
        """Return a blob as a file.  ``keep`` is called often, and may end it all by an error."""

        def pieces(sha256: str) -> Iterator[bytes]:
            for piece in blobs.stream(self._database, sha256):
                keep()
                yield piece

        return self._cache.fetch(sha256, pieces, keep)

    def _training(self, claim: Claim, keep: Keep) -> tuple[dict[str, Any], bytes]:
        """Return the message that makes the trainer start, and what it starts from.

        That is a checkpoint of the job, or if there is none the source of its warm start.
        Raises: CorruptError, if the dataset or that source is not what was stored.
        """
        dataset = self._file(claim.prepared, keep)
        kept, checkpoint, damaged = self._checkpoint(claim)
        replay = None
        if (kept.step if kept else 0) < claim.step:  # damaged: do the steps again, and compare
            replay = {"step": claim.step, "sha256": claim.checkpoints[0].blob}
        header = {
            "config": claim.config,
            "recipe": claim.recipe,
            "dataset": str(dataset),
            "memory_bytes": 2 * claim.memory_bytes + SPARE_BYTES,
            "last": self._last_epoch(claim),
            "replay": replay,
            "certificate": claim.certificate,
            "warm_start": None,
            "restored": self._receipt(claim, kept, damaged) if claim.checkpoints else None,
        }
        warm = claim.warm_start
        if warm is not None:
            header["warm_start"] = dataclasses.asdict(warm) | {"begins": not checkpoint}
            checkpoint = checkpoint or self._blob(warm.blob)
        return header, checkpoint

    def _checkpoint(self, claim: Claim) -> tuple[CheckpointRef | None, bytes, list[CheckpointRef]]:
        """Return the newest checkpoint that can be read, its bytes, and the newer ones."""
        damaged: list[CheckpointRef] = []
        for kept in claim.checkpoints:
            try:
                return kept, self._blob(kept.blob), damaged
            except CorruptError as error:
                log.warning("job %s: step %d: %s", claim.job_id, kept.step, error)
                damaged.append(kept)
        return None, b"", damaged

    def _receipt(
        self, claim: Claim, kept: CheckpointRef | None, damaged: list[CheckpointRef]
    ) -> dict[str, Any]:
        with self._database.read() as session:
            return restored(session, claim, kept, damaged)

    def _last_epoch(self, claim: Claim) -> dict[str, Any] | None:
        """Return what the last epoch measured, for a trainer that may have none left to do."""
        mine = EpochMetrics.job_id == claim.job_id
        with self._database.read() as session:
            row = session.scalar(
                select(EpochMetrics).where(mine).order_by(EpochMetrics.epoch.desc()).limit(1)
            )
        return None if row is None else {"train": row.train, "validation": row.validation}

    def _blob(self, sha256: str) -> bytes:
        with self._database.read() as session:
            return blobs.read(session, sha256)
