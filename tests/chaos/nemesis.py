"""Who kills: a seed says whom and in which order, and nobody is spared."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

from sqlalchemy import select

from service.errors import UnavailableError
from service.store.tables import Job
from service.store.transitions import MAX_CRASHES
from tests.processes import group
from tests.waiting import eventually

PATIENCE_S = 300.0
LOOK_S = 0.15  # each look reads all of /proc
PARSER_S = 5.0  # what a parser is waited for: there may be nothing to parse
AGAIN = 0.15  # of the strikes may hit what has made no progress since the last one
PAUSE_S = 0.5  # at most, from when there is something to strike to the strike
TARGETS = {
    "trainer": 30,
    "parser": 8,
    "worker": 12,
    "other worker": 6,
    "other host": 6,
    "API": 14,
    "broker": 8,
    "database": 10,
    "up": 3,
    "host": 3,
    "flush": 3,
    "stop": 2,
    "sleep": 4,
}
KILLS = [target for target in TARGETS if target not in ("flush", "stop", "sleep")]
OURS, OTHER = ("worker", "up", "host"), ("other worker", "other host", "stop")
HARMLESS = ("API", "broker", "flush")  # no attempt ends by it
KINDS = {"trainer": ("training", "prediction"), "parser": ("parsing",)}
SLEEPS = {"other worker": 20.0, "trainer": 8.0, "API": 3.0, "broker": 3.0}  # seconds at most
PROGRAMS = {"trainer": "worker.trainer", "parser": "service.parsing.child"}
API, BROKER = "-m service --fd", "broker.sock"


class Nemesis:
    """Kills the processes of a cluster, one after the other, where work is under way.

    Three deaths in a row without progress are by design the job's own fault, so that no job is
    struck more than twice before it has made some.
    """

    def __init__(self, cluster, database, history, seed):
        self._cluster = cluster
        self._store = database
        self._history = history
        self._rng = random.Random(f"nemesis {seed}")
        self._struck = {}  # deaths that may not be counted yet: {job: (attempt, step)}
        self._again = False
        self._asleep = []  # stopped processes: [(when to wake them, pids)]
        self.done = dict.fromkeys(TARGETS, 0)

    @property
    def kills(self):
        """How many it has killed."""
        return sum(self.done[target] for target in KILLS)

    def run(self, kills, client, within_s):
        """Go on until so many were killed, or the time is over, or the client has failed."""
        ends_at = time.monotonic() + within_s
        targets = dict(TARGETS)
        if self._cluster.postgres is None:
            del targets["database"]
        while self.kills < kills and client.is_alive() and time.monotonic() < ends_at:
            target = self._rng.choices(list(targets), list(targets.values()))[0]
            pause_s = self._rng.uniform(0.0, PAUSE_S)
            self._again = self._rng.random() < AGAIN
            if self._wait_for(target):
                time.sleep(pause_s)
                self._strike(target)
        self._wake(time.monotonic() + PATIENCE_S)

    def _wait_for(self, target):
        """Wait until there is something to strike.  Returns: whether there is."""
        within_s = PARSER_S if target == "parser" else PATIENCE_S
        with suppress(AssertionError):
            eventually(lambda: self._prey(target) is not None, within_s=within_s, every_s=LOOK_S)
            return True
        assert target == "parser", f"there is no {target} to strike, or a job has no progress"
        return False

    def _strike(self, target):
        prey = self._prey(target)
        if prey is None:  # it has ended meanwhile
            return
        at = time.time()
        hit = getattr(self, f"_{target.replace(' ', '_').lower()}")(prey)
        if hit is None:
            return
        self._struck |= {row.id: (row.attempt, row.step) for row in hit}
        self.done[target] += 1
        jobs = [] if target in ("database", "sleep") else [row.id for row in hit]
        self._history.note("nemesis", target=target, jobs=jobs, struck_at=at)

    def _prey(self, target):
        """The jobs under way that a strike would hit; None, if it has to wait."""
        self._wake(time.monotonic())
        if self._cluster.up.poll() is not None:
            raise RuntimeError("up has ended by itself")
        if target in HARMLESS:
            return [] if self._is_there(target) else None
        live = self._live()
        if live is None or not self._are_safe(live):
            return None
        running = [r for r in live if r.state == "running" and not self._is_uncounted(r)]
        hit = self._hit(target, [r for r in running if r.crashes <= self._again])
        is_awaited = target in (*OURS, *OTHER, *KINDS)
        return hit if hit or not is_awaited or (self._asleep and target in OTHER) else None

    def _is_there(self, target):
        if target == "API":
            return self._cluster.answers()
        return bool(self._cluster.pids(BROKER))

    def _hit(self, target, running):
        """Those of the jobs under way whose attempts a strike may end."""
        if target in OURS:
            return [row for row in running if _is_ours(row)]
        if target in OTHER:
            return [row for row in running if not _is_ours(row)]
        if target in KINDS:
            there = set(self._cluster.children(PROGRAMS[target]).values())
            return [r for r in running if r.kind in KINDS[target] and _is_ours(r) in there]
        return running

    def _live(self):
        """The jobs that have not ended, or None if the database does not say."""
        columns = (Job.id, Job.kind, Job.state, Job.owner, Job.attempt, Job.step, Job.crashes)
        with suppress(UnavailableError), self._store.read() as session:
            wanted = select(*columns).where(Job.state.in_(("queued", "running")))
            return session.execute(wanted.order_by(Job.seq)).all()
        return None

    def _are_safe(self, live):
        """Whether none of them would fail for one more death."""
        return all(row.crashes + self._is_uncounted(row) + 1 < MAX_CRASHES for row in live)

    def _is_uncounted(self, row):
        return row.state == "running" and self._struck.get(row.id) == (row.attempt, row.step)

    def _trainer(self, prey):
        return self._child("trainer", prey)

    def _parser(self, prey):
        return self._child("parser", prey)

    def _child(self, target, prey):
        """Kill the process that does a job: a worker has one of a kind."""
        row = self._rng.choice(prey)
        pids = [
            p for p, o in self._cluster.children(PROGRAMS[target]).items() if o == _is_ours(row)
        ]
        return [row] if _signal(pids) else None

    def _worker(self, prey):
        return prey if _signal(self._cluster.pids("-m worker --id")) else None

    def _other_worker(self, prey):
        self._cluster.other.kill()
        self._cluster.restart_other()
        return prey

    def _other_host(self, prey):
        os.killpg(self._cluster.other.pid, signal.SIGKILL)
        self._cluster.restart_other()
        return prey

    def _up(self, prey):
        self._cluster.up.kill()
        self._cluster.restart_up()
        return prey

    def _host(self, prey):
        os.killpg(self._cluster.up.pid, signal.SIGKILL)
        self._cluster.restart_up()
        return prey

    def _api(self, _prey):
        return [] if _signal(self._cluster.pids(API)) else None

    def _broker(self, _prey):
        return [] if _signal(self._cluster.pids(BROKER)) else None

    def _database(self, prey):
        self._cluster.postgres.kill(self._rng.choice([signal.SIGKILL, signal.SIGQUIT]))
        time.sleep(self._rng.uniform(0.0, 2.0))
        self._cluster.postgres.start()
        self._cluster.wait_for_database()
        return prey

    def _flush(self, _prey):
        self._cluster.flush()
        return []

    def _stop(self, prey):
        """A rolling restart: told to end, the worker gives its job back."""
        self._wake(time.monotonic() + PATIENCE_S)
        self._cluster.other.send_signal(signal.SIGTERM)
        self._cluster.restart_other()
        return prey

    def _sleep(self, prey):
        """Stop somebody for a while, such as a worker past its lease, which wakes as a zombie."""
        who = self._rng.choice(list(SLEEPS))
        until = time.monotonic() + self._rng.uniform(0.2, SLEEPS[who])
        pids = {
            "other worker": lambda: list(group(self._cluster.other.pid)),
            "trainer": lambda: list(self._cluster.children(PROGRAMS["trainer"])),
            "API": lambda: self._cluster.pids(API),
            "broker": lambda: self._cluster.pids(BROKER),
        }[who]()
        self._asleep.append((until, pids))
        _signal(pids, signal.SIGSTOP)
        return prey

    def _wake(self, now):
        for each in [each for each in self._asleep if each[0] <= now]:
            self._cluster.resume(each[1])
            self._asleep.remove(each)


def _is_ours(row):
    return row.owner.startswith("up-")


def _signal(pids, number=signal.SIGKILL):
    """Signal processes.  Returns: how many were there."""
    there = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            there += 1
    return there
