"""``chainrule demo`` as its user runs it: the promised accuracy, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "chainrule.cli", "demo"]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def demo(tmp_path):
    """Start the demo with its temporary files in our hands; check that nothing of it is left."""
    folder = tmp_path / "t"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}

    def start(*options):
        return subprocess.Popen(
            [*DEMO, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    yield start
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


def processes_of(folder):
    """Return the command lines of the processes that were given this folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def test_the_demo_learns_the_digits_and_leaves_nothing(demo):
    process = demo()
    out, err = process.communicate(timeout=170)
    assert process.returncode == 0, err
    assert float(re.search(r"^test accuracy (0\.\d+)$", out, re.MULTILINE)[1]) >= 0.95
    assert "the same numbers" in out


def test_the_demo_answers_in_json(demo):
    out, _ = demo("--json").communicate(timeout=170)
    result = json.loads(out)
    assert result["accuracy"] >= 0.95
    assert result["rows"] == 359
    assert result["largest_difference"] < 1e-5
    assert set(result["seconds"]) == {"start", "upload", "train", "download", "predict", "stop"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("wait_s", [0.1, 1.0])
def test_an_interrupted_demo_leaves_nothing(demo, number, code, wait_s):
    process = demo()
    assert "chainrule demo" in process.stdout.readline()
    time.sleep(wait_s)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("wait_s", [0.05, 0.15])
def test_a_demo_interrupted_while_its_service_ends_leaves_nothing(demo, number, code, wait_s):
    process = demo()
    while "predict" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(wait_s)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
