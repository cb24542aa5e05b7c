"""Points at which a test can have this process fail: ``CHAINRULE_FAULT=point:n:action``.

The ``n``-th time that the process reaches the point, it is killed, or what it is about to do fails;
``point@place`` counts one of the point's places only, such as ``reply@jobs.create_job``. Nothing of
this is there in production: unarmed, a point is one comparison, and the settings refuse a fault
unless CHAINRULE_TESTING says that this is a test.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import NoReturn

from psycopg.errors import DiskFull
from sqlalchemy.exc import OperationalError

__all__ = ["ACTIONS", "OF_TRAINER", "POINTS", "InjectedError", "arm", "hand_over", "reach"]

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
    "rung": "the bell has rung here, and no slot knows of it",
    "claimed": "an attempt has begun in the database, and not yet in a trainer (its kind)",
    "relay": "the trainer or parser has said something (of a kind), and nobody has acted on it",
    "reply": "a request has been answered, and the answer not yet sent (its endpoint)",
    "say": "the trainer is about to say something (of a kind)",
    "said": "the trainer has said something (of a kind)",
    "heard": "the trainer has been told something (of a kind), and has not acted on it",
}
OF_TRAINER = ("say", "said", "heard")  # ``worker.trainer.faults``
ACTIONS = ("kill", "raise", "space", "lost")
OF_THE_DATABASE = {"begin", "commit", "committed", "chunk", "attach", "checkpoint", "prune"}


class InjectedError(Exception):
    """What a test had this process run into."""


class Fault:
    """One fault, and how often its point was reached."""

    def __init__(self, fault: str) -> None:
        self.text = fault
        self.where, number, self._action = fault.split(":")
        self.point = self.where.partition("@")[0]
        self._number = int(number)
        self._reached = 0
        self._lock = threading.Lock()

    def reach(self, point: str, place: str) -> None:
        if self.where not in (point, f"{point}@{place}"):
            return
        with self._lock:
            self._reached += 1
            due = self._reached == self._number
        if due:
            sys.stderr.write(f"fault: {self.text}\n")
            sys.stderr.flush()
            self._fail()

    def _fail(self) -> NoReturn:
        if self._action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()  # not one more step, while the signal is on its way
        if self._action == "raise":
            raise InjectedError(self.text)
        if self.point in OF_THE_DATABASE:
            if self._action == "space":
                raise OperationalError(self.point, {}, DiskFull("a test has filled it"))
            # As when the connection breaks: for what the database was told nobody can answer.
            reset = ConnectionResetError(errno.ECONNRESET, "a test has cut it")
            raise OperationalError(self.point, {}, reset, connection_invalidated=True)
        if self._action == "space":
            raise OSError(errno.ENOSPC, "a test has filled it")
        raise ConnectionResetError(errno.ECONNRESET, "a test has cut it")


_armed: Fault | None = None


def arm(fault: str | None) -> None:
    """Have this process fail as the settings say.  Called by entry points, once."""
    global _armed  # noqa: PLW0603 a property of the process, like its environment
    if fault is not None:
        _armed = Fault(fault)


def reach(point: str, place: str = "") -> None:
    """Say that the process is at a point, and at which of its places."""
    if _armed is not None:
        _armed.reach(point, place)


def hand_over() -> dict[str, str]:
    """Return what the next trainer is to be told of a fault that is one of its own, once."""
    global _armed
    if _armed is None or _armed.point not in OF_TRAINER:
        return {}
    fault, _armed = _armed.text, None
    return {"fault": fault}
