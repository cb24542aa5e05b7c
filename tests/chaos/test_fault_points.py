"""Fault points: none is forgotten, and some are played; ``make faults`` plays all of them."""

from __future__ import annotations

import pytest

from service.app import create_app
from service.settings import Settings
from service.store.database import Database
from tests.api_testing import NotingBell
from tests.chaos import sites
from tests.chaos.fault_points import play, undisturbed
from tests.chaos.fault_scenes import SCENES
from tests.chaos.fault_stage import staged

PLACES = set().union(*(scene.places for scene in SCENES))
DATA, ATTEMPT = "service.actions.datasets", "worker.attempt.Attempt"
CASES = [
    ("dataset", f"committed@{DATA}._parse:1:lost"),
    ("upload", "attach@service.actions.uploads.put:1:space"),
    ("job", "committed@service.actions.jobs.submit:1:kill"),
    ("job", "reply@jobs.create_job:1:kill"),
    ("training", "begin@worker.supervisor.Supervisor.run:1:space"),
    ("training", "committed@worker.supervisor.Supervisor.run:1:kill"),
    ("training", f"chunk@{ATTEMPT}._on_started:1:kill"),
    ("training", f"attach@{ATTEMPT}._on_unit:2:space"),
    ("training", f"checkpoint@{ATTEMPT}._on_unit:1:raise"),
    ("training", f"prune@{ATTEMPT}._on_unit:2:kill"),
    ("training", "claimed@training:1:kill"),
    ("training", "relay@done:1:raise"),
    ("training", "said@unit:1:kill"),
    ("training", "say@done:1:raise"),
    ("parsing", "committed@worker.parsing.ParsingAttempt._on_done:2:lost"),
]


def test_every_commit_in_the_code_has_a_scene_that_plays_its_faults():
    dotted = {place for place in PLACES if place.startswith(("service.", "worker."))}
    # These two publish and listen; they commit nothing.
    bells = {"service.broker.bell.Bell._send", "worker.app.Worker._listen"}
    assert sites.derived() == dotted - bells
    # All commits go through the database's own; a migration's faults are F23.
    mine = {"service.store.database.Database._once", "service.store.migrate.upgrade"}
    assert sites.bare_commits() == mine


def test_every_answer_to_a_request_that_changes_something_has_a_scene(tmp_path):
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/none.db")
    app = create_app(settings, Database(settings.database_url), NotingBell(), None)
    changing = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.methods & {"POST", "PUT", "PATCH", "DELETE"}
    }
    assert changing
    assert sorted(changing - PLACES) == []


def test_whatever_a_trainer_says_has_a_scene():
    said = sites.kinds("send", "send_unit")
    assert said >= {"started", "unit", "done"}
    assert sorted(said - PLACES) == []


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with staged(tmp_path_factory.mktemp("faults"), "sqlite") as stage:
        yield stage


@pytest.fixture(scope="module")
def wanted(stage):
    """What comes of each scene when nothing fails."""
    played = {scene.play.__name__: scene for scene in SCENES}
    return {name: (played[name], undisturbed(stage, played[name])[0]) for name, _ in CASES}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "fault"), CASES)
def test_nothing_is_lost_and_the_bits_are_the_same(stage, wanted, name, fault):
    scene, bits = wanted[name]
    found, struck = play(stage, scene, fault)
    assert struck, f"{fault} was not reached"
    assert found == bits
