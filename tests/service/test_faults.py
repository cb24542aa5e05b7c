"""Fault points: absent unless asked for in a test, and then each action at its time."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from chainrule.errors import ConfigError
from service import faults
from service.settings import Settings
from service.store import engines
from service.store.database import Database
from tests.processes import clean_environment
from worker.trainer import faults as of_trainer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def arm(monkeypatch):
    monkeypatch.setattr(faults, "_armed", None)
    return faults.arm


def test_nothing_is_armed_by_default(arm):
    arm(None)
    for point in faults.POINTS:
        faults.reach(point)


@pytest.mark.parametrize("testing", ["", "0"])
def test_a_fault_is_refused_outside_of_tests(testing):
    environ = {"HOME": "/tmp", "CHAINRULE_FAULT": "commit:1:kill", "CHAINRULE_TESTING": testing}
    with pytest.raises(ConfigError, match=r"CHAINRULE_FAULT must be .* only where CHAINRULE_TEST"):
        Settings.from_env(environ)
    assert Settings.from_env(environ | {"CHAINRULE_TESTING": "1"}).fault == "commit:1:kill"


@pytest.mark.parametrize(
    "fault", ["commit", "commit:0:kill", "commit:1:explode", "a b:1:kill", "reply@:1:kill"]
)
def test_a_fault_that_makes_no_sense_is_refused(fault):
    environ = {"HOME": "/tmp", "CHAINRULE_FAULT": fault, "CHAINRULE_TESTING": "1"}
    with pytest.raises(ConfigError, match="CHAINRULE_FAULT must be point:n:action"):
        Settings.from_env(environ)


def test_it_fails_the_nth_time_at_its_point_and_once(arm):
    arm("publish:2:raise")
    faults.reach("publish")
    faults.reach("commit")
    with pytest.raises(faults.InjectedError):
        faults.reach("publish")
    faults.reach("publish")


def test_a_fault_may_be_for_one_place_of_its_point(arm):
    arm("reply@jobs.create_job:2:raise")
    for place in ("jobs.create_job", "jobs.read_job"):
        faults.reach("reply", place)
    with pytest.raises(faults.InjectedError):
        faults.reach("reply", "jobs.create_job")


def test_what_the_database_was_told_is_unknown_afterwards(arm):
    arm("committed:1:lost")
    with pytest.raises(OperationalError) as raised:
        faults.reach("committed")
    assert raised.value.connection_invalidated


def test_a_full_disk_is_what_the_engines_tell_of_one(arm):
    arm("commit:1:space")
    with pytest.raises(OperationalError) as raised:
        faults.reach("commit")
    assert engines.full(raised.value.orig)


@pytest.mark.parametrize("action", ["space", "lost"])
def test_elsewhere_it_is_the_system_that_fails(arm, action):
    arm(f"publish:1:{action}")
    with pytest.raises(OSError, match="a test has"):
        faults.reach("publish")


def test_a_fault_of_the_trainer_is_handed_over_once(arm):
    arm("commit:1:kill")
    assert faults.hand_over() == {}
    arm("say@unit:1:kill")
    assert faults.hand_over() == {"fault": "say@unit:1:kill"}
    assert faults.hand_over() == {}


@pytest.mark.parametrize(
    ("action", "error"), [("raise", Exception), ("space", OSError), ("lost", BrokenPipeError)]
)
def test_a_trainer_fails_as_it_is_told_to(monkeypatch, action, error):
    monkeypatch.setattr(of_trainer, "_armed", None)
    of_trainer.arm(None)
    of_trainer.reach("say", "unit")
    of_trainer.arm(f"say@unit:2:{action}")
    for point, kind in (("say", "unit"), ("said", "unit"), ("say", "done")):
        of_trainer.reach(point, kind)
    with pytest.raises(error, match=r"test|say@unit"):
        of_trainer.reach("say", "unit")
    of_trainer.reach("say", "unit")


def test_a_commit_whose_answer_was_lost_happens_once(arm, scene):
    job_id = scene.job()
    arm("committed:1:lost")
    assert scene.claim(job_id).attempt == 1
    assert scene.history(job_id) == ["None>queued", "queued>running"]


def test_a_process_is_killed_at_a_point():
    script = "from service import faults; faults.arm('reply:1:kill'); faults.reach('reply')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == b"fault: reply:1:kill\n"


def test_every_point_is_somewhere_in_the_code():
    reached = set()
    for package in ("service", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            reached |= set(re.findall(r'faults\.reach\("(\w+)"[,)]', path.read_text()))
    assert reached == set(faults.POINTS)
    assert set(faults.POINTS) >= faults.OF_THE_DATABASE


def test_a_database_that_is_out_of_order_once_is_asked_again(arm, sqlite_url):
    database = Database(sqlite_url)
    arm("begin:1:space")
    assert database.transact(lambda uow: "done") == "done"
    database.dispose()
