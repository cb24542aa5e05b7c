"""Parsing in one warm child process, which any file may kill without harm to the service."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import structlog

import service
from chainrule.errors import DataError, Problem
from service.errors import no_space
from service.parsing.result import FILE, Parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Parser", "start"]

DEADLINE_S = 60.0
MEMORY_BYTES = 4 << 30
_START_S = 30.0
_ROOT = Path(service.__path__[0]).parent  # where ``-m service…`` finds this very code
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": str(min(4, os.cpu_count() or 1)),
    "PYTHONDONTWRITEBYTECODE": "1",
}

log = structlog.get_logger(__name__)


def start(memory_bytes: int) -> subprocess.Popen[bytes]:
    """Start a child, which tells when it is ready.  It gets no environment of ours.

    Call it from a thread that lasts: the signal that ends an orphaned child fires when the *thread*
    that started it ends.
    """
    command = [sys.executable, "-m", "service.parsing.child", str(os.getpid())]
    return subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [*command, str(memory_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd=_ROOT,
        bufsize=0,
    )


class Parser:
    """Parses files one at a time; thread-safe.

    The child is started at the first use and again whenever it has died. One thread of the parser's
    own talks to it: ``start`` wants one that lasts.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, deadline_s: float = DEADLINE_S) -> None:
        self._memory_bytes = memory_bytes
        self._deadline_s = deadline_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parser")
        self._child: _Child | None = None

    def parse(
        self,
        path: Path,
        format: str,  # noqa: A002  # the API's word
        prepared_path: Path | None = None,
        types: Mapping[str, str] | None = None,
    ) -> Parsed:
        """Read a file of a format, and write its tensors, by default beside it.

        ``types``: of columns, in the place of those that their values suggest.

        Raises: DataError, naming the place, also if the file kills two children or outlasts one;
        OSError, if there is no room for the tensors.
        """
        prepared = prepared_path or path.with_name(path.name + ".prepared")
        request = {
            "path": str(path),
            "format": format,
            "prepared": str(prepared),
            "types": dict(types or {}),
        }
        answer = self._thread.submit(self._ask, request).result()
        if "schema" in answer:
            return Parsed(answer["schema"], prepared, answer["rows"])
        prepared.unlink(missing_ok=True)
        if "problems" in answer:
            raise DataError(*(Problem(*problem) for problem in answer["problems"]))
        failed = OSError(answer.get("errno"), answer["failure"])
        if no_space(failed):
            raise failed
        log.error("parsing failed", format=format, failure=answer["failure"])
        raise DataError.at(FILE, f"cannot be read as {format}")

    def close(self) -> None:
        """End the child.  A call that is under way is finished first."""
        self._thread.submit(self._drop).result()
        self._thread.shutdown()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        # What ends a child may have been meant for it alone: a file is blamed for the second.
        for _ in range(2):
            try:
                return self._alive().ask(request, self._deadline_s)
            except TimeoutError:
                self._drop()
                return _lost(request, f"took longer than {self._deadline_s:g} s to parse")
            except EOFError:
                answer = _lost(request, f"ended the process that parsed it ({self._drop()})")
        return answer

    def _alive(self) -> _Child:
        if self._child is not None and not self._child.running:
            self._drop()  # it died between two files
        if self._child is None:
            self._child = _Child(self._memory_bytes)
        return self._child

    def _drop(self) -> str:
        child, self._child = self._child, None
        return child.end() if child else ""


def _lost(request: dict[str, Any], detail: str) -> dict[str, Any]:
    """Tell of a child that is no more, and return the answer that it owes."""
    log.error("parser lost", format=request["format"], detail=detail)
    return {"problems": [[FILE, detail]]}


class _Child:
    """The running process and the pipes to it."""

    def __init__(self, memory_bytes: int) -> None:
        self._process = start(memory_bytes)
        self._said = bytearray()
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)
        try:
            self._read_line(time.monotonic() + _START_S)
        except (EOFError, TimeoutError):
            raise RuntimeError(f"the parser process did not start ({self.end()})") from None

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer.  Raises: TimeoutError; EOFError, if it died."""
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise EOFError from None
        until = time.monotonic() + deadline_s
        while True:
            answer: dict[str, Any] = json.loads(self._read_line(until))
            if "progress" not in answer:
                return answer

    def end(self) -> str:
        """Kill the process and say how it had ended."""
        self._process.kill()
        code = self._process.wait()
        self._requests.close()
        self._answers.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _read_line(self, until: float) -> bytes:
        fd = self._answers.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while b"\n" not in self._said:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError
                block = os.read(fd, 1 << 20)
                if not block:
                    raise EOFError
                self._said += block
        line, _, self._said = self._said.partition(b"\n")
        return bytes(line)
