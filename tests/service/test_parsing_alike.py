"""Rows that are almost the same as one before them: what counts as such, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from service.parsing import alike
from tests.table_files import in_blocks, read, read_csv


def said(data, **options):
    """What is said of rows that are alike."""
    schema, _ = read_csv(data, **options)
    return [one for one in schema["warnings"] if "same as" in one]


def rows(count, line, head):
    """A table of rows that differ, and some of them again, written otherwise."""
    return ("\n".join([head, *(line(i) for i in range(count))]) + "\n").encode()


def plain(i):
    return f"{i * 1.37 + 0.001:.6f},town {i % 7},{i % 5}"


def test_case_and_blanks_in_words_are_overlooked():
    data = rows(50, plain, "x,town,n") + b"1.371000, Town  1,1\n2.741000,TOWN 2,2\n"
    assert said(data) == [
        "2 rows are almost the same as rows before, but for digits beyond the fifth, upper and "
        "lower case and blanks in words, such as rows[1] and rows[50]; rows[2] and rows[51]"
    ]


def test_digits_beyond_the_fifth_are_overlooked_and_whole_numbers_count_as_they_are():
    data = rows(50, plain, "x,town,n") + b"1.3710004,town 1,1\n2.7419,town 2,2\n"
    (told,) = said(data)
    assert told.startswith("1 row is almost the same as a row before, but for digits beyond")
    assert told.endswith("such as rows[1] and rows[50]")
    whole = rows(50, lambda i: f"{10**9 + i},a", "n,k")
    assert said(whole) == []


def test_an_id_is_overlooked():
    data = rows(50, lambda i: f"{i},{plain(i % 48)}", "id,x,town,n")
    assert said(data) == [
        "2 rows are almost the same as rows before, but for the id 'id', digits beyond the fifth, "
        "such as rows[0] and rows[48]; rows[1] and rows[49]"
    ]


def test_what_is_exactly_the_same_is_told_once():
    data = rows(50, plain, "x,town,n")
    again = data + data.split(b"\n")[1] + b"\n"
    assert said(again) == ["1 row is the same as a row before, such as rows[0] and rows[50]"]


def test_few_different_rows_are_alike_by_chance():
    data = rows(200, lambda i: f"{i},{i * 7 % 3},{i * 5 % 4 / 2}", "id,a,b")
    assert said(data) == []


def test_free_text_counts_as_it_is(monkeypatch):
    monkeypatch.setattr("service.parsing.gathering.MAX_CATEGORIES", 30)
    text = rows(60, lambda i: f"{i % 2 + 0.25},review number {i}", "x,text")
    assert said(text) == []
    assert len(said(text + b"1.2500001,review number 1\n")) == 1


@pytest.mark.parametrize("size", [64, 1 << 22])
def test_it_does_not_matter_how_a_file_is_cut_or_written(size):
    line = '{{"x": {0}.25, "k": "{1}", "n": {2}}}\n'.format
    data = "".join(line(i, "kK"[i % 2], i * 3) for i in range(40)) + line("1.0", "k", 3)
    data = data.replace("1.0.25", "1.2500001")
    with in_blocks(size):
        schema, _ = read(data.encode(), "ndjson")
    assert [one for one in schema["warnings"] if "almost" in one]


def test_of_many_rows_the_first_are_looked_at(monkeypatch):
    monkeypatch.setattr(alike, "MAX_VALUES", 40)
    data = rows(50, plain, "x,town,n")
    assert said(data + b"1.3710004,town 1,1\n") == []
    late = data.split(b"\n")
    late[30] = b"1.3710004,town 1,1"
    (told,) = said(b"\n".join(late))
    assert told.startswith("1 row of the first 40 is almost the same as a row before")


def test_numbers_that_a_float32_has_made_longer_are_found():
    values = np.random.default_rng(0).normal(size=(200, 2))
    lines = [f"{a!r},{b!r}" for a, b in values.tolist()]
    lines += [f"{a!r},{b!r}" for a, b in values.astype(np.float32).astype(float).tolist()]
    schema, _ = read_csv("\n".join(["a,b", *lines, ""]).encode())
    (told,) = [one for one in schema["warnings"] if "almost" in one]
    assert int(told.split()[0]) > 190  # a few lie on both sides of where it is rounded
