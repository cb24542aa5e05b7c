"""Checkpoints as bytes: equal for equal runs, and refused when anything about them changed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from chainrule import checkpoint
from chainrule.checkpoint import Checkpoint
from chainrule.errors import CheckpointError


def checkpoint_of():
    return Checkpoint(
        np.arange(6, dtype=np.float32),
        {"m": np.ones(6, np.float32), "v": np.zeros(6, np.float32)},
        np.zeros(0, np.float32),
        {"epoch": 2, "loss": 0.1 + 0.2},
        {"version": 1, "step": 3, "nested": {"b": [1, 2], "a": None}},
        {"average": np.full(6, 2.0, np.float32)},
    )


def test_every_field_comes_back():
    wanted, got = checkpoint_of(), Checkpoint.from_bytes(checkpoint_of().to_bytes())
    assert got.parameters.tobytes() == wanted.parameters.tobytes()
    assert got.state.shape == (0,)
    assert {name: v.tolist() for name, v in got.slots.items()} == {"m": [1.0] * 6, "v": [0.0] * 6}
    assert {name: v.tolist() for name, v in got.kept.items()} == {"average": [2.0] * 6}
    assert got.best == wanted.best
    assert got.loop == wanted.loop


def test_another_process_writes_the_same_bytes():
    code = (
        "import sys; sys.path.insert(0, 'tests/engine')\n"
        "from test_checkpoint import checkpoint_of\n"
        "sys.stdout.write(checkpoint_of().to_bytes().hex())"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == checkpoint_of().to_bytes().hex()


def test_no_byte_can_change_unnoticed():
    data = checkpoint_of().to_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x40
        try:
            got = Checkpoint.from_bytes(bytes(changed))
        except CheckpointError:
            continue
        # Only letters of the record's own text may differ and still be a checkpoint.
        assert got.parameters.tobytes() == checkpoint_of().parameters.tobytes()


@pytest.mark.parametrize("data", [b"", b"nonsense" * 9, b"\x00" * 64, b"\xff" * 64])
def test_bytes_that_are_no_checkpoint_are_refused(data):
    with pytest.raises(CheckpointError):
        Checkpoint.from_bytes(data)


def test_a_format_of_the_future_is_refused_by_its_number(monkeypatch):
    monkeypatch.setattr(checkpoint, "_FORMAT", 2)
    data = checkpoint_of().to_bytes()
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="checkpoint format 2, wanted 1"):
        Checkpoint.from_bytes(data)


def test_a_checkpoint_cut_short_is_refused():
    data = checkpoint_of().to_bytes()
    for length in (7, 8, 100, len(data) - 1):
        with pytest.raises(CheckpointError):
            Checkpoint.from_bytes(data[:length])
