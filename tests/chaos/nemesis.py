"""Who kills: a seed says whom and when, and nobody is spared."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

from sqlalchemy import func, select

from service.errors import UnavailableError
from service.store.tables import Job
from tests.waiting import eventually

PATIENCE_S = 120.0
TARGETS = {
    "trainer": 30,
    "worker": 18,
    "other worker": 12,
    "API": 14,
    "broker": 8,
    "database": 8,
    "up": 5,
    "flush": 3,
    "stop": 2,
    "sleep": 2,
}
KILLS = {"trainer", "worker", "other worker", "API", "broker", "database", "up"}
COSTLY = {"trainer", "worker", "other worker", "up", "stop", "sleep"}  # each may cost an attempt


class Nemesis:
    """Kills the processes of a cluster, one after the other."""

    def __init__(self, cluster, database, history, seed):
        self._cluster = cluster
        self._store = database
        self._history = history
        self._rng = random.Random(f"nemesis {seed}")
        self.killed = dict.fromkeys(KILLS, 0)

    def run(self, kills, client):
        """Go on until so many were killed, or the client is."""
        targets = dict(TARGETS)
        if self._cluster.postgres is None:
            del targets["database"]
        while sum(self.killed.values()) < kills and client.is_alive():
            target = self._rng.choices(list(targets), list(targets.values()))[0]
            pause_s = self._rng.uniform(0.1, 1.5)
            if target in COSTLY:
                self._wait_for_progress()
            jobs = []
            if target in COSTLY and target != "trainer":
                jobs = self._owned(ours=target in ("worker", "up"))
            at = time.time()
            done = getattr(self, f"_{target.replace(' ', '_').lower()}")()
            if done and target in KILLS:
                self.killed[target] += 1
            if target == "trainer" and done:
                jobs = self._owned(ours=done == "ours")
            self._history.note("nemesis", target=target, done=bool(done), jobs=jobs, killed_at=at)
            time.sleep(pause_s)

    def _wait_for_progress(self):
        """Three deaths in a row without a unit are the job's own fault: not so many are ours."""

        def is_safe():
            with suppress(UnavailableError), self._store.read() as session:
                worst = select(func.max(Job.crashes)).where(Job.state.in_(("queued", "running")))
                return (session.scalar(worst) or 0) < 2
            return False

        eventually(is_safe, within_s=PATIENCE_S, every_s=0.05)

    def _owned(self, *, ours):
        """The jobs that a worker has under way."""
        with suppress(UnavailableError), self._store.read() as session:
            rows = session.execute(select(Job.id, Job.owner).where(Job.state == "running"))
            return [row.id for row in rows if row.owner.startswith("up-") == ours]
        return []

    def _kill_all(self, word):
        killed = [_kill(pid) for pid in self._cluster.pids(word)]
        return any(killed)

    def _trainer(self):
        trainers = self._cluster.trainers()
        if not trainers:
            return None
        pid = self._rng.choice(sorted(trainers))
        return _kill(pid) and ("ours" if trainers[pid] else "other")

    def _worker(self):
        return self._kill_all("-m worker --id")

    def _other_worker(self):
        self._cluster.other.kill()
        self._cluster.other.wait()
        self._cluster.start_other()
        return True

    def _api(self):
        return self._kill_all("-m service --fd")

    def _broker(self):
        return self._kill_all("broker.sock")

    def _database(self):
        self._cluster.postgres.kill()
        time.sleep(self._rng.uniform(0.0, 2.0))
        self._cluster.postgres.start()
        self._cluster.wait_for_database()
        return True

    def _up(self):
        self._cluster.up.kill()
        self._cluster.up.wait()
        self._cluster.start_up()
        return True

    def _flush(self):
        self._cluster.flush()
        return True

    def _stop(self):
        """A rolling restart: told to end, the worker gives its job back."""
        self._cluster.other.send_signal(signal.SIGTERM)
        self._cluster.other.wait(60)
        self._cluster.start_other()
        return True

    def _sleep(self):
        """Make a zombie: a worker that sleeps past its lease and wakes."""
        leader = self._cluster.other.pid
        os.killpg(leader, signal.SIGSTOP)
        time.sleep(self._rng.uniform(1.0, 22.0))
        os.killpg(leader, signal.SIGCONT)
        return True


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
