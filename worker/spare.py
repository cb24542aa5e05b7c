"""A trainer started ahead of time: its imports take longer than many a job."""

from __future__ import annotations

from worker.process import TrainerProcess

__all__ = ["Spare"]


class Spare:
    """Keeps one trainer waiting.  Call it from one lasting thread only: its slot's."""

    def __init__(self) -> None:
        self._waiting: TrainerProcess | None = None

    def prepare(self) -> None:
        """Make sure that a trainer waits."""
        if self._waiting is not None and not self._waiting.alive:
            self.discard()
        if self._waiting is None:
            self._waiting = TrainerProcess()

    def take(self) -> TrainerProcess:
        """Hand out the trainer that waits.  The caller ends it."""
        self.prepare()
        taken, self._waiting = self._waiting, None
        assert taken is not None  # noqa: S101 prepare saw to it
        return taken

    def discard(self) -> None:
        """End the trainer that waits, if there is one."""
        if self._waiting is not None:
            self._waiting.kill()
            self._waiting.end()
            self._waiting = None
