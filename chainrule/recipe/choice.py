"""Which columns or arrays a job means: names checked, and what was left open decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import Problem, SpecError
from chainrule.recipe.values import counted, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.spec import DataSpec

__all__ = ["choose"]


def choose(schema: Mapping[str, Any], data: DataSpec) -> tuple[list[str], str, Mapping[str, Any]]:
    """Return the names of the inputs, the target's name and its description in the schema.

    Raises: SpecError at ``inputs`` or ``target``, naming what there is.
    """
    entries: list[Mapping[str, Any]] = schema["columns" if schema["kind"] == "table" else "arrays"]
    known = {entry["name"]: entry for entry in entries}
    noun = "column" if schema["kind"] == "table" else "array"
    target = _target(data, known, noun)
    chosen = _inputs(data, known, noun, target)
    if noun == "array":
        chosen = _one_array(chosen, target, known, data)
    return chosen, target, known[target]


def _target(data: DataSpec, known: Mapping[str, Any], noun: str) -> str:
    there = f"the {noun}s are {listed(list(known))}"
    if data.target is None:
        if noun == "array" and "targets" in known:
            return "targets"
        raise SpecError.at("target", f"is missing: name the {noun} to learn; {there}")
    if data.target not in known:
        raise SpecError.at("target", f"there is no {noun} {data.target!r}; {there}")
    if known[data.target].get("type") == "text":
        raise SpecError.at("target", _too_many(known[data.target]))
    return data.target


def _inputs(data: DataSpec, known: Mapping[str, Any], noun: str, target: str) -> list[str]:
    if data.inputs == "*":
        names = [n for n, entry in known.items() if n != target and entry.get("type") != "text"]
        if not names:
            raise SpecError.at("inputs", f"there is no {noun} but the target {target!r}")
        return names
    names = [data.inputs] if isinstance(data.inputs, str) else data.inputs
    problems = []
    for index, name in enumerate(names):
        place = "inputs" if isinstance(data.inputs, str) else f"inputs[{index}]"
        if name not in known:
            detail = f"there is no {noun} {name!r}; the {noun}s are {listed(list(known))}"
        elif name == target:
            detail = f"{name!r} is the target"
        elif name in names[:index]:
            detail = f"{name!r} is named twice"
        elif known[name].get("type") == "text":
            detail = _too_many(known[name])
        else:
            continue
        problems.append(Problem(place, detail))
    if not names:
        problems.append(Problem("inputs", f"must name a {noun} at least"))
    if problems:
        raise SpecError(*problems)
    return names


def _one_array(
    chosen: list[str], target: str, known: Mapping[str, Any], data: DataSpec
) -> list[str]:
    """Check that one array goes in, as long as the target."""
    if data.inputs == "*" and "inputs" in chosen:
        chosen = ["inputs"]
    if len(chosen) != 1:
        detail = f"one array can go in, name one of {listed(chosen)}"
        raise SpecError.at("inputs", detail)
    rows, targets = known[chosen[0]]["shape"][0], known[target]["shape"][0]
    if rows != targets:
        detail = f"array {target!r} has {counted(targets, 'row')}, {chosen[0]!r} has {rows:,}"
        raise SpecError.at("target", detail)
    return chosen


def _too_many(column: Mapping[str, Any]) -> str:
    values = counted(column["unique"], "different value")
    return f"column {column['name']!r} is text with {values}, too many or too long to be categories"
