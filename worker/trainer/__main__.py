"""``python -m worker.trainer PARENT``: wait for one job on stdin, train it, report on stdout."""

from __future__ import annotations

import os
import resource
import signal
import sys

from worker.bound import bind_to_parent

NICE = 5  # where cores are short, the API answers before training goes on


def main(parent: int) -> None:
    """Prepare the process, import what takes long, say ``ready``, and serve one job."""
    bind_to_parent(parent)
    # A signal to the process group is the supervisor's to answer: it asks for a last checkpoint.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICE)
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a library prints must not end up between two frames

    from worker.trainer.channel import Channel  # noqa: PLC0415 numpy takes 0.1 s: the ties come first
    from worker.trainer.serving import serve  # noqa: PLC0415

    serve(Channel(source, sink))


if __name__ == "__main__":
    main(int(sys.argv[1]))
