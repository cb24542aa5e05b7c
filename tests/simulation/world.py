"""Where a schedule plays: one clock, one database, one broker, and processes that take turns.

Processes are greenlets, and a seed says whose turn it is. They change places where real ones could
see each other's work: before each transaction and each read, after each commit, in every sleep and
every wait. What runs between two such places is the service's own code.
"""

from __future__ import annotations

import logging
import random
import secrets
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache
from types import SimpleNamespace

import pysqlite3.dbapi2
from greenlet import getcurrent, greenlet
from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from service import ids
from service.store import database as database_module
from service.store import engines, migrate
from service.store.database import Database
from tests.scene import Scene

TIMED = ("service.ids", "service.store", "service.actions", "worker.attempt")
FATES = ("busy", "lost", "die")  # what may become of a transaction, unless all goes well


class Killed(BaseException):
    """The process is dead: nothing of it runs any more, and what it had not committed is gone."""


class Violation(BaseException):
    """An invariant does not hold.  No ``except Exception`` of the service may swallow it."""


class Clock:
    """Takes the place of the module ``time``: seconds pass when the schedule says so."""

    def __init__(self, pause):
        self.now = 1_000.0
        self.skew = 1.7e9  # of the wall clock, which may jump
        self.sleep = pause

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + self.skew


class Process:
    """Something that runs by itself, until it ends or is killed."""

    def __init__(self, name, kind, hub, main):
        self.name = name
        self.kind = kind
        self.greenlet = greenlet(lambda: main(self), hub)
        self.wake_at = 0.0
        self.stalled = 0  # turns that it sleeps through
        self.releasing = False
        self.attempt = None
        self.called = False  # to a job that it may claim
        self.owned = {}  # job -> the attempt that it has claimed

    @property
    def alive(self):
        return not self.greenlet.dead


class Broker:
    """Messages that get lost, come twice and overtake each other."""

    def __init__(self, world):
        self._world = world
        self._messages = []
        self.up = True

    def ring(self, job_id):
        chance = self._world.rng.random()
        copies = 1 if self._world.calm else 0 if chance < 0.2 else 2 if chance > 0.8 else 1
        self._messages += [job_id] * (copies if self.up else 0)

    @property
    def waiting(self):
        """How many messages there are."""
        return len(self._messages)

    def take(self):
        if not self._messages:
            return None
        return self._messages.pop(self._world.rng.randrange(len(self._messages)))

    def lose_all(self):
        self._messages.clear()


class Memory(Database):
    """The real store over SQLite in memory.  Each transaction is a turn, and meets its fate."""

    def __init__(self, template):
        self.url = "sqlite:///:memory:"
        self.retry_s = 10.0
        self.world = None
        self.engine = create_engine(
            "sqlite://",
            module=pysqlite3.dbapi2,
            poolclass=StaticPool,
            json_serializer=engines._dumps,
        )
        self._reader = self._writer = self.engine
        self._mutex = self._glances = None
        event.listen(self.engine, "connect", lambda raw, _: self._fill(raw, template))
        event.listen(self.engine, "begin", lambda _: self.sql("BEGIN"))
        self.engine.connect().close()
        names = [row[0] for row in self.sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
        names = [name for name in names if not name.startswith(("sqlite_", "alembic_"))]
        last = "SELECT coalesce(max(rowid), 0) FROM"
        self._kept = {name: self.sql(f"{last} {name}")[0][0] for name in names}

    def _fill(self, raw, template):
        raw.isolation_level = None
        source = pysqlite3.dbapi2.connect(str(template))
        source.backup(raw)
        source.close()
        self._raw = raw
        # The guards must hold by themselves, without what the database refuses besides.
        for (name,) in self.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            self.sql(f"DROP TRIGGER {name}")

    def sql(self, statement, *values):
        """Run a statement beside the service, at once."""
        return self._raw.execute(statement, values).fetchall()

    @property
    def changes(self):
        """How many rows have been written so far."""
        return self._raw.total_changes

    def clear(self):
        """Forget all but what the template held, so that no schedule knows of another."""
        self.sql("PRAGMA foreign_keys = OFF")
        for table, kept in self._kept.items():
            self.sql(f"DELETE FROM {table} WHERE rowid > {kept}")
        self.sql("PRAGMA foreign_keys = ON")

    @contextmanager
    def read(self):
        self.world.pause()
        with super().read() as session:
            yield session

    def _once(self, act, kept):
        self.world.pause()
        fate = self.world.fate()
        if fate == "busy":
            raise _disconnected()
        done = super()._once(act, kept)
        self.world.committed()
        if fate == "lost":
            raise _disconnected()
        if fate == "die":
            raise Killed
        return done


class World:
    """One schedule.  ``calm`` once nothing fails any more, so that all must come to an end."""

    def __init__(self, database, seed):
        self.rng = random.Random(seed)
        self.clock = Clock(self.pause)
        self.database = database
        self.broker = Broker(self)
        self.processes = []
        self.calm = False
        self.fates = 0.0
        self.turns = 0
        self.trace = []
        self.checker = None
        self.current = None
        self._hub = getcurrent()

    def note(self, *words):
        self.trace.append((self.clock.now, self.current and self.current.name, *words))

    def spawn(self, name, kind, main):
        process = Process(name, kind, self._hub, main)
        process.wake_at = self.clock.now
        self.processes.append(process)
        return process

    def pause(self, seconds=0.0):
        """Let others run, and go on no earlier than in so many seconds."""
        process = self.current
        if process is None:
            return
        process.wake_at = self.clock.now + max(seconds, 0.0)
        self._hub.switch()

    def turn(self, process):
        """Let one process run to its next pause.  If it waits for a time, that time has come."""
        self.turns += 1
        self.clock.now = max(self.clock.now, process.wake_at)
        self.current = process
        try:
            process.greenlet.switch()
        except Killed:
            self.note("dies")
        finally:
            self.current = None

    def kill(self, process):
        self.current = process
        self.note("is killed")
        self.current = None
        if process.greenlet:  # it has begun
            with suppress(Killed):
                process.greenlet.throw(Killed)
        self.processes.remove(process)

    def bury(self):
        """Forget the processes that have ended."""
        self.processes = [process for process in self.processes if process.alive]

    def fate(self):
        """Say what becomes of the transaction that begins now."""
        if self.current is None or self.calm or self.rng.random() >= self.fates:
            return "run"
        fate = self.rng.choice(FATES)
        self.note("meets", fate)
        return fate

    def committed(self):
        self.checker.look(self.current)


def template(folder):
    """Make a migrated file with one dataset, to fill memory from."""
    path = folder / "template.db"
    url = f"sqlite:///{path}"
    migrate.upgrade(url)
    database = Database(url)
    Scene(database).dataset()
    database.dispose()
    return path


@contextmanager
def virtual(world):
    """Give the service the world's clock, and randomness that its seed decides."""
    rng = world.rng
    seeded = SimpleNamespace(
        token_hex=lambda n: f"{rng.getrandbits(8 * n):0{2 * n}x}",
        randbelow=rng.randrange,
        randbits=rng.getrandbits,
    )
    patched = [(module, "time", time, world.clock) for module in _timed(len(sys.modules))]
    patched += [(module, "secrets", secrets, seeded) for module in (database_module, ids)]
    alarm = _Alarm(logging.ERROR)
    try:
        logging.disable(logging.WARNING)
        logging.getLogger("worker").addHandler(alarm)
        for module, name, _, ours in patched:
            setattr(module, name, ours)
        yield
    finally:
        for module, name, theirs, _ in patched:
            setattr(module, name, theirs)
        logging.getLogger("worker").removeHandler(alarm)
        logging.disable(logging.NOTSET)


@cache
def _timed(_count):
    """Return the modules that tell the time, looked for again once there are more."""
    return [
        module
        for name, module in sys.modules.items()
        if name.startswith(TIMED) and getattr(module, "time", None) is time
    ]


class _Alarm(logging.Handler):
    """A supervisor goes on after an error of its own, but in a schedule there must be none."""

    def emit(self, record):
        raise Violation(f"{record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


def _disconnected():
    return OperationalError("COMMIT", {}, Exception("gone"), connection_invalidated=True)
