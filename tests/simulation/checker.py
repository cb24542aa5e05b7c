"""What must hold after every commit, whoever made it: reliability.md's state machine, read anew.

The checker looks at the rows beside the service's code, and knows who has just committed.
"""

from __future__ import annotations

from typing import NamedTuple

from service.store.tables import FINAL
from service.store.transitions import MAX_CRASHES
from tests.simulation.actors import TENSORS, TTL, weights
from tests.simulation.world import Violation

RING_AGAIN_S = 10.0


class Row(NamedTuple):
    """What the state machine knows of a job."""

    id: str
    kind: str
    state: str
    attempt: int
    crashes: int
    hb: int
    step: int
    steps: int
    cancel: int
    pause: int
    owner: str | None
    not_before: float
    published: float


WANTED = f"SELECT {', '.join(Row._fields)} FROM jobs ORDER BY seq"
QUEUE = {"not_before", "published"}  # what the bell may change
FILES = """
    SELECT d.id, d.state, d.error IS NOT NULL, c.data,
        (SELECT j.state FROM jobs j WHERE j.dataset_id = d.id ORDER BY j.seq DESC LIMIT 1),
        (SELECT count(*) FROM jobs j WHERE j.dataset_id = d.id AND j.state NOT IN
            ('succeeded', 'failed', 'cancelled'))
    FROM datasets d LEFT JOIN blob_chunks b ON b.blob = d.prepared
        LEFT JOIN chunks c ON c.sha256 = b.chunk
    WHERE d.name = 'file'
"""
OF_FILE = {"succeeded": "ready", "failed": "failed", "cancelled": "failed"}  # else it is parsed


class Checker:
    """Compares the rows before and after each commit."""

    def __init__(self, world):
        self._world = world
        self._rows = {}
        self._event = 0
        self._changes = None  # how many rows had been written when it last looked
        self._deleted = set()
        self._beat_at = {}  # job -> when its attempt last gave a sign of life

    def look(self, who):
        """Check what the process has just committed.  Raises: Violation."""
        database = self._world.database
        if database.changes == self._changes:
            return  # not one row has been written since, so what held then holds now
        self._changes = database.changes
        rows = {row[0]: Row(*row) for row in database.sql(WANTED)}
        before, self._rows = self._rows, rows
        changed = [job for job, row in rows.items() if row != before.get(job)]
        gone = [before[job] for job in before.keys() - rows.keys()]
        for row in gone:  # T12
            _require(who.kind == "client" and row.state in FINAL, f"{row} is gone")
            self._deleted.add(row.id)
        self._check_files()
        _require(len(gone) <= 1 - bool(gone and changed), f"gone at once: {gone}, {changed}")
        events = self._events()
        if not changed:
            _require(not events, f"an event without a change: {events}")
            return
        if who is None:
            return
        fields = {job: _fields(before.get(job), rows[job]) for job in changed}
        if who.kind == "recovery" and all(names <= QUEUE for names in fields.values()):
            for job in changed:
                self._check_ring(before[job], rows[job])
            return
        _require(len(changed) == 1, f"one transaction changed {changed}")
        (job,) = changed
        old, new = before.get(job), rows[job]
        self._world.note("->", *(f"{name}={getattr(new, name)}" for name in sorted(fields[job])))
        self._check_events(old, new, events)
        if old is None:
            fresh = ("queued", 0, 0, 0, 0)
            found = (new.state, new.attempt, new.crashes, new.hb, new.step)
            _require(found == fresh, f"begins as {new}")
            return
        _require(old.state not in FINAL, f"a final row changed: {old} to {new}")
        for name in ("attempt", "step", "hb"):
            _require(getattr(new, name) >= getattr(old, name), f"{name} fell: {old} to {new}")
        _require((new.state == "running") == (new.owner is not None), f"whose is {new}")
        getattr(self, f"_by_{who.kind}")(who, old, new)
        if new.step != old.step or new.state == "succeeded":
            self._check_steps(new)

    def end(self, acknowledged):
        """Check what is left when all has come to rest."""
        for job in acknowledged - self._deleted:
            _require(job in self._rows, f"{job} was acknowledged and is not there")
        for row in self._rows.values():
            _require(row.state in FINAL, f"cannot end: {row}")
            self._check_steps(row)
            found = self._world.database.sql(
                "SELECT c.data FROM models m JOIN blob_chunks b ON b.blob = m.bundle "
                "JOIN chunks c ON c.sha256 = b.chunk WHERE m.job_id = ?",
                row.id,
            )
            has_model = row.state == "succeeded" and row.kind == "training"
            wanted = [(weights(row.id, row.step),)] if has_model else []
            _require(found == wanted, f"{row} has the models {found}")

    def _by_client(self, _who, old, new):
        """T10, T13, T14."""
        moves = {
            ("queued", "cancelled"): {"state", "cancel"},
            ("paused", "cancelled"): {"state", "cancel"},
            ("queued", "paused"): {"state", "pause"},
            ("paused", "queued"): {"state", "pause", *QUEUE},
            ("running", "running"): {"cancel", "pause"},
        }
        allowed = moves.get((old.state, new.state))
        _require(allowed is not None, f"a client made {old} into {new}")
        _require(_fields(old, new) <= allowed, f"a client made {old} into {new}")
        if old.state == "running":
            _require(new.cancel >= old.cancel and new.pause >= old.pause, f"unasked: {new}")
        if new.state == "cancelled":
            _require(new.cancel, f"cancelled, but not asked for: {new}")

    def _by_worker(self, who, old, new):
        """T2 to T8."""
        if (old.state, new.state) == ("queued", "running"):
            self._check_claim(who, old, new)
            return
        mine = old.state == "running" and who.owned.get(old.id) == old.attempt
        _require(mine, f"a write of an attempt that is over, {who.owned}: {old} to {new}")
        _require(new.attempt == old.attempt, f"another attempt: {old} to {new}")
        if new.state == "running":
            kept = new._replace(hb=old.hb, step=old.step, crashes=old.crashes)
            _require(kept == old and new.hb == old.hb + 1, f"no beat, no unit: {old} to {new}")
            progress = new.step > old.step and new.kind != "parsing"
            crashes = 0 if progress else old.crashes
            _require(new.crashes == crashes, f"crashes of {old} to {new}")
            self._beat_at[old.id] = self._world.clock.now
        elif new.state == "succeeded":
            done = new.step if new.kind == "parsing" else old.step
            _require(new.step == done == new.steps, f"succeeded as {new}")
        elif new.crashes == old.crashes:
            _require(new.state in ("failed", _asked(old) or "queued"), f"{old} left as {new}")
        else:
            self._check_crash(old, new)

    def _by_recovery(self, _who, old, new):
        """T9."""
        _require(old.state == "running", f"recovery made {old} into {new}")
        silent_s = self._world.clock.now - self._beat_at[old.id]
        _require(silent_s >= TTL, f"reaped after {silent_s:.1f} s: {old}")
        self._check_crash(old, new)

    def _by_heir(self, who, old, new):
        """T9, of a worker whose process has ended."""
        _require(old.state == "running", f"an heir made {old} into {new}")
        _require(str(old.owner).startswith(f"{who.name}:"), f"{who.name} reaped {old}")
        self._check_crash(old, new)

    def _check_claim(self, who, old, new):
        _require(not old.cancel, f"claimed though cancelled: {old}")
        _require(old.not_before <= self._world.clock.time(), f"claimed before its time: {old}")
        expected = old._replace(
            state="running", attempt=old.attempt + 1, hb=old.hb + 1, owner=new.owner
        )
        _require(new == expected, f"claimed {old} as {new}")
        _require(new.owner.startswith(f"{who.name}:"), f"claimed for somebody else: {new}")
        who.owned[old.id] = new.attempt
        self._beat_at[old.id] = self._world.clock.now

    def _check_crash(self, old, new):
        last = old.crashes + 1 >= MAX_CRASHES
        state = _asked(old) or ("failed" if last else "queued")
        _require(new.crashes == old.crashes + 1, f"a crash made {old} into {new}")
        _require(new.state == state, f"a crash made {old} into {new}, not {state}")
        _require(new.step == old.step, f"a crash made {old} into {new}")

    def _check_ring(self, old, new):
        """T11.  Held back by a clock since set back, a job becomes due."""
        now = self._world.clock.time()
        _require(old.state == "queued", f"rung for {old}")
        far = old.not_before > now + 600.0
        _require(far or new.not_before == old.not_before, f"hurried: {old} to {new}")
        if new.published != old.published:
            _require(new.not_before <= now, f"rung before its time: {old}")
            lately = abs(now - old.published) <= RING_AGAIN_S
            _require(not lately, f"rung again too soon: {old} to {new}")

    def _check_steps(self, row):
        """Units follow on each other from 0 to the row's step, and the newest has a checkpoint."""
        if row.kind == "parsing":
            return
        done = 0
        units = "SELECT prev, step, attempt FROM steps WHERE job_id = ? ORDER BY step"
        for prev, step, attempt in self._world.database.sql(units, row.id):
            _require(prev == done < step, f"{row}: a unit from {prev} to {step} after {done}")
            _require(attempt <= row.attempt, f"{row}: a unit of attempt {attempt}")
            done = step
        _require(done == row.step, f"{row}: the units end at {done}")
        newest = "SELECT max(step) FROM checkpoints WHERE job_id = ?"
        ((kept,),) = self._world.database.sql(newest, row.id)
        _require((kept or 0) == row.step, f"{row}: the newest checkpoint is of step {kept}")

    def _check_files(self):
        """A dataset is what the newest job that parses it has made of it."""
        for dataset, state, has_error, tensors, of_job, live in self._world.database.sql(FILES):
            place = f"dataset {dataset}, {state}, of a job that is {of_job}"
            _require(has_error == (state == "failed"), f"{place}: its error")
            _require((tensors == TENSORS) == (state == "ready"), f"{place}: its tensors")
            _require(live <= 1, f"{place}: {live} jobs parse it")
            _require(bool(live) == (state == "parsing"), f"{place}: {live} jobs parse it")
            if of_job is not None and not self._deleted:
                _require(state == OF_FILE.get(of_job, "parsing"), place)

    def _events(self):
        wanted = "SELECT seq, job_id, from_state, to_state, attempt, detail FROM job_events"
        events = self._world.database.sql(f"{wanted} WHERE seq > ? ORDER BY seq", self._event)
        if events:
            self._event = events[-1][0]
        for event in events:
            _require("internal" not in (event[5] or ""), f"the worker failed: {event[5]}")
        return events

    def _check_events(self, old, new, events):
        """A change of state is told of once; so is a wish that a running attempt is to heed."""
        told = [(e[1], e[2], e[3], e[4]) for e in events]
        state = old and old.state
        wished = old is not None and (old.cancel, old.pause) != (new.cancel, new.pause)
        if new.state != state or (new.state == "running" and wished):
            _require(told == [(new.id, state, new.state, new.attempt)], f"{new} told as {told}")
        else:
            _require(not told, f"{new} told as {told}")


def _asked(row):
    return "cancelled" if row.cancel else "paused" if row.pause else None


def _fields(old, new):
    if old is None:
        return set(Row._fields)
    return {name for name, a, b in zip(Row._fields, old, new, strict=True) if a != b}


def _require(holds, what):
    if not holds:
        raise Violation(what)
