"""Waiting in tests: for a condition, with a limit that suits a slow and shared machine."""

import time

LIMIT_S = 120.0


def eventually(condition, *, within_s=LIMIT_S, every_s=0.01):
    """Return what ``condition`` returns once it is true; fail, if it does not become so in time."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {condition}"
        time.sleep(every_s)
    return found
