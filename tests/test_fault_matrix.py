"""Every fault of the matrix has a test that injects it, and the document tells which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.fault_matrix import ROWS, TESTS, functions, table

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
FUNCTIONS = functions()


def test_the_matrix_has_its_24_rows():
    assert list(ROWS) == [f"F{number}" for number in range(1, 25)]


@pytest.mark.parametrize("number", ROWS)
def test_a_row_is_tested_by_tests_that_are_there_and_run(number):
    row = ROWS[number]
    assert row.tests or row.lacking
    for name in row.tests:
        assert name in FUNCTIONS, f"there is no {name} under {TESTS.name}/"
        found = [mark for test in FUNCTIONS[name] for mark in test.decorator_list]
        marks = " ".join(map(ast.unparse, found))
        assert "mark.skip" not in marks, f"{name} is left out"
        assert "xfail" not in marks, f"{name} is expected to fail"


def test_the_document_shows_the_matrix():
    assert table() in DOCUMENT.read_text(), "python -m tests.fault_matrix prints it"
