"""``python -m tests.chaos.faulty``: our processes, made to fail, and forked, since many are begun.

For a line of JSON on stdin one more process begins, in which a module's ``main`` runs. Over a
socket a test then arms a fault at any time, where the environment could do so once, and asks which
points were reached, and where. What takes minutes in production takes moments here; nothing else
differs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections import Counter
from typing import Any

import service.__main__
import service.keys
import worker.__main__
from service import faults
from service.actions import recovery
from service.settings import Settings
from tests.chaos import sites
from worker.attempt import Attempt
from worker.bound import bind_to_parent

MAINS: dict[str, Any] = {
    "service": service.__main__.main,
    "service.keys": service.keys.main,
    "worker": worker.__main__.main,
}
TESTED = {"heartbeat_s": 0.15, "poll_s": 0.2}  # settings that have no variable
HOLD_S = 0.2  # of a job that found the disk full


class Watch:
    """Stands where the armed fault does: counts what is reached, and fails as it is told to."""

    def __init__(self):
        self._lock = threading.Lock()
        self._seen = Counter()
        self._fault = self._given = None

    def arm(self, text):
        """Arm ``point@place:n:action``, and after a semicolon what a trainer is to run into."""
        if text is None:
            return
        own, _, given = text.partition(";")
        fault = faults.Fault(own) if own else None
        if fault is not None and fault.point in faults.OF_TRAINER:
            fault, given = None, own
        with self._lock:
            self._seen.clear()
            self._fault, self._given = fault, given or None

    def reach(self, point, place):
        place = place or sites.caller()
        with self._lock:
            self._seen[f"{point}@{place}"] += 1
            fault = self._fault
        if fault is not None:
            fault.reach(point, place)

    def hand_over(self):
        with self._lock:
            given, self._given = self._given, None
        return {"fault": given} if given else {}

    def rearm(self, text):
        """Arm anew.  Returns: which points were reached since the last time, and how often."""
        with self._lock:
            seen = dict(self._seen)
        self.arm(text)
        return seen


def obey(connection, watch):
    """Do what the test says, a line at a time, until it hangs up."""
    with connection.makefile("rw") as lines:
        for line in lines:
            lines.write(json.dumps(watch.rearm(line.strip())) + "\n")
            lines.flush()


def begin(request, parent):
    """Be the process that was asked for, to its end, or to the parent's."""
    bind_to_parent(parent)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environ"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, path in ((1, request["out"]), (2, request["log"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    watch = Watch()
    vars(faults).update({"_armed": watch, "arm": watch.arm, "hand_over": watch.hand_over})
    recovery.COLLECT_S = 0.3
    Attempt.full_hold_s = HOLD_S
    Settings.__init__.__kwdefaults__.update(TESTED)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("\0" + request["control"])
    # The signals are for the threads of the module, none of which runs yet.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    threading.Thread(target=obey, args=(connection, watch), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    watch.arm(os.environ.get("CHAINRULE_FAULT"))
    module, *arguments = request["module"]
    try:
        code = MAINS[module](arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def main():
    """Fork what is asked for, and tell of its end, until nobody asks any more."""
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    def say(**what):
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    running = set()
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    running.discard(pid)
                    say(ended=pid, code=os.waitstatus_to_exitcode(status))
        if 0 in ready:
            line = sys.stdin.readline()  # one at a time: the next comes after our answer
            if not line:
                return
            parent, pid = os.getpid(), os.fork()
            if pid == 0:
                begin(json.loads(line), parent)
            running.add(pid)
            say(started=pid)


if __name__ == "__main__":
    main()
