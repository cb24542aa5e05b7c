"""The processes that ``up`` keeps alive: started, started again when they die, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Child", "bound_command", "end_all"]

HEALTHY_S = 10.0  # a process that lived this long did not die of starting
BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)


def bound_command(arguments: Sequence[str]) -> list[str]:
    """Return a command that dies with this process (``worker.bound``)."""
    return [sys.executable, "-m", "worker.bound", str(os.getpid()), "--", *arguments]


class Child:
    """One process that is started again when it dies, later and later when it keeps dying."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        pass_fds: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._environ = environ
        self._pass_fds = tuple(pass_fds)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._due_at = clock()
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The process id, or None while there is none."""
        return self._process.pid if self._process else None

    def keep(self) -> str | None:
        """Start the process if it is due, and note its death; return what is worth telling."""
        if self._process is None:
            if self._clock() >= self._due_at:
                self._start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._process = None
        if code == 0 or self._clock() - self._started_at >= HEALTHY_S:
            self._failures = 0  # one that ended well was asked to: it is being replaced
        delay_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        self._due_at = self._clock() + delay_s
        if not delay_s:
            self._start()
        again = f"starting it again in {delay_s:g} s" if delay_s else "started again"
        return f"{self.name} ended with {_describe(code)}; {again}"

    @property
    def wait_s(self) -> float | None:
        """How long until ``keep`` has something to do without being woken, or None."""
        return max(self._due_at - self._clock(), 0.0) if self._process is None else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        if self._process is not None:
            self._process.send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def _start(self) -> None:
        self._started_at = self._clock()
        self._process = subprocess.Popen(  # noqa: S603 our own programs
            bound_command(self._arguments), env=dict(self._environ), pass_fds=self._pass_fds
        )


def end_all(children: Sequence[Child], grace_s: float) -> None:
    """Ask the processes to end, and kill those that have not within the time."""
    for child in children:
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(child.alive for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    for child in children:
        child.signal(signal.SIGKILL)
    while any(child.alive for child in children):
        time.sleep(0.01)


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
