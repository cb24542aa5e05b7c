"""``python -m worker [--id ID]``: run jobs until SIGTERM or SIGINT; a second one ends at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from chainrule.config import environment
from chainrule.errors import ChainruleError
from service import faults, logs
from service.settings import Settings
from worker.app import Worker

ENDING = (signal.SIGTERM, signal.SIGINT)
SAME_WISH_S = 1.0  # a signal to the group and one from ``up`` are one wish


def main(arguments: list[str]) -> None:
    """Read the settings, work, and end as the signals say."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="Run training jobs.")
    parser.add_argument("--id", help="take up what the last worker of this name left running")
    worker_id = parser.parse_args(arguments).id
    logs.configure()
    # Blocked in every thread: else any of them may take a signal, and the one that waits sleeps on.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        settings = Settings.from_env(environment())
        worker = Worker(settings, worker_id)
    except ChainruleError as error:
        sys.exit(f"chainrule worker: {error}")
    faults.arm(settings.fault)
    worker.start()
    signal.sigwait(ENDING)
    _end_at_once_when_asked_again()
    worker.stop()
    sys.stderr.flush()
    os._exit(0)  # a thread that waits for a broker must not hold up the end


def _end_at_once_when_asked_again() -> None:
    """Leave without another word at the next signal, if it comes later than the same wish would."""
    asked_at = time.monotonic()

    def end(number: int, _frame: object) -> None:
        if time.monotonic() - asked_at > SAME_WISH_S:
            os._exit(128 + number)

    for number in ENDING:
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


if __name__ == "__main__":
    main(sys.argv[1:])
