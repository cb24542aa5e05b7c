"""Some hundred schedules, and the proof that they find what they are there to find.

``make simulate`` plays 20,000.
"""

from __future__ import annotations

import pytest
from sqlalchemy import and_

from service.store import transitions
from service.store.tables import Job
from service.store.transitions import attempts, guards
from tests.simulation.schedule import Failed, play
from tests.simulation.world import Memory, template

SEEDS = 300


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return Memory(template(tmp_path_factory.mktemp("simulation")))


def first_failure(memory, seeds=range(2000)):
    for seed in seeds:
        try:
            play(memory, seed)
        except Failed as failed:
            return failed.why
    return None


def test_no_schedule_breaks_an_invariant_and_every_job_ends(memory):
    for seed in range(SEEDS):
        play(memory, seed)


def test_a_seed_is_the_whole_schedule(memory):
    first = play(memory, 7).trace
    play(memory, 8)
    assert play(memory, 7).trace == first
    assert play(memory, 8).trace != first


# The variants that reliability_model.py finds wanting are found wanting here, in the real code.


def test_a_fence_without_the_attempt_is_found_out(memory, monkeypatch):
    def where(fence):
        return and_(Job.id == fence.job_id, Job.state == "running", fence.also)

    monkeypatch.setattr(guards.Fence, "where", property(where))
    found = first_failure(memory)
    # Or first by the history, which names another attempt than the row.
    assert "a write of an attempt that is over" in found or " told as " in found


def test_a_reaper_that_does_not_look_again_is_found_out(memory, monkeypatch):
    def reap(session, job_id, attempt, hb):
        return attempts._crashed(session, guards.Fence(job_id, attempt, "recovery"), {})

    monkeypatch.setattr(transitions, "reap", reap)
    assert "reaped after" in first_failure(memory)


def test_jobs_that_nobody_rings_for_again_are_found_out(memory, monkeypatch):
    monkeypatch.setattr(transitions, "due_for_ring", lambda session, now: [])
    assert "jobs that do not end" in first_failure(memory)


def test_a_unit_that_is_written_again_without_looking_is_found_out(memory, monkeypatch):
    """As after a COMMIT whose answer was lost."""

    def where(fence):
        return and_(Job.id == fence.job_id, Job.state == "running", Job.attempt == fence.attempt)

    monkeypatch.setattr(guards.Fence, "where", property(where))
    assert first_failure(memory) is not None
