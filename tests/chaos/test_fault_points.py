"""Each fault point once, in a real worker or API; ``make faults`` tries every time and action."""

from __future__ import annotations

import pytest

from tests.chaos.fault_points import try_one

pytestmark = pytest.mark.timeout(300)
OF_WORKER = [
    "begin:4:kill",
    "commit:4:kill",
    "committed:4:kill",
    "committed:5:lost",
    "chunk:1:kill",
    "attach:2:space",
    "checkpoint:1:raise",
    "prune:2:kill",
    "claimed:1:raise",
    "relay:3:kill",
]
OF_API = ["committed:1:lost", "committed:2:kill", "attach:1:kill", "reply:1:kill", "reply:2:kill"]
CASES = [("worker", fault) for fault in OF_WORKER] + [("API", fault) for fault in OF_API]


@pytest.fixture(scope="module")
def undisturbed(sqlite_template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return {s: try_one(folder, sqlite_template, s, None)[0] for s in ("worker", "API")}


@pytest.mark.parametrize(("scene", "fault"), CASES)
def test_nothing_is_lost_and_the_bits_are_the_same(
    sqlite_template, tmp_path, undisturbed, scene, fault
):
    found, reached = try_one(tmp_path, sqlite_template, scene, fault)
    assert reached, f"{fault} was not reached"
    assert found == undisturbed[scene]
