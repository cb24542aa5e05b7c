"""Tie a process's life to its parent's: no orphan survives a parent that was killed.

``python -m worker.bound PARENT -- program arguments`` does so for a program that does not itself.
Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["bind_to_parent", "main"]

PR_SET_PDEATHSIG = 1


def bind_to_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; leave at once, if it is dead.

    The signal fires when the *thread* that started this process ends: that must be a lasting one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """Bind, then become the given program."""
    parent, separator, *command = arguments
    if separator != "--" or not command:
        sys.exit("usage: python -m worker.bound PARENT -- program [argument ...]")
    bind_to_parent(int(parent))
    os.execv(command[0], command)  # noqa: S606 the caller's own argument list, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
