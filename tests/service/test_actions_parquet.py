"""Results as Parquet: block by block, with the types of their columns, and errors as they are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from service.actions import parquet

WORDS = ["=ash", "beech", "oak"]
COLUMNS = [
    {"name": "prediction", "words": WORDS, "fractional": False},
    {"name": "probability_1", "words": None, "fractional": True},
    {"name": "count", "words": None, "fractional": False},
]


@pytest.fixture
def blocks(monkeypatch):
    """The parts of seven blocks of a thousand rows."""
    rows = np.arange(7000).reshape(7, 1000)
    found = [
        [(r % 3).astype(np.int32).tobytes(), (r / 7).tobytes(), r.astype(np.float64).tobytes()]
        for r in rows
    ]
    monkeypatch.setattr(parquet, "_blocks", lambda *_: iter(found))
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2000)


def test_blocks_are_rows_of_one_file(blocks, tmp_path):
    beats: list = []
    beat = lambda: beats.append(1)  # noqa: E731
    parquet.write_parquet(None, "job", COLUMNS, tmp_path / "a", beat)
    frame = pl.read_parquet(tmp_path / "a")
    assert frame.schema == {
        "prediction": pl.Enum(WORDS), "probability_1": pl.Float64, "count": pl.Int64,
    }  # fmt: skip
    rows = np.arange(7000)
    assert frame["prediction"].to_list() == [WORDS[row % 3] for row in rows]
    assert frame["probability_1"].to_list() == (rows / 7).tolist()
    assert frame["count"].to_list() == rows.tolist()
    assert len(beats) == 7
    parquet.write_parquet(None, "job", COLUMNS, tmp_path / "b", lambda: None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_ends_the_attempt_is_raised_as_it_is(blocks, tmp_path):
    class LostError(Exception):
        pass

    def lost():
        raise LostError("another has it")

    with pytest.raises(LostError, match="another has it"):
        parquet.write_parquet(None, "job", COLUMNS, tmp_path / "a", lost)
