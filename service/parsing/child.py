"""The process that reads strangers' files: no secrets, bounded memory, gone when its parent is.

``python -m service.parsing.child PARENT MEMORY_BYTES``; one JSON line in, and one out, before which
there may be others that say how far it is: ``{"progress": 0.25}``.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
TELL_EVERY_S = 0.5


def confine(parent: int, memory_bytes: int) -> None:
    """Limit this process; leave if the parent has gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above took hold
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not RLIMIT_AS: libraries reserve address space that they never touch.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def answer(
    request: dict[str, Any], progress: Callable[[float], object] | None = None
) -> dict[str, Any]:
    """Parse one file; what went wrong is part of the answer.  ``progress`` is told the share."""
    from chainrule.errors import DataError  # noqa: PLC0415  # after the limits are set
    from service.parsing.files import parse_file  # noqa: PLC0415

    try:
        path, prepared = Path(request["path"]), Path(request["prepared"])
        parsed = parse_file(path, request["format"], prepared, request.get("types"), progress)
    except DataError as error:
        return {"problems": [[problem.path, problem.detail] for problem in error.problems]}
    except MemoryError:
        return {"problems": [["file", "needs more memory to parse than is allowed"]]}
    except OSError as error:
        return {"errno": error.errno, "failure": f"{type(error).__name__}: {error}"[:1000]}
    except Exception as error:  # whatever a hostile file sets off ends here
        return {"failure": f"{type(error).__name__}: {error}"[:1000]}
    return {"schema": parsed.schema, "rows": parsed.rows}


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until the parent closes the pipe."""
    import service.parsing.files  # noqa: F401, PLC0415  # polars takes half a second: ahead of time

    told_at = 0.0

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def progress(share: float) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            say({"progress": share})

    say({"ready": True})
    for line in requests:
        say(answer(json.loads(line), progress))


def main() -> None:
    """Run the child on its standard streams."""
    confine(int(sys.argv[1]), int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the pipe
    # Whatever a library prints must not get between the answers.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
