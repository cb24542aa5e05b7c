"""JSON as RFC 8259 and I-JSON (RFC 7493) want it, and nothing that only Python would take.

Depth, numbers, duplicate keys and text are checked before anything else looks at a document: a bad
one is refused here with its reason, and what is passed on can be stored in every database.
"""

from __future__ import annotations

import json
import math
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from flask.json.provider import JSONProvider

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "JsonError", "StrictProvider", "check_text", "loads"]

MAX_DEPTH = 32
MAX_INTEGER = 2**53  # beyond it a double, and so most clients, cannot tell two integers apart
FORBIDDEN = re.compile("[\0\ud800-\udfff]")  # U+0000 and surrogates without their other half


class JsonError(ValueError):
    """Bytes that are not JSON."""


def loads(data: bytes | str) -> Any:
    """Read one JSON document.  Raises: JsonError, saying what is wrong and where."""
    try:
        text = data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise JsonError(f"must be UTF-8; byte {error.start} is not") from None
    if not text.strip(" \t\r\n"):
        raise JsonError("must be JSON; the body is empty")
    try:
        value = json.loads(
            text,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise JsonError(f"must be JSON; {place}: {error.msg}") from None
    except RecursionError:
        raise JsonError(f"must be nested at most {MAX_DEPTH} deep") from None
    except JsonError:
        raise
    except ValueError:  # Python refuses to convert thousands of digits
        raise JsonError("integers must be within +-2^53") from None
    _check(value)
    return value


def _constant(name: str) -> NoReturn:
    raise JsonError(f"must be JSON; {name} is not a JSON number")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"the name {_short(twice)} stands twice in one object")
    return value


def _check(value: Any) -> None:
    """Refuse what only the finished value shows: levels, sizes, and text that is not Unicode.

    It goes level by level, not value by value: a picture is thousands of lists and numbers.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        kinds = set(map(type, level))
        if str in kinds:
            for text in _of(str, level):
                check_text(text)
        if float in kinds and (math.inf in level or -math.inf in level):
            raise JsonError("numbers must fit a double")
        if int in kinds:
            for number in _of(int, level):
                if abs(number) > MAX_INTEGER:
                    raise JsonError(f"integers must be within +-2^53, got {str(number)[:20]}")
        if not kinds & {list, dict}:
            return
        inner = list(chain.from_iterable(_of(list, level)))
        for one in _of(dict, level):
            for key in one:
                check_text(key)
            inner += one.values()
        level = inner
    raise JsonError(f"must be nested at most {MAX_DEPTH} deep")


def _of(kind: type[Any], values: list[Any]) -> list[Any]:
    return [value for value in values if type(value) is kind]


def check_text(text: str) -> None:
    """Refuse text that not every database can hold.  Raises: JsonError."""
    if FORBIDDEN.search(text):
        raise JsonError(f"text must not hold U+0000 or a lone surrogate, got {_short(text)}")


def _short(text: str) -> str:
    return ascii(text[:40])


class StrictProvider(JSONProvider):
    """Flask's JSON: strict on the way in, and never NaN on the way out."""

    def dumps(self, obj: Any, **_: Any) -> str:
        try:
            return _dumps(obj)
        except ValueError:
            return _dumps(_finite(obj))

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return loads(s)


def _dumps(obj: Any) -> str:
    return json.dumps(obj, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    """Write null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
