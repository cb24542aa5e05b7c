"""Which columns or arrays a job means: names checked, and what was left open decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import Problem, SpecError
from chainrule.recipe.values import counted, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.spec import DataSpec

__all__ = ["choose"]


def choose(
    schema: Mapping[str, Any], data: DataSpec
) -> tuple[list[str], str | None, Mapping[str, Any]]:
    """Return the names of the inputs, the target's name and its description in the schema.

    Where the target is the inputs it has neither.
    Raises: SpecError at ``inputs``, ``target`` or ``sample_weight``, naming what there is.
    """
    entries: list[Mapping[str, Any]] = schema["columns" if schema["kind"] == "table" else "arrays"]
    known = {entry["name"]: entry for entry in entries}
    noun = "column" if schema["kind"] == "table" else "array"
    target = None if data.task == "reconstruction" else _target(data, known, noun)
    _check_weight(data, known, noun, target)
    chosen = _inputs(data, known, noun, target)
    if noun == "array":
        chosen = _one_array(chosen, target, known, data)
    if data.task == "reconstruction" and data.target not in (None, *chosen[:1]):
        detail = f"{data.target!r} cannot be learnt: reconstruction learns its inputs"
        raise SpecError.at("target", detail)
    return chosen, target, known[target] if target else {}


def _check_weight(data: DataSpec, known: Mapping[str, Any], noun: str, target: str | None) -> None:
    """Raise SpecError, if what holds the rows' weights is not there or means something else."""
    name = data.sample_weight
    if name is None:
        return
    if name not in known:
        detail = f"there is no {noun} {name!r}; the {noun}s are {listed(list(known))}"
    elif name == target or (data.inputs != "*" and name in data.inputs):
        detail = f"{name!r} is the target or an input"
    elif known[name].get("type") in ("text", "categorical"):
        detail = f"column {name!r} holds text, weights are numbers"
    else:
        return
    raise SpecError.at("sample_weight", detail)


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


def _inputs(data: DataSpec, known: Mapping[str, Any], noun: str, target: str | None) -> list[str]:
    if data.inputs == "*":
        taken = (target, data.sample_weight)
        names = [n for n, one in known.items() if n not in taken and one.get("type") != "text"]
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
    chosen: list[str], target: str | None, known: Mapping[str, Any], data: DataSpec
) -> list[str]:
    """Check that one array goes in, as long as the target and the weights."""
    if data.inputs == "*" and "inputs" in chosen:
        chosen = ["inputs"]
    if len(chosen) != 1:
        detail = f"one array can go in, name one of {listed(chosen)}"
        raise SpecError.at("inputs", detail)
    rows = known[chosen[0]]["shape"][0]
    for path, name in (("target", target), ("sample_weight", data.sample_weight)):
        others = rows if name is None else known[name]["shape"][0]
        if rows != others:
            detail = f"array {name!r} has {counted(others, 'row')}, {chosen[0]!r} has {rows:,}"
            raise SpecError.at(path, detail)
    return chosen


def _too_many(column: Mapping[str, Any]) -> str:
    values = counted(column["unique"], "different value")
    return f"column {column['name']!r} is text with {values}, too many or too long to be categories"
