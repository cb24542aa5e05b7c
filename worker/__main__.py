"""``python -m worker [--id ID]``: run jobs until SIGTERM or SIGINT; a second one ends at once."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time

from chainrule.config import environment
from service.api import logs
from service.settings import Settings
from worker.app import Worker

SAME_WISH_S = 1.0  # a signal to the group and one from ``up`` are one wish


def main(arguments: list[str]) -> None:
    """Read the settings, work, and end as the signals say."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="Run training jobs.")
    parser.add_argument("--id", help="take up what the last worker of this name left running")
    worker_id = parser.parse_args(arguments).id
    settings = Settings.from_env(environment())
    logs.configure()
    for library in ("alembic", "celery", "kombu"):
        logging.getLogger(library).setLevel(logging.ERROR)
    ending = _ending()
    worker = Worker(settings, worker_id)
    worker.start()
    ending.wait()
    worker.stop()
    sys.stderr.flush()
    os._exit(0)  # a thread that waits for a broker must not hold up the end


def _ending() -> threading.Event:
    """Return an event that the first signal sets."""
    asked_at: list[float] = []
    event = threading.Event()

    def end(number: int, _frame: object) -> None:
        now = time.monotonic()
        if asked_at and now - asked_at[0] > SAME_WISH_S:
            os._exit(128 + number)
        asked_at.append(now)
        event.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return event


if __name__ == "__main__":
    main(sys.argv[1:])
