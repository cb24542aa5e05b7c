"""Points at which a test can have this process fail: ``CHAINRULE_FAULT=point:n:action``.

The ``n``-th time that the process reaches the point, it is killed, or what it is about to do fails.
Nothing of this is there in production: unarmed, a point is one comparison, and the settings refuse
a fault unless CHAINRULE_TESTING says that this is a test.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import NoReturn

from sqlalchemy.exc import OperationalError

__all__ = ["ACTIONS", "POINTS", "arm", "reach"]

POINTS = {
    "begin": "a transaction is about to begin",
    "commit": "a transaction is about to be committed",
    "committed": "a transaction has been committed, and nobody knows yet",
    "chunk": "a chunk of some bytes is about to be staged",
    "attach": "staged bytes are about to be referred to",
    "checkpoint": "a unit has its row, and its checkpoint is about to get one",
    "prune": "a checkpoint is there, and those it supersedes are about to go",
    "publish": "a job is about to be rung for",
    "published": "a job has been rung for",
    "claimed": "an attempt has begun in the database, and not yet in a trainer",
    "relay": "the trainer has said something, and nobody has acted on it",
    "reply": "a request has been answered, and the answer not yet sent",
}
ACTIONS = ("kill", "raise", "space", "lost")
OF_THE_DATABASE = {"begin", "commit", "committed", "chunk", "attach", "checkpoint", "prune"}


class InjectedError(Exception):
    """What a test had this process run into."""


class _Fault:
    """One fault, and how often its point was reached."""

    def __init__(self, point: str, number: int, action: str) -> None:
        self._point, self._number, self._action = point, number, action
        self._reached = 0
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        if point != self._point:
            return
        with self._lock:
            self._reached += 1
            due = self._reached == self._number
        if due:
            sys.stderr.write(f"fault: {point}:{self._number}:{self._action}\n")
            sys.stderr.flush()
            self._fail()

    def _fail(self) -> NoReturn:
        if self._action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()  # not one more step, while the signal is on its way
        if self._action == "raise":
            raise InjectedError(self._point)
        reason: OSError = ConnectionResetError(errno.ECONNRESET, "a test has cut it")
        if self._action == "space":
            reason = OSError(errno.ENOSPC, "a test has filled it")
        if self._point in OF_THE_DATABASE:
            # As when the connection breaks: for what the database was told nobody can answer.
            raise OperationalError(self._point, {}, reason, connection_invalidated=True)
        raise reason


_armed: _Fault | None = None


def arm(fault: str | None) -> None:
    """Have this process fail as the settings say.  Called by entry points, once."""
    global _armed  # noqa: PLW0603 a property of the process, like its environment
    if fault is not None:
        point, number, action = fault.split(":")
        _armed = _Fault(point, int(number), action)


def reach(point: str) -> None:
    """Say that the process is at a point."""
    if _armed is not None:
        _armed.reach(point)
