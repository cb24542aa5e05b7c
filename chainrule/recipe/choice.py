"""Which columns or arrays a job means: names checked, and what was left open decided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.errors import Problem, SpecError, step
from chainrule.naming import unnamed
from chainrule.recipe.values import counted, listed, unknown_name
from chainrule.spec import split_columns
from chainrule.spec.windowing import SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.spec import DataSpec

    Known = Mapping[str, Mapping[str, Any]]

__all__ = ["Choice", "Named", "choose"]


class Named(NamedTuple):
    """A column or array, and where the request names it."""

    name: str
    place: str


@dataclass(frozen=True)
class Choice:
    """What is learnt from what.

    ``inputs`` are the columns of a table or the one array; or of several inputs {input: array}, or
    {input: columns}. ``targets`` are by output, none where the inputs come back. ``known``
    describes each column or array. ``past`` are targets whose past goes in as well.
    """

    inputs: Any
    targets: dict[str, Named]
    known: Known
    past: tuple[Named, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns or arrays that go in, a column once."""
        if not isinstance(self.inputs, dict):
            return [one.name for one in (*self.inputs, *self.past)]
        if "shape" in next(iter(self.known.values())):
            return [one.name for one in self.inputs.values()]
        return list(dict.fromkeys(one.name for group in self.inputs.values() for one in group))

    def rendered(self) -> dict[str, Any]:
        """Return the choice as a request would make it."""
        inputs: Any
        if isinstance(self.inputs, dict):
            inputs = {
                key: [one.name for one in chosen] if isinstance(chosen, list) else chosen.name
                for key, chosen in self.inputs.items()
            }
        else:
            inputs = [one.name for one in self.inputs]
            if inputs and "shape" in self.known[inputs[0]]:
                inputs = inputs[0]
        targets = {output: one.name for output, one in self.targets.items()}
        return {"inputs": inputs, "target": unnamed(targets) if targets else None}


def choose(
    schema: Mapping[str, Any],
    data: DataSpec,
    inputs: Sequence[str] | None,
    outputs: Sequence[str],
) -> Choice:
    """Choose for a network with these inputs (None: the data names them) and outputs.

    Raises: SpecError at ``inputs``, ``target``, ``task``, ``split`` or ``sample_weight``, naming
    what there is.
    """
    entries: list[Mapping[str, Any]] = schema["columns" if schema["kind"] == "table" else "arrays"]
    known = {entry["name"]: entry for entry in entries}
    noun = "column" if schema["kind"] == "table" else "array"
    if data.window is not None and noun == "array":
        raise SpecError.at("window", "is of a table's rows; arrays hold sequences as they are")
    _check_split(data, known, noun)
    _check_excluded(data, known, noun)
    targets = {} if _gives_back(data, outputs) else _targets(data, known, noun, outputs)
    taken = {one.name for one in targets.values()}
    by_input: dict[str, Any] = {}
    several = isinstance(data.inputs, dict) or len(inputs or ()) > 1
    if noun == "array" and (several or (isinstance(data.inputs, list) and len(data.inputs) > 1)):
        by_input = _by_input(data, inputs)
        _check_inputs(list(by_input.values()), known, noun, taken)
        chosen = list(by_input.values())
    elif several and data.window is not None:
        raise SpecError.at("inputs", "of a window go in side by side, the network has several")
    elif several:
        by_input = _groups(data, inputs, known, taken)
        chosen = [one for group in by_input.values() for one in group]
    else:
        chosen = _inputs(data, known, noun, taken)
    if noun == "array":
        chosen = chosen if by_input else _one_array(chosen, data)
        others = [Named(name, "split") for name in split_columns(data.split)]
        _check_rows([*chosen, *targets.values(), *others], known, data.sample_weight)
    names = [one.name for one in chosen]
    _check_weight(data, known, noun, {*names, *taken})
    if data.task == "reconstruction" and data.target not in (None, *names[:1]):
        detail = f"{data.target!r} cannot be learnt: reconstruction learns its inputs"
        raise SpecError.at("target", detail)
    return Choice(by_input or chosen, targets, known, _past(data, targets))


def _gives_back(data: DataSpec, outputs: Sequence[str]) -> bool:
    """Tell whether the inputs are what is learnt.  Raises: SpecError at ``task``."""
    tasks = data.task if isinstance(data.task, dict) else {"": data.task}
    for name, task in tasks.items():
        place = f"task{step(name)}" if name else "task"
        if isinstance(data.task, dict) and name not in outputs:
            detail = f"there is no such output; the outputs are {listed([*outputs])}"
            raise SpecError.at(place, detail)
        if task == "reconstruction" and (name or len(outputs) > 1):
            raise SpecError.at(
                place, "reconstruction is the only task of a network with one output"
            )
    return data.task == "reconstruction"


def _targets(data: DataSpec, known: Known, noun: str, outputs: Sequence[str]) -> dict[str, Named]:
    """Return each output's target."""
    there = f"the {noun}s are {listed(list(known))}"
    found = _named_targets(data, noun, outputs)
    if not found:
        if len(outputs) == 1 and noun == "array" and "targets" in known:
            return {outputs[0]: Named("targets", "target")}
        if len(outputs) > 1 and all(output in known for output in outputs):
            return {output: Named(output, "target") for output in outputs}
        whose = "to learn" if len(outputs) == 1 else f"of each output: {listed([*outputs])}"
        alone = len(outputs) == 1 and noun == "array"
        hint = ' (or give "task": "reconstruction")' if alone else ""
        raise SpecError.at("target", f"is missing: name the {noun} {whose}{hint}; {there}")
    for name, place in found.values():
        if name not in known:
            raise SpecError.at(place, unknown_name(noun, name, [*known]))
        if known[name].get("type") == "text":
            raise SpecError.at(place, _too_many(known[name]))
        if known[name].get("type") == "datetime":
            raise SpecError.at(place, f"column {name!r} holds dates, which are not learnt")
    return found


def _named_targets(data: DataSpec, noun: str, outputs: Sequence[str]) -> dict[str, Named]:
    """Return what the request names, by output; nothing, if it names none."""
    given = data.target
    if given is None:
        return {}
    if isinstance(given, dict):
        if set(given) != set(outputs):
            detail = f"are of {listed([*given])}, the network's outputs are {listed([*outputs])}"
            raise SpecError.at("target", detail)
        return {output: Named(given[output], f"target{step(output)}") for output in outputs}
    names = [given] if isinstance(given, str) else given
    if len(names) != len(outputs):
        detail = f"names {counted(len(names), noun)} for {counted(len(outputs), 'output')}"
        one = len(outputs) == 1
        hint = "; architecture.outputs lists the layers that give several" if one else ""
        raise SpecError.at("target", f"{detail}: {listed([*outputs])}{hint}")
    places = ["target"] if isinstance(given, str) else [f"target[{i}]" for i in range(len(names))]
    return dict(zip(outputs, map(Named, names, places), strict=True))


def _by_input(data: DataSpec, inputs: Sequence[str] | None) -> dict[str, Named]:
    """Return the array that goes into each of several inputs, which has its name or is named.

    No order tells: neither clients nor files keep that of an object, as the inputs are.
    """
    given = data.inputs
    if isinstance(given, dict):
        found = {}
        for key, name in given.items():
            if not isinstance(name, str):
                raise SpecError.at(f"inputs{step(key)}", "must be one array: a list is of columns")
            found[key] = Named(name, f"inputs{step(key)}")
    elif isinstance(given, list):
        found = {name: Named(name, f"inputs[{index}]") for index, name in enumerate(given)}
    else:
        found = {
            name: Named(name, "inputs") for name in (inputs or () if given == "*" else [given])
        }
    if len(found) < len(given) and isinstance(given, list):
        raise SpecError.at("inputs", "must name each array once; {input: array} may name one twice")
    if inputs is not None and set(found) != set(inputs):
        detail = f"are {listed([*found])}, the network's inputs are {listed([*inputs])}"
        raise SpecError.at("inputs", f"{detail}: name the array of each as {{input: array}}")
    return found


def _groups(
    data: DataSpec, inputs: Sequence[str] | None, known: Known, taken: set[str]
) -> dict[str, list[Named]]:
    """Return the columns that go into each of several inputs, side by side."""
    given = data.inputs
    if not isinstance(given, dict):
        named = listed([*(inputs or ())])
        detail = f"the network has several inputs, {named}: name the columns of each as"
        raise SpecError.at("inputs", f"{detail} {{input: [columns]}}")
    if inputs is not None and set(given) != set(inputs):
        detail = f"are {listed([*given])}, the network's inputs are {listed([*inputs])}"
        raise SpecError.at("inputs", detail)
    found = {}
    for key, names in given.items():
        place = f"inputs{step(key)}"
        if isinstance(names, str):
            group = [Named(names, place)]
        else:
            group = [Named(name, f"{place}[{index}]") for index, name in enumerate(names)]
        _check_inputs(group, known, "column", taken, twice=False, place=place)
        found[key] = group
    return found


def _inputs(data: DataSpec, known: Known, noun: str, taken: set[str]) -> list[Named]:
    """Return the columns of a table, or the arrays that may go into one input."""
    if data.inputs == "*":
        out = {*taken, data.sample_weight, *split_columns(data.split), *data.exclude}
        if data.window is not None:
            out |= {data.window.group, data.window.order_by}
        names = [n for n, one in known.items() if n not in out and one.get("type") != "text"]
        if not names and not _holds_past(data):
            but = listed(sorted({*taken, *data.exclude}))
            kept = "the target and what is excluded," if data.exclude else "the target"
            detail = f"there is no {noun} but {kept} {but}"
            raise SpecError.at("inputs", detail)
        return [Named(name, "inputs") for name in names]
    if isinstance(data.inputs, str):
        chosen = [Named(data.inputs, "inputs")]
    else:
        chosen = [Named(name, f"inputs[{index}]") for index, name in enumerate(data.inputs)]
    if chosen or not _holds_past(data):
        _check_inputs(chosen, known, noun, taken, twice=False)
    return chosen


def _holds_past(data: DataSpec) -> bool:
    return isinstance(data.window, SlidingWindow) and data.window.past_target


def _past(data: DataSpec, targets: Mapping[str, Named]) -> tuple[Named, ...]:
    """Return the targets whose past a window holds, each once."""
    if not _holds_past(data):
        return ()
    return tuple({one.name: one for one in targets.values()}.values())


def _check_inputs(  # noqa: PLR0913
    chosen: list[Named],
    known: Known,
    noun: str,
    taken: set[str],
    *,
    twice: bool = True,
    place: str = "inputs",
) -> None:
    """Raise SpecError at each that cannot go in; ``twice``: the same may, into two inputs."""
    problems = []
    for index, (name, here) in enumerate(chosen):
        if name not in known:
            detail = unknown_name(noun, name, [*known])
        elif name in taken:
            detail = f"{name!r} is the target" if len(taken) == 1 else f"{name!r} is a target"
        elif not twice and name in [one.name for one in chosen[:index]]:
            detail = f"{name!r} is named twice"
        elif known[name].get("type") == "text":
            detail = _too_many(known[name])
        else:
            continue
        problems.append(Problem(here, detail))
    if not chosen:
        detail = f"must name {'an' if noun == 'array' else 'a'} {noun} at least"
        hint = '; "*" takes all but the target' if place == "inputs" else ""
        problems.append(Problem(place, detail + hint))
    if problems:
        raise SpecError(*problems)


def _check_weight(data: DataSpec, known: Known, noun: str, taken: set[str]) -> None:
    """Raise SpecError, if what holds the rows' weights is not there or means something else."""
    name = data.sample_weight
    if name is None:
        return
    if name not in known:
        detail = unknown_name(noun, name, [*known])
    elif name in taken:
        detail = f"{name!r} is the target or an input"
    elif known[name].get("type") in ("text", "categorical", "datetime"):
        held = "dates" if known[name]["type"] == "datetime" else "text"
        detail = f"column {name!r} holds {held}, weights are numbers"
    else:
        return
    raise SpecError.at("sample_weight", detail)


def _check_split(data: DataSpec, known: Known, noun: str) -> None:
    """Raise SpecError at each column that a split cannot go by."""
    problems = []
    if data.split.kind == "time" and data.split.column is None and data.window is None:
        problems.append(Problem("split.column", "is missing: it says when each row was"))
    names = split_columns(data.split)
    for index, name in enumerate(names):
        place = "split.key" if data.split.kind == "hash" else "split.column"
        place += f"[{index}]" if len(names) > 1 else ""
        one = known.get(name, {})
        if not one:
            detail = unknown_name(noun, name, [*known])
        elif one.get("type") == "text":
            detail = _too_many(one)
        elif math.prod(one.get("shape", [1])[1:]) > 1:
            detail = f"array {name!r} has several values in a row"
        elif data.split.kind == "time" and one.get("type") == "categorical":
            detail = f"column {name!r} holds text, times are dates or numbers"
        else:
            continue
        problems.append(Problem(place, detail))
    if problems:
        raise SpecError(*problems)


def _check_excluded(data: DataSpec, known: Known, noun: str) -> None:
    """Raise SpecError at each column that is not there to be left out, or is to go in, too."""
    given = data.inputs
    groups = list(given.values()) if isinstance(given, dict) else [given if given != "*" else []]
    named = {name for one in groups for name in ([one] if isinstance(one, str) else one)}
    problems = []
    for index, name in enumerate(data.exclude):
        if name not in known:
            detail = unknown_name(noun, name, [*known])
        elif name in named:
            detail = f"{name!r} is one of the inputs"
        else:
            continue
        problems.append(Problem(f"exclude[{index}]", detail))
    if problems:
        raise SpecError(*problems)


def _one_array(chosen: list[Named], data: DataSpec) -> list[Named]:
    """Take the only array that may go in, or the one called ``inputs``."""
    names = [one.name for one in chosen]
    if data.inputs == "*" and "inputs" in names:
        return [chosen[names.index("inputs")]]
    if len(chosen) != 1:
        raise SpecError.at("inputs", f"one array can go in, name one of {listed(names)}")
    return chosen


def _check_rows(chosen: list[Named], known: Known, weight: str | None) -> None:
    """Raise SpecError, if an array has not as many rows as the first."""
    first, rows = chosen[0].name, known[chosen[0].name]["shape"][0]
    more = chosen[1:]
    if weight is not None and weight in known:
        more.append(Named(weight, "sample_weight"))
    for name, place in more:
        found = known[name]["shape"][0]
        if rows != found:
            detail = f"array {name!r} has {counted(found, 'row')}, {first!r} has {rows:,}"
            raise SpecError.at(place, detail)


def _too_many(column: Mapping[str, Any]) -> str:
    values = counted(column["unique"], "different value")
    return f"column {column['name']!r} is text with {values}, too many or too long to be categories"
