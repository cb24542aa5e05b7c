"""Points at which a test can have the trainer fail, as ``service.faults`` for everybody else.

It has no environment: the fault comes in the message with the job, and in production there is none.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading

__all__ = ["arm", "reach"]


class InjectedError(Exception):
    """What a test had this process run into."""


class _Fault:
    """``point:n:action``, or ``point@kind:n:action`` of one kind of message."""

    def __init__(self, fault: str) -> None:
        self._text = fault
        self._where, number, self._action = fault.split(":")
        self._left = int(number)

    def reach(self, point: str, kind: str) -> None:
        if self._where not in (point, f"{point}@{kind}"):
            return
        self._left -= 1
        if self._left:
            return
        sys.stderr.write(f"fault: {self._text}\n")
        sys.stderr.flush()
        match self._action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()
            case "raise":
                raise InjectedError(self._text)
            case "space":
                raise OSError(errno.ENOSPC, "a test has filled it")
            case "lost":
                raise BrokenPipeError(errno.EPIPE, "a test has cut it")


_armed: _Fault | None = None


def arm(fault: str | None) -> None:
    """Have this process fail as the message says."""
    global _armed  # noqa: PLW0603 a property of the process
    if fault is not None:
        _armed = _Fault(fault)


def reach(point: str, kind: str) -> None:
    """Say that the process is at a point: before, or after, a message of some kind."""
    if _armed is not None:
        _armed.reach(point, kind)
