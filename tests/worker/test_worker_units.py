import pytest

from worker.trainer.units import Pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def pace_at(*, cost_s=0.0, checkpoint_bytes=1000, first=False):
    clock = Clock()
    pace = Pace(clock)
    if not first:
        pace.cut(checkpoint_bytes, cost_s)
    return pace, clock


def due_after(pace, clock, *, left_s=100.0):
    """The seconds after which a unit is due."""
    for tenths in range(10_000):
        clock.now = 100.0 + tenths / 10
        if pace.is_due_within_epoch(left_s):
            return tenths / 10
    raise AssertionError("never due")


def test_the_first_unit_ends_with_the_first_epoch():
    pace, _ = pace_at(first=True)
    assert not pace.is_due_within_epoch(100.0)
    assert pace.is_due_after_epoch()


def test_the_first_unit_of_a_long_epoch_ends_after_a_second():
    assert due_after(*pace_at(first=True)) == 1.0


def test_a_later_epoch_ends_a_unit_when_half_its_time_is_over():
    pace, clock = pace_at()
    assert not pace.is_due_after_epoch()
    clock.now += 0.5
    assert pace.is_due_after_epoch()


def test_the_end_of_an_epoch_is_waited_for_when_it_is_near_but_not_for_ever():
    assert due_after(*pace_at(), left_s=0.4) == 1.6


def test_a_unit_lasts_fifty_times_its_commit_and_a_second_at_least():
    assert due_after(*pace_at(cost_s=0.001)) == 1.0
    assert due_after(*pace_at(cost_s=0.1)) == 5.0


@pytest.mark.parametrize("cost_s", [0.1, 0.25, 0.5, 2.0])
@pytest.mark.parametrize("left_s", [0.4, 100.0])
def test_a_kill_before_the_next_commit_loses_ten_seconds_at_most(cost_s, left_s):
    tenth = 0.1  # how exactly it is looked at
    assert due_after(*pace_at(cost_s=cost_s), left_s=left_s) + cost_s <= 10.0 + tenth


def test_a_commit_that_takes_for_ever_leaves_a_second_to_learn_in():
    assert due_after(*pace_at(cost_s=60.0)) == 1.0


def test_a_large_checkpoint_is_committed_more_seldom_than_every_ten_seconds():
    assert due_after(*pace_at(cost_s=0.5, checkpoint_bytes=64 << 20)) == 25.0
