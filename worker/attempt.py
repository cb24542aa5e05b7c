"""One attempt at one job: relay the trainer's reports to the database, and its wishes back.

Every write is fenced by the attempt's number (reliability.md T3-T8): once a write is refused,
somebody else owns the job, and all that is left to do is to kill the trainer.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from service import faults
from service.errors import CorruptError, StorageFullError, UnavailableError, exhausted
from service.store import blobs, transitions
from worker.frames import Frame
from worker.process import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import Session

    from service.store.blobs import StagedBlob
    from service.store.database import Database, UnitOfWork
    from service.store.transitions import Claim, Signals
    from worker.process import ChildProcess

    Act = Callable[[UnitOfWork, Any], Any]

__all__ = ["Attempt", "Timing"]

log = logging.getLogger(__name__)


class Timing:
    """How often an attempt speaks to the database, and how long it waits for whom, in seconds."""

    peek_s = 0.2  # between looks at the row for a wish to cancel or pause
    hung_s = 30.0  # of silence, or what the trainer says to expect (20 median batches) if longer
    lease_share = 0.8  # of the TTL without a confirmed write: stop before others take the job
    # For the last unit, by why the trainer is asked to stop.
    grace_s: ClassVar = {"cancel": 0.25, "pause": 10.0, "release": 1.2, "deadline": 2.0}

    def __init__(self, heartbeat_s: float, ttl_s: float) -> None:
        self.heartbeat_s = heartbeat_s
        self.lease_s = self.lease_share * ttl_s


class _FencedError(Exception):
    """The row belongs to another attempt, or is final."""


class _StoppedError(Exception):
    """The attempt was asked to stop, and what it is at takes too long to wait for its end."""


class Attempt:
    """From a claim to its end.  Lives on one thread; ``release`` and ``watch`` are for others."""

    message = "train"  # what makes the trainer start
    full_hold_s = 10.0  # between attempts while there is no room for what they make

    def __init__(
        self, database: Database, claim: Claim, trainer: ChildProcess, timing: Timing
    ) -> None:
        self._database = database
        self._claim = claim
        self._key = (claim.job_id, claim.attempt)
        self._trainer = trainer
        self._timing = timing
        self._clock = time.monotonic
        now = self._clock()
        self._begun_at = self._advanced_at = self._confirmed_at = self._peeked_at = now
        self._quiet_s = timing.hung_s
        self._restored: dict[str, Any] | None = None
        self._stop: str | None = None
        self._stop_by = 0.0
        self._releasing = self._lapsed = False
        self._over = False

    def run(self, job: Callable[[], tuple[dict[str, Any], bytes]]) -> None:
        """Hand over the job and relay until the attempt's end.  The trainer is gone afterwards.

        ``job`` returns the header and the payload of the message that makes the trainer start.
        """
        try:
            self._begin(job)
            while not self._over:
                event = self._trainer.next(self._peeked_at + self._timing.peek_s - self._clock())
                if isinstance(event, Frame):
                    faults.reach("relay", event.kind)
                    self._on_frame(event)
                elif isinstance(event, Ended):
                    self._on_death()
                if self._releasing:
                    self._ask_to_stop("release")
                if not self._over:
                    self._on_time()
        except _FencedError:
            log.warning("job %s: attempt %d is superseded", *self._key)
        except _StoppedError:
            with suppress(_FencedError, UnavailableError):  # then whoever took the job ends it
                self._end_stopped()
        except UnavailableError as error:
            log.warning("job %s: attempt %d is given up: %s", *self._key, error)
            if isinstance(error, StorageFullError):
                self._hold_back()
        except Exception as error:  # ours, not the job's: another attempt may fare better
            log.exception("job %s: attempt %d failed", *self._key)
            self._give_back(error)
        finally:
            self._trainer.kill()
            self._trainer.end()

    def release(self) -> None:
        """Ask for the end of this attempt, its last unit kept.  From any thread."""
        self._releasing = True
        self._trainer.wake()

    def watch(self) -> None:
        """Kill the trainer if the database has not confirmed the attempt for too long.

        From any thread: this one may be waiting for the database right then.
        """
        if self._clock() - self._confirmed_at > self._timing.lease_s:
            self._lapsed = True
            self._trainer.kill()

    def keep(self) -> None:
        """Keep the attempt alive while it gets what its job needs; any wish to stop ends it there.

        Nothing has begun that would be worth a last unit.
        """
        self._beat()
        if self._releasing:
            self._ask_to_stop("release")
        if self._stop is not None:
            raise _StoppedError

    def _begin(self, job: Callable[[], tuple[dict[str, Any], bytes]]) -> None:
        try:
            header, checkpoint = job()
        except CorruptError as error:
            problem = {"code": "data_corrupt", "detail": str(error)}
            self._end(lambda uow: transitions.fail(uow.session, *self._key, problem))  # T6
        else:
            self._restored = header.pop("restored", None)
            self._trainer.send(self.message, checkpoint, **header, **faults.hand_over())

    # What the trainer says.

    def _on_frame(self, frame: Frame) -> None:
        self._advanced_at = self._clock()
        try:
            match frame.kind:
                case "started":
                    self._on_started(frame)
                case "unit":
                    self._on_unit(frame)
                case "progress":
                    self._on_progress(frame)
                case "done":
                    self._on_done(frame)
                case "full":
                    self._hold_back()
                case "stopped":
                    self._end_stopped()
                case "failed":
                    self._on_failed(dict(frame.header["error"]))
        except (KeyError, TypeError, ValueError) as error:
            log.exception("job %s: attempt %d: a report that cannot be read", *self._key)
            self._crash({"code": "internal", "detail": f"a report that cannot be read: {error!r}"})
        # What took time here was not the trainer's standing still.
        self._advanced_at = self._clock()

    def _on_progress(self, frame: Frame) -> None:
        self._expect(frame.header)

    def _on_unit(self, frame: Frame) -> None:
        self._commit(frame.payload, **_unit(frame.header))
        spent = (frame.header["learning_s"], frame.header["saving_s"])  # before this unit
        log.debug("job %s: attempt %d: %.1f s, of which checkpoints %.3f s", *self._key, *spent)

    def _on_started(self, frame: Frame) -> None:
        self._expect(frame.header)
        certificate = frame.header.get("certificate")
        if frame.payload:  # the initial weights: from now on the job has a checkpoint
            first: dict[str, Any] = {"prev": 0, "step": 0, "epoch": 0, "loss": None}
            self._commit(frame.payload, certificate, **first)
        elif certificate is not None or self._restored is not None:
            self._heed(self._write(lambda uow: self._note_start(uow.session, certificate)))

    def _note_start(self, session: Session, certificate: dict[str, Any] | None) -> Signals | None:
        """Keep the certificate of a job that has none, and where the attempt has taken it up."""
        asked = None
        if certificate is not None:
            asked = transitions.certify(session, *self._key, certificate)
        if self._restored is not None:
            asked = transitions.restored(session, *self._key, self._restored)
        return asked

    def _on_failed(self, error: dict[str, Any]) -> None:
        """End with what the job is to blame for; what it is not, another attempt may not meet."""
        if error["code"] == "internal":
            self._crash(error)
        else:
            self._end(lambda uow: transitions.fail(uow.session, *self._key, error))  # T6

    def _expect(self, header: dict[str, Any]) -> None:
        self._quiet_s = max(self._timing.hung_s, float(header["quiet_s"]))

    def _on_death(self) -> None:
        # A trainer that ``watch`` has killed did nothing wrong: the database was away, or we were.
        if self._stop is not None or self._lapsed:
            self._end_stopped()
        else:
            self._crash(self._trainer.reason())

    # What the clock says.

    def _on_time(self) -> None:
        now = self._clock()
        silent_s = now - self._advanced_at
        lapsed = now - self._confirmed_at > self._timing.lease_s  # uncounted, if it is still ours
        if lapsed or (self._stop is not None and now > self._stop_by):
            self._trainer.kill()
            self._end_stopped()
        elif silent_s > self._quiet_s:
            self._trainer.kill()
            self._crash({"code": "hung", "detail": f"no progress for {silent_s:.0f} s"})
        elif now - self._confirmed_at >= self._timing.heartbeat_s:
            self._heartbeat()
        elif now - self._peeked_at >= self._timing.peek_s:
            self._peek()
        limit_s = self._claim.max_seconds
        if limit_s is not None and now - self._begun_at > limit_s and not self._over:
            self._ask_to_stop("deadline")

    def _heartbeat(self) -> None:
        self._heed(
            self._write(lambda uow: transitions.heartbeat(uow.session, *self._key))  # T3
        )

    def _peek(self) -> None:
        self._peeked_at = self._clock()
        try:
            with self._database.read() as session:
                signals = transitions.peek(session, *self._key)
        except UnavailableError:
            return  # the heartbeat is what decides
        self._heed(signals)

    def _heed(self, signals: Signals | None) -> None:
        """Act on what the row wants of this attempt."""
        if signals is None:
            raise _FencedError
        if signals.cancel:
            self._ask_to_stop("cancel")
        elif signals.pause:
            self._ask_to_stop("pause")

    def _ask_to_stop(self, reason: str) -> None:
        """Ask the trainer for a last unit; a cancellation overrides what was asked before."""
        if self._over or self._stop == reason or (self._stop and reason != "cancel"):
            return
        if self._stop is None:
            self._trainer.send("stop", reason=reason)
        self._stop = reason
        self._stop_by = self._clock() + self._timing.grace_s[reason]

    # What the database is told.

    def _write(self, act: Callable[[UnitOfWork], Any]) -> Any:
        """Run a unit of work; what it returns says whether it was refused."""
        since = self._clock()
        result = self._database.transact(act)
        if result:
            self._confirmed_at = since
        return result

    def _commit(
        self, checkpoint: bytes, certificate: dict[str, Any] | None = None, **unit: Any
    ) -> None:
        def commit(uow: UnitOfWork, staged: StagedBlob) -> Signals | None:  # T4
            if certificate is not None:
                transitions.certify(uow.session, *self._key, certificate)
            return transitions.commit_unit(uow.session, *self._key, blob=staged, **unit)

        self._committed(unit["step"], self._staging(checkpoint), commit)

    def _committed(self, step: int, make: Callable[[], Any], commit: Act) -> None:
        """Commit a unit, and tell the trainer."""
        since = self._clock()
        signals = self._attached(make, commit)
        self._trainer.send("committed", step=step, cost_s=self._clock() - since)
        self._heed(signals)

    def _on_done(self, frame: Frame) -> None:
        header, claim = frame.header, self._claim
        unstored = transitions.NewModel(
            bundle=blobs.StagedBlob("", 0, ()),
            spec=claim.config["architecture"],
            recipe=claim.recipe,
            **header["model"],
        )

        def succeed(uow: UnitOfWork, staged: StagedBlob) -> bool:  # T5
            model = dataclasses.replace(unstored, bundle=staged)
            return transitions.succeed(
                uow.session,
                *self._key,
                step=header["step"],
                early=header["early"],
                metrics=header["metrics"],
                model=model,
            )

        self._deliver(self._staging(frame.payload), succeed)

    def _deliver(self, make: Callable[[], Any], act: Act) -> None:
        """Store what the job was for, and with it the end."""
        if not self._attached(make, act):
            raise _FencedError
        self._over = True

    def _staging(self, data: bytes) -> Callable[[], StagedBlob]:
        return lambda: blobs.stage(self._database, self._beating(data))

    def _attached(self, make: Callable[[], Any], act: Act) -> Any:
        """Stage bytes and write what refers to them, again if a chunk was collected in between."""
        since = self._clock()
        result = blobs.attached(self._database, make, act)
        if result:
            self._confirmed_at = max(self._confirmed_at, since)
        return result

    def _beating(self, data: bytes) -> Iterator[bytes]:
        """Cut bytes into chunks, with a beat before each."""
        for start in range(0, len(data), blobs.CHUNK_BYTES):
            self._beat()
            yield data[start : start + blobs.CHUNK_BYTES]

    def _beat(self) -> None:
        """Keep the attempt alive while it stores what takes long, and heed a cancel."""
        now = self._clock()
        if now - self._confirmed_at >= self._timing.heartbeat_s:
            self._heartbeat()
        elif now - self._peeked_at >= self._timing.peek_s:
            self._peek()
        if self._stop == "cancel" and now > self._stop_by:
            raise _StoppedError

    def _end_stopped(self) -> None:
        if self._stop == "deadline":
            detail = f"took longer than max_seconds ({self._claim.max_seconds:g} s)"
            error = {"code": "deadline", "detail": detail}
            self._end(lambda uow: transitions.fail(uow.session, *self._key, error))  # T6
        else:
            self._end(lambda uow: transitions.release(uow.session, *self._key))  # T7

    def _crash(self, reason: dict[str, Any]) -> None:
        log.warning("job %s: attempt %d crashed: %s", *self._key, reason)
        self._end(lambda uow: transitions.retry(uow.session, *self._key, reason))  # T8

    def _hold_back(self) -> None:
        """Let the job wait for what this machine lacks, such as room: a small write may pass."""
        with suppress(_FencedError, UnavailableError):
            self._end(
                lambda uow: transitions.release(uow.session, *self._key, hold_s=self.full_hold_s)
            )

    def _give_back(self, error: Exception) -> None:
        if exhausted(error):
            self._hold_back()
            return
        with suppress(_FencedError, UnavailableError):
            self._crash({"code": "internal", "detail": f"{type(error).__name__} in the worker"})

    def _end(self, act: Callable[[UnitOfWork], Any]) -> None:
        if not self._write(act):
            raise _FencedError
        self._over = True


def _unit(header: dict[str, Any]) -> dict[str, Any]:
    return {
        "prev": int(header["prev"]),
        "step": int(header["step"]),
        "epoch": int(header["epoch"]),
        "loss": header["loss"],
        "metrics_rows": list(header["rows"]),
    }
