"""Small arrays as JSON: {"inputs": [...], "targets": [...]}, or several by name in either."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any, NoReturn

from chainrule.errors import DataError, step
from chainrule.recipe.values import counted, to_array
from service.parsing.result import FILE, check_name

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["read_json"]

NAMES = ("inputs", "targets")
MAX_ARRAYS = 64


def read_json(data: bytes) -> dict[str, Array]:
    """Return the arrays of a JSON document.

    Raises: DataError at ``file``, or at the row that is ragged or holds what is no number.
    """
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise DataError.at(FILE, f"is not UTF-8 (byte {error.start:,})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError.at(FILE, f"is not JSON: {place}: {error.msg}") from None
    except RecursionError:
        raise DataError.at(FILE, "is nested too deeply") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise DataError.at(FILE, f"is not JSON that can be read: {error}") from None
    named = _named(document)
    arrays = {name: to_array(values, path) for name, (path, values) in named.items()}
    first = next(iter(arrays))
    for name, array in arrays.items():
        path, _ = named[name]
        if not array.size:
            raise DataError.at(path, "is empty")
        if len(array) != len(arrays[first]):
            detail = f"has {counted(len(array), 'row')}, {first} has {len(arrays[first]):,}"
            raise DataError.at(path, detail)
    return arrays


def _named(document: object) -> dict[str, tuple[str, Any]]:
    """Return the place and the values of each array by its name: where it stands, or its own."""
    wanted = 'must be {"inputs": [...], "targets": [...]}'
    if not isinstance(document, dict) or "inputs" not in document:
        raise DataError.at(FILE, wanted)
    for name in document:
        if name not in NAMES:
            raise DataError.at(FILE, f"{name[:40]!r} is not known: it {wanted}")
    found: dict[str, tuple[str, Any]] = {}
    for name in (name for name in NAMES if name in document):
        values, own = document[name], isinstance(document[name], dict)
        for key, one in values.items() if own else [(name, values)]:
            check_name(key, name)
            if not key or not key.isprintable():
                raise DataError.at(FILE, f"{name}: a name must be printable text")
            path = f"{name}{step(key)}" if own else name
            if key in found:
                raise DataError.at(path, f"there is another array {key!r}")
            found[key] = (path, one)
    if not 1 <= len(found) <= MAX_ARRAYS:
        raise DataError.at(FILE, f"has {len(found):,} arrays, it may have 1 to {MAX_ARRAYS}")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise DataError.at(FILE, "a name appears twice in an object")
    return document


def _refuse(constant: str) -> NoReturn:
    raise DataError.at(FILE, f"{constant} is not a JSON number")
