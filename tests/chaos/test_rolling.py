"""``make bench-recovery`` replaces fifty processes; here it is three: API, worker, API."""

import pytest

from benchmarks.recovery import rolling

pytestmark = pytest.mark.timeout(300)


def test_no_request_fails_while_processes_are_replaced(tmp_path):
    outcome = rolling.roll(tmp_path, 3, lambda _line: None, of_each=1, epochs=100)
    assert outcome.failures == []
    assert outcome.unfinished == []
    assert outcome.crashes == 0
    assert len(outcome.weights) == 1, "a job that changed hands has other bits"
    assert outcome.jobs > 1
    assert len(outcome.seconds) > 50
