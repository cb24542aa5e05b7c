"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_alone_learns_the_spirals():
    assert "epoch 200  validation accuracy 1.000" in output_of("library.py")


def test_the_client_tells_cats_from_dogs(configured):
    assert "'predictions': ['cat', 'dog']" in output_of("client.py")
