"""JSON that the API refuses before anything looks at it."""

from __future__ import annotations

import json
import math

import pytest
from flask import Flask

from service.api.strict_json import JsonError, StrictProvider, loads

REFUSED = [
    (b"", "the body is empty"),
    (b" \n", "the body is empty"),
    (b"{", "line 1, column 2"),
    (b"[1,]", "line 1"),
    (b"[1] [2]", "Extra data"),
    (b'{"a": NaN}', "NaN is not a JSON number"),
    (b"[Infinity]", "Infinity is not"),
    (b"[-Infinity]", "-Infinity is not"),
    (b"[1e999]", "must fit a double"),
    (b"[-1e999]", "must fit a double"),
    (b"[9007199254740993]", "2^53"),
    (b"[-9007199254740993]", "2^53"),
    (b"[" + b"9" * 5000 + b"]", "2^53"),
    (b'{"a": 1, "a": 2}', "the name 'a' stands twice"),
    (b'[{"x": {"b": 1, "b": 1}}]', "the name 'b' stands twice"),
    (rb'["\ud800"]', "lone surrogate"),
    (rb'{"\udc00": 1}', "lone surrogate"),
    (rb'["a\u0000b"]', "U+0000"),
    (rb'{"\u0000": 1}', "U+0000"),
    (b'["\xff"]', "must be UTF-8; byte 2 is not"),
    (b"\xef\xbb\xbf{}", "BOM"),
    (b"[" * 100_000, "at most 32 deep"),
    (b'{"a":' * 100_000, "at most 32 deep"),
    (b"[" * 100_000 + b"]" * 100_000, "at most 32 deep"),
    (b"[" * 33 + b"]" * 33, "at most 32 deep"),
    (b'"' + b"\\" * 100_001, "Unterminated"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=lambda v: repr(v)[:30])
def test_what_is_not_json_is_refused_with_its_reason(data, message):
    with pytest.raises(JsonError) as caught:
        loads(data)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "",
        2**53,
        -(2**53),
        1.7976931348623157e308,
        5e-324,
        "\U0001f600 é",
        {"a": [1, {"b": None}]},
        [0.1] * 1000,
    ],
)
def test_json_comes_in_as_it_was_written(value):
    assert loads(json.dumps(value).encode()) == value


def test_thirty_two_levels_are_allowed():
    assert loads("[" * 32 + "]" * 32)


def test_an_escaped_pair_of_surrogates_is_one_character():
    assert loads(rb'["\ud83d\ude00"]') == ["\U0001f600"]


def test_what_goes_out_never_holds_nan():
    provider = StrictProvider(Flask(__name__))
    out = provider.dumps({"a": [math.nan, 1.5, {"b": math.inf}], "c": (-math.inf,), "d": "NaN"})
    assert json.loads(out) == {"a": [None, 1.5, {"b": None}], "c": [None], "d": "NaN"}
