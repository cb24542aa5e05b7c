"""The parser of a large file, as its supervisor sees it."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

from chainrule.errors import Problem
from service.errors import no_space
from service.parsing.parser import start
from worker.frames import Frame
from worker.process import ChildProcess

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

__all__ = ["ParserProcess", "data_error"]

MAX_ANSWER_BYTES = 64 << 20  # a schema has every category of every column
MAX_PLACES = 50


class ParserProcess(ChildProcess):
    """A parser.  It keeps nothing, so that to stop it is to kill it."""

    noun = "parser"

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        super().__init__()

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        if kind == "stop":
            self.kill()
            return
        with suppress(BrokenPipeError):
            stdin = cast("IO[bytes]", self._process.stdin)
            stdin.write(json.dumps(fields).encode() + b"\n")

    def _start(self) -> subprocess.Popen[bytes]:
        return start(self._memory_bytes)

    def _heard(self, stdout: IO[bytes]) -> Iterator[Frame]:
        with io.BufferedReader(cast("io.RawIOBase", stdout)) as lines, suppress(ValueError):
            while line := lines.readline(MAX_ANSWER_BYTES):
                yield Frame(_understood(json.loads(line)))


def _understood(message: dict[str, Any]) -> dict[str, Any]:
    """Return what the child has said as a trainer would say it."""
    if "schema" in message:
        return {"kind": "done", **message}
    if "problems" in message:
        return {"kind": "failed", "error": data_error([Problem(*p) for p in message["problems"]])}
    if "failure" in message:
        failed = OSError(message.get("errno"), message["failure"])
        return {"kind": "full" if no_space(failed) else "broken", **message}
    return {"kind": "progress" if "progress" in message else "ready", **message}


def data_error(problems: list[Problem]) -> dict[str, Any]:
    """Return the error of a job whose file is no good: what the API would say of a small one."""
    shown = problems[:MAX_PLACES]
    return {
        "code": "data_invalid",
        "detail": "; ".join(map(str, shown)),
        "errors": [{"pointer": p.pointer, "detail": p.detail} for p in shown],
    }
