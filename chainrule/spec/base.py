"""What all documents share: strict parsing, frozen values, and errors that name their place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from chainrule.errors import Problem, SpecError, step

__all__ = ["Document", "named", "parse"]

D = TypeVar("D", bound="Document")


class Document(BaseModel):
    """A frozen part of a request: unknown fields, NaN and silent conversions are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, validate_default=True
    )

    def render(self) -> dict[str, Any]:
        """Return plain JSON with every default filled in."""
        return self.model_dump(mode="json")


def named(value: object) -> object:
    """Take a name for an object of that kind, before a union of documents is read."""
    return {"kind": value} if isinstance(value, str) else value


def parse(
    kind: type[D], document: D | Mapping[str, Any] | str | bytes, text: bytes | None = None
) -> D:
    """Read a document.  ``text`` is a mapping as JSON, where that is at hand.

    Numbers may be numpy's.
    Raises: SpecError, with the place of each complaint.
    """
    if isinstance(document, kind):
        return document
    if isinstance(document, str | bytes):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise SpecError(Problem("", f"must be JSON: {error}")) from error
    try:
        plain = json.dumps(document, default=_plain) if text is None else text
        return kind.model_validate_json(plain)
    except ValidationError as error:
        raise SpecError(*problems(error, document)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(Problem("", f"must be plain JSON: {error}")) from error


def _plain(value: object) -> int | float:
    """Return a number as JSON has it."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} is neither a number nor text, a list or an object")


def problems(error: ValidationError, document: object) -> list[Problem]:
    """Return pydantic's complaints about a document in our words, each with its place."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for complaint in error.errors(include_url=False):
        found.setdefault(_path(complaint, document), []).append(complaint)
    outer = {path[: end.start()] for path in found for end in re.finditer(r"[.\[]", path)}
    for path in outer & found.keys():
        # Where one branch of a union goes on, the value has plainly not the type of the others.
        found[path] = [c for c in found[path] if not _is_of_type(c["type"])]
    found = {path: complaints for path, complaints in found.items() if complaints}
    return [Problem(path, _one_of(complaints)) for path, complaints in found.items()]


def _is_of_type(kind: str) -> bool:
    return kind.endswith("_type") or kind == "literal_error"


def _path(complaint: Mapping[str, Any], value: Any) -> str:
    """Write ``("layers", 2, "dense", "units")`` as ``layers[2].units``.

    Pydantic puts the branch that it took in a union into the location; the client never wrote that
    word, so it is left out, as is any step that does not lead anywhere in the document.
    """
    path, branched = "", False
    *_, last = complaint["loc"] or ("",)
    for part in complaint["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, Mapping) and not branched and value.get("kind") == part:
            branched = True  # even if a field has the same name: a split by ``column`` of a column
            continue
        elif (isinstance(value, Mapping) and part in value) or (
            # A name alone stands for an object of its kind: what that lacks has a place too.
            complaint["type"] == "missing" and part == last and isinstance(value, Mapping | str)
        ):
            path += step(part) if path else part
            value = value.get(part) if isinstance(value, Mapping) else None
        branched = False
    tagless = complaint["type"].startswith("union_tag") and isinstance(value, Mapping)
    return path + (".kind" if tagless else "")


def _one_of(complaints: list[Mapping[str, Any]]) -> str:
    """Sum up what each branch of a union said of the same place."""
    if not isinstance(complaints[0].get("input"), str):  # a fixed word was plainly not meant
        complaints = [c for c in complaints if c["type"] != "literal_error"] or complaints
    return ", or ".join(dict.fromkeys(map(_detail, complaints)))


def _detail(complaint: Mapping[str, Any]) -> str:
    if complaint["type"] == "model_attributes_type" and isinstance(complaint["input"], str):
        example = json.dumps({"kind": complaint["input"][:40]}, ensure_ascii=False)
        return f"must be an object, such as {example}"
    template = _DETAILS.get(complaint["type"])
    if template and (meant := _meant(complaint)):
        return f"{template}: {meant}"
    if template:
        return template.format(got=complaint.get("input"), **complaint.get("ctx", {}))
    message = str(complaint["msg"])
    return (message[0].lower() + message[1:]).replace("input should be", "must be")


def _meant(complaint: Mapping[str, Any]) -> str | None:
    """Say what a name from elsewhere is called here."""
    if complaint["type"] == "union_tag_not_found" and isinstance(complaint["input"], Mapping):
        other = next((name for name in ("type", "class_name") if name in complaint["input"]), None)
        return other and f"write it in the place of {other!r}"
    if complaint["type"] == "extra_forbidden":
        return _ELSEWHERE.get(str(complaint["loc"][-1]))
    return None


_ELSEWHERE = dict.fromkeys(("learning_rate", "lr"), "it is optimizer.learning_rate") | {
    "patience": "early_stopping and the schedule reduce_on_plateau have it",
    "validation_split": "it is data.split.validation",
    "weight_decay": "it is of the optimizer adamw, or l2",
}
_DETAILS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "union_tag_invalid": "must be one of {expected_tags}, got {tag!r}",
    "union_tag_not_found": "is missing",
    "greater_than_equal": "must be >= {ge:g}, got {got}",
    "greater_than": "must be > {gt:g}, got {got}",
    "less_than_equal": "must be <= {le:g}, got {got}",
    "less_than": "must be < {lt:g}, got {got}",
    "literal_error": "must be one of {expected}, got {got!r}",
    "value_error": "{error}",
}
