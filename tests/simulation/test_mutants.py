"""The terms that carry the state machine, each taken out once: the schedules or the tests notice.

``make mutants`` does so with every term there is.
"""

from __future__ import annotations

import pytest

from tests.simulation import mutants

FOUND = {(*mutant[:2], mutant.term): number for number, mutant in enumerate(mutants.find())}
CARRYING = [
    ("guards", "where", "Job.id == self.job_id"),
    ("guards", "where", "Job.state == 'running'"),
    ("guards", "where", "Job.attempt == self.attempt"),
    ("attempts", "reap", "Job.hb == hb"),
    ("progress", "advance", "Job.step == unit.prev"),
    ("queue", "claim", "Job.state == 'queued'"),
]


@pytest.mark.parametrize("term", CARRYING, ids=lambda term: term[2].replace(" ", ""))
def test_a_guard_without_one_of_its_terms_is_noticed(term):
    code, noticed = mutants.in_process(FOUND[term], mutants.SEEDS)
    assert code == mutants.KILLED, noticed


def test_what_is_called_equivalent_is_still_there():
    assert set(mutants.EQUIVALENT) <= set(FOUND)


def test_a_term_of_a_guard_is_told_from_one_of_a_value(tmp_path):
    source = """
def f(a):
    where = and_(Job.id == a, ~Job.cancel, Job.state.in_(("x", "y")))
    values = {Job.state: case((Job.cancel == a, "cancelled"), else_=Job.step + 1)}
    return Fence(a, also=Job.hb == 3), order_by(Job.seq == 1)
"""
    found = [mutant.term for mutant in mutants.terms("m", source)]
    assert sorted(found) == [
        "Job.hb == 3",
        "Job.id == a",
        "Job.state.in_(('x', 'y'))",
        "~Job.cancel",
    ]
