"""An attempt at parsing a large file: a dataset that is ready at the end, or has failed."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from chainrule.errors import Problem
from service.parsing.result import FILE
from service.store import blobs, transitions
from worker.attempt import Attempt
from worker.parser_process import data_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.store.blobs import StagedBlob
    from service.store.database import Database, UnitOfWork
    from service.store.file_cache import FileCache
    from service.store.transitions import Claim
    from worker.attempt import Timing
    from worker.frames import Frame
    from worker.parser_process import ParserProcess

__all__ = ["ParsingAttempt"]

TELL_EVERY_S = 1.0

log = logging.getLogger(__name__)


class ParsingAttempt(Attempt):
    """Has the file parsed as a whole: there is no unit that a further attempt would go on from.

    Whatever it is asked to stop for, it stops at once. Its time is bounded by the size of the file,
    so that a parser may be silent.
    """

    message = "parse"

    def __init__(
        self,
        database: Database,
        claim: Claim,
        parser: ParserProcess,
        timing: Timing,
        cache: FileCache,
    ) -> None:
        super().__init__(database, claim, parser, timing)
        self._cache = cache
        self._scratch = self._prepared = cache.scratch(f"{claim.job_id}-{claim.attempt}")
        self._quiet_s = math.inf
        self._step = 0

    def run(self, job: Callable[[], tuple[dict[str, Any], bytes]]) -> None:
        def placed() -> tuple[dict[str, Any], bytes]:
            header, payload = job()
            return {**header, "prepared": str(self._scratch)}, payload

        try:
            super().run(placed)
        finally:
            self._scratch.unlink(missing_ok=True)

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind == "broken":
            self._on_broken(frame)
        else:
            super()._on_frame(frame)

    def _on_broken(self, frame: Frame) -> None:
        """End after a failure that the parser did not foresee: of the file, unless of a system."""
        log.error("job %s: parsing failed: %s", self._claim.job_id, frame.header["failure"])
        if frame.header.get("errno") is not None:
            self._crash({"code": "internal", "detail": "the parser could not read or write"})
            return
        unread = Problem(FILE, f"cannot be read as {self._claim.config['format']}")
        self._end(lambda uow: transitions.fail(uow.session, *self._key, data_error([unread])))

    def _on_progress(self, frame: Frame) -> None:
        share = min(max(float(frame.header["progress"]), 0.0), 1.0)
        self._step = int(share * self._claim.steps)
        if self._clock() - self._confirmed_at >= TELL_EVERY_S:
            self._heartbeat()

    def _heartbeat(self) -> None:
        step = self._step
        self._heed(
            self._write(lambda uow: transitions.note_parsed(uow.session, *self._key, step=step))
        )

    def _on_done(self, frame: Frame) -> None:
        rows, schema = int(frame.header["rows"]), dict(frame.header["schema"])

        def make() -> StagedBlob:
            staged = blobs.stage(self._database, self._pieces(self._prepared))
            # Here it is at hand for whoever trains next; it need not come back from the database.
            self._prepared = self._cache.put(self._prepared, staged.sha256)
            return staged

        def deliver(uow: UnitOfWork, prepared: StagedBlob) -> bool:  # T5
            return transitions.parsed(
                uow.session, *self._key, rows=rows, schema=schema, prepared=prepared
            )

        self._deliver(make, deliver)

    def _pieces(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(blobs.CHUNK_BYTES):
                self.keep()
                yield piece
