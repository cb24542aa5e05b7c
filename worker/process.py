"""A child process as its supervisor sees it: started, spoken to, listened to, ended."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from chainrule.config import environment
from worker import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.frames import Frame

__all__ = ["ONE_BLAS_THREAD", "ChildProcess", "Ended", "TrainerProcess", "Wake"]

# All that a trainer sees of the environment: no CHAINRULE_*, no database, no key.
PASSED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")
ONE_BLAS_THREAD = {
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
PINNED = ONE_BLAS_THREAD | {"PYTHONHASHSEED": "0"}
LEAVE_S = 1.0  # what a trainer that has said its last word may take to exit


@dataclass(frozen=True)
class Ended:
    """The child's pipe is closed, or carries nonsense: nothing more comes."""


@dataclass(frozen=True)
class Wake:
    """Not from the child: somebody wants the supervisor to look up."""


class ChildProcess:
    """One child, from its start to its end: a trainer, or what reads strangers' files.

    Start it from a thread that lives as long as this process does: the kernel kills the child when
    that thread ends.
    """

    noun = "child"

    def __init__(self) -> None:
        self._oom_kills = _oom_kills()
        self._events: queue.SimpleQueue[Frame | Ended | Wake] = queue.SimpleQueue()
        self._process = self._start()
        listening = threading.Thread(
            target=self._listen, name=f"{self.noun}-{self.pid}", daemon=True
        )
        try:
            listening.start()
        except RuntimeError:  # no thread is to be had
            self.kill()
            self.end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        """Send one message; one to a dead child is dropped (``next`` tells of its end)."""
        raise NotImplementedError

    def next(self, timeout_s: float) -> Frame | Ended | Wake | None:
        """Return the next event, or None after the time."""
        try:
            return self._events.get(timeout=max(timeout_s, 0.0))
        except queue.Empty:
            return None

    def wake(self) -> None:
        """End a running ``next`` of another thread."""
        self._events.put(Wake())

    def kill(self) -> None:
        """Kill the process.  Safe from any thread, and again."""
        self._process.kill()

    def end(self, grace_s: float = LEAVE_S) -> int:
        """Wait for the process to leave, kill it if it does not, and return its exit code."""
        with suppress(BrokenPipeError):
            cast("IO[bytes]", self._process.stdin).close()
        try:
            return self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def reason(self) -> dict[str, Any]:
        """Say how the process ended: by a signal, for want of memory, or with an exit code."""
        code = self.end()
        if code >= 0:
            return {"code": "crashed", "detail": f"the {self.noun} exited with code {code}"}
        name = signal.Signals(-code).name
        if name == "SIGKILL" and _oom_kills() > self._oom_kills:
            return {
                "code": "out_of_memory",
                "detail": "the system ran out of memory",
                "signal": name,
            }
        return {"code": "crashed", "detail": f"the {self.noun} died of {name}", "signal": name}

    def _start(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _heard(self, stdout: IO[bytes]) -> Iterator[Frame]:
        """Yield what the child says, until it says no more, or nonsense."""
        raise NotImplementedError

    def _listen(self) -> None:
        stdout = cast("IO[bytes]", self._process.stdout)
        with stdout, suppress(OSError):
            for frame in self._heard(stdout):
                self._events.put(frame)
        self._events.put(Ended())


class TrainerProcess(ChildProcess):
    """A trainer."""

    noun = "trainer"

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        with suppress(BrokenPipeError):
            frames.write(cast("IO[bytes]", self._process.stdin), {"kind": kind, **fields}, payload)

    def _start(self) -> subprocess.Popen[bytes]:
        passed = {name: value for name, value in environment().items() if name in PASSED}
        return subprocess.Popen(  # noqa: S603 our own program
            [sys.executable, "-m", "worker.trainer", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=passed | PINNED,
            close_fds=True,
        )

    def _heard(self, stdout: IO[bytes]) -> Iterator[Frame]:
        with suppress(frames.FrameError):
            while frame := frames.read(stdout):
                yield frame


def _oom_kills() -> int:
    """Count the processes that the kernel has killed for want of memory since it started."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
