"""Worker processes for tests: started with a database of the test, looked into, killed."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import eventually


def clean_environment(**settings):
    """This process's environment without its own CHAINRULE_*, with those given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CHAINRULE_")}
    return kept | {f"CHAINRULE_{name}": str(value) for name, value in settings.items()}


@contextmanager
def process(module, *arguments, log, **settings):
    """Run ``python -m module`` in a session of its own; nothing of it is left afterwards."""
    with log.open("ab") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=clean_environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGCONT)
            running.kill()
        running.wait()
        eventually(lambda: not group(running.pid), within_s=20)


def group(leader):
    """The living processes of a process group: {pid: command line}."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == leader and fields[0] != "Z":
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(place.name)] = command
        except (OSError, ValueError):
            continue
    return found


def parent(pid):
    """A process's parent, or None if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def of_group(leader, word):
    """The pids in a group whose command line has a word."""
    return [pid for pid, command in group(leader).items() if word in command]
