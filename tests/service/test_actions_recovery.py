"""Recovery: who is reaped and when, by a clock of its own, and which jobs are rung for again."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from service.actions.recovery import COLLECT_S, Recovery, reap_worker
from service.store import blobs, transitions
from service.store.tables import Chunk

TTL = 15.0


@pytest.fixture
def watch(scene):
    """A recovery whose clock the test moves, and what it rang."""
    state = SimpleNamespace(now=1000.0, rung=[])
    recovery = Recovery(scene.database, state.rung.append, ttl_s=TTL, clock=lambda: state.now)

    def tick(after=0.0):
        state.now += after
        recovery.tick()

    state.tick = tick
    return state


def test_an_attempt_that_stands_still_for_a_lease_is_ended(scene, watch):
    claim = scene.running()
    watch.tick()
    watch.tick(after=TTL - 0.1)
    assert scene.row(claim.job_id).state == "running"
    watch.tick(after=0.2)
    row = scene.row(claim.job_id)
    assert (row.state, row.crashes, row.owner) == ("queued", 1, None)
    assert watch.rung == [claim.job_id]  # the bell tells the other workers at once


def test_an_attempt_that_beats_or_commits_is_left_alone(scene, watch):
    claim = scene.running()
    for step in range(3):
        watch.tick(after=TTL - 1)
        scene.act(transitions.heartbeat, claim)
        watch.tick(after=TTL - 1)
        scene.commit(claim, step, step + 1)
    assert scene.row(claim.job_id).state == "running"


def test_a_later_attempt_is_not_ended_for_an_earlier_one(scene, watch):
    claim = scene.running()
    watch.tick()
    scene.act(transitions.release, claim)
    again = scene.claim(claim.job_id)
    watch.tick(after=TTL + 1)
    assert scene.row(claim.job_id).attempt == again.attempt == 2
    assert scene.row(claim.job_id).state == "running"


def test_a_process_that_just_started_waits_a_whole_lease(scene, watch):
    claim = scene.running()
    scene.sql("UPDATE jobs SET started_at = 0")  # no wall clock is looked at
    watch.tick(after=1e6)
    assert scene.row(claim.job_id).state == "running"


def test_two_recoveries_end_an_attempt_once(scene, watch):
    claim = scene.running()
    other = Recovery(scene.database, watch.rung.append, ttl_s=TTL, clock=lambda: watch.now)
    watch.tick()
    other.tick()
    watch.tick(after=TTL)
    other.tick()
    assert scene.row(claim.job_id).crashes == 1
    assert watch.rung == [claim.job_id]


def test_the_third_loss_in_a_row_fails_the_job(scene, watch):
    job_id = scene.job()
    for _ in range(3):
        scene.sql("UPDATE jobs SET not_before = 0")
        assert scene.claim(job_id)
        watch.tick()
        watch.tick(after=TTL)
    row = scene.row(job_id)
    assert (row.state, row.error["code"]) == ("failed", "crashed")


def test_a_queued_job_is_rung_for_once_in_ten_seconds(scene, watch):
    job_id = scene.job()
    watch.tick()
    assert watch.rung == []  # the API has just rung
    scene.sql("UPDATE jobs SET published = published - 11")
    watch.tick()
    watch.tick()
    assert watch.rung == [job_id]


def test_orphans_are_collected_now_and_then(scene, watch):
    blobs.stage(scene.database, b"orphan")
    scene.sql("UPDATE chunks SET staged_at = 0")
    watch.tick()
    assert scene.count(Chunk) == 1
    watch.tick(after=COLLECT_S)
    assert scene.count(Chunk) == 0


def test_a_worker_known_to_be_dead_is_reaped_at_once_and_no_other(scene):
    lost = scene.claim(scene.job(), worker="w_1")
    alike = scene.claim(scene.job(), worker="wx1")  # "_" is any character to LIKE
    assert reap_worker(scene.database, "w_1") == [lost.job_id]
    assert scene.row(lost.job_id).state == "queued"
    assert scene.row(alike.job_id).state == "running"
    assert reap_worker(scene.database, "w_1") == []


def test_many_recoveries_at_the_same_moment_end_an_attempt_once(scene):
    """Each on a thread of its own: the row says who was first."""
    claim = scene.running()
    rung, now = [], [1000.0]
    recoveries = [
        Recovery(scene.database, rung.append, ttl_s=TTL, clock=lambda: now[0]) for _ in range(4)
    ]
    for recovery in recoveries:
        recovery.tick()
    now[0] += TTL
    at_once = threading.Barrier(len(recoveries))

    def tick(recovery):
        at_once.wait()
        recovery.tick()

    threads = [threading.Thread(target=tick, args=(recovery,)) for recovery in recoveries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (scene.row(claim.job_id).crashes, scene.row(claim.job_id).state) == (1, "queued")
    assert rung == [claim.job_id]
    assert scene.history(claim.job_id).count("running>queued") == 1


def test_a_recovery_after_ten_minutes_without_one_catches_up(scene):
    """Lost attempts are ended a lease after it began to look; what waits is rung for at once."""
    lost = [scene.running() for _ in range(3)]
    waiting = [scene.job() for _ in range(3)]
    scene.sql("UPDATE jobs SET published = published - 600, started_at = started_at - 600")
    rung, now = [], [0.0]
    recovery = Recovery(scene.database, rung.append, ttl_s=TTL, clock=lambda: now[0])
    recovery.tick()
    assert rung == waiting
    assert {scene.row(claim.job_id).state for claim in lost} == {"running"}
    now[0] += TTL
    recovery.tick()
    assert {scene.row(claim.job_id).state for claim in lost} == {"queued"}
    assert sorted(rung[3:]) == sorted(claim.job_id for claim in lost)
    assert {scene.row(job_id).crashes for job_id in waiting} == {0}
