"""One schedule from its seed: a time of faults, then calm in which every job must end."""

from __future__ import annotations

import gc
from functools import cache

from service.store.tables import FINAL
from tests.simulation.actors import TTL, Cast
from tests.simulation.checker import Checker
from tests.simulation.world import Memory, Violation, World, virtual

CALM_TURNS = 3000
CALM_S = 3600.0
UNFINISHED = f"SELECT count(*) FROM jobs WHERE state NOT IN {FINAL}"
WEIGHTS = {"client": 3, "heir": 4, "recovery": 1}
BUSY, IDLE = 8, 1  # the weight of a worker


class Failed(Exception):  # noqa: N818 what a schedule did, not what it raised
    """A schedule broke an invariant, or something of the service broke."""

    def __init__(self, seed, why, trace):
        self.seed, self.why, self.trace = seed, why, trace
        super().__init__(f"seed {seed}: {why}")


def play(database, seed):
    """Play the schedule of a seed and return its world.  Raises: Failed, with what happened."""
    database.clear()
    world = World(database, seed)
    database.world = world
    world.checker = Checker(world)
    with virtual(world):
        try:
            cast = Cast(world)
            _disturb(world, cast)
            _calm(world, cast)
            world.checker.end(cast.acknowledged)
        except Violation as violation:
            raise Failed(seed, str(violation), world.trace) from None
        except Exception as error:
            raise Failed(seed, repr(error), world.trace) from error
        finally:
            for process in list(world.processes):
                world.kill(process)
    return world


def _disturb(world, cast):
    rng = world.rng
    faults = rng.choice([0.0, 0.05, 0.15, 0.3])
    world.fates = rng.choice([0.0, 0.05, 0.15, 0.3])
    world.turn(world.processes[0])  # the client's: nothing happens before it
    for _ in range(rng.randint(6, 45)):
        world.bury()
        if rng.random() < faults:
            _fault(world, cast)
        able, sleeping = [], any(process.stalled for process in world.processes)
        for process in world.processes:
            if process.stalled:
                process.stalled -= 1
            elif process.kind == "recovery" and sleeping:
                able += [process] * BUSY
            else:
                able += [process] * _weight(world, process)
        if able:
            process = rng.choice(able)
            if process.kind == "recovery" and sleeping and rng.random() < 0.5:
                world.clock.now += TTL
            world.turn(process)


def _weight(world, process):
    """How likely a process is to be next: one with something to do, more than one without."""
    if process.kind != "worker":
        return WEIGHTS[process.kind]
    return BUSY if process.attempt or process.called or world.broker.waiting else IDLE


def _fault(world, cast):
    """Let something fail that seldom does."""
    rng = world.rng
    workers = [process for process in world.processes if process.kind == "worker"]
    busy = [process for process in workers if process.attempt]
    if workers and rng.random() < 0.5:
        rng.choice(OF_WORKERS)(world, cast, rng.choice(busy or workers))
    elif world.processes:
        rng.choice(OF_ALL)(world, cast, rng.choice(world.processes))


def _kill_worker(world, cast, worker):
    world.kill(worker)
    cast.start_worker(world.rng.choice([None, worker.name]))


def _put_to_sleep(world, _cast, worker):
    """Make a zombie, if its lease is over when it wakes."""
    worker.stalled = world.rng.randint(4, 24)
    world.note(worker.name, "sleeps")


def _tell_to_end(world, cast, worker):
    world.note(worker.name, "is told to end")
    cast.end(worker)
    cast.start_worker()


def _pass_time(world, _cast, _any):
    world.clock.now += world.rng.uniform(0.0, 1.5 * TTL)
    for process in world.processes:
        if process.attempt is not None and world.rng.random() < 0.5:
            process.attempt.watch()


def _set_clock(world, _cast, _any):
    """Have the wall clock jump: a minute to ten years, ahead or back."""
    world.clock.skew += world.rng.choice([-1, 1]) * world.rng.choice([60.0, 3600.0, 3.15e8])
    world.note("the wall clock is at", round(world.clock.time()))


def _lose_messages(world, _cast, _any):
    world.broker.lose_all()


def _kill_any(world, cast, process):
    world.kill(process)
    if process.kind == "recovery":
        cast.start_recovery(process.name[1:])
    elif process.kind != "client":
        cast.start_worker()


OF_WORKERS = (_kill_worker, _put_to_sleep, _put_to_sleep, _tell_to_end)
OF_ALL = (_pass_time, _set_clock, _lose_messages, _kill_any)


def _calm(world, cast):
    """Let the time pass without a fault.  Raises: Violation, if a job does not end."""
    world.calm = True
    world.broker.up = True
    world.spawn("client", "client", cast.tidy)
    ends, turns = world.clock.now + CALM_S, world.turns + CALM_TURNS
    while world.database.sql(UNFINISHED)[0][0]:
        if world.turns > turns or world.clock.now > ends:
            raise Violation(f"jobs that do not end: {world.database.sql('SELECT * FROM jobs')}")
        world.bury()
        kinds = {process.kind for process in world.processes}
        if not kinds & {"worker", "heir"}:
            cast.start_worker()
        if "recovery" not in kinds:
            cast.start_recovery(0)
        world.turn(min(world.processes, key=lambda process: process.wake_at))


def play_many(template, seeds):
    """Play the schedules of some seeds.  Returns: how many turns, and the failures."""
    database = _memory(template)
    failures, turns = [], 0
    gc.freeze()  # what was imported stays
    gc.disable()  # a tenth of the time
    for seed in seeds:
        try:
            turns += play(database, seed).turns
        except Failed as error:
            failures.append((seed, error.why))
    gc.enable()
    gc.collect()
    return turns, failures


@cache
def _memory(template):
    return Memory(template)
