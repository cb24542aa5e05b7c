"""The certificate of a job: the gradients of its own network and loss beside central differences.

Equal jobs have equal certificates: no clock decides what is checked, but a model of what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.gradcheck import Batch, stir
from chainrule.losses import Objective
from chainrule.network import Network
from chainrule.spec import nodes, starting
from chainrule.tape import aligned

if TYPE_CHECKING:
    from chainrule.spec import ArchitectureSpec, Node
    from chainrule.tape import Array

__all__ = ["PROBES", "ROWS", "TOLERANCE", "certify", "uncertified"]

ROWS, PROBES, TOLERANCE = 2, 32, 1e-6
_STEP = 1e-5
_DRAWS = 4  # of the inputs, for tensors most of whose probes meet kinks
# What rounding makes of a difference, of a loss up to 1: it may be off by so much and be right.
_NOISE = 1e-10
_UNSETTLED = 0.1  # a slope that half of a step moves by so much is none
_KINK = 10.0  # a kink moves the four slopes apart by more than a tenth of what it falsifies

# Costs on a slow core, about twice those of the machine that they were measured on. Of two rows,
# a matrix is read for few operations; a convolution has many positions to make use of it.
_BUDGET_S = 0.05
_PASS_S, _LAYER_S, _TIME_STEP_S = 20e-6, 15e-6, 40e-6
_READ_FLOPS_PER_S, _FLOPS_PER_S, _VALUE_S = 3e9, 15e9, 2e-9
_PARAMETER_S = 24e-9
_LOOPS = {"simple_rnn": 1, "lstm": 1, "gru": 1, "bidirectional": 2}  # over the steps of a sequence
_GRADIENT = 3  # forward passes that a forward and a backward pass cost together
_LEAST = _GRADIENT + 2


def certify(spec: ArchitectureSpec, loss: object, seed: int) -> dict[str, Any]:
    """Check a network at its first weights in float64 and return the certificate, plain JSON.

    Each layer's error is max|a - n| / max(|a|, |n|, floor), with each maximum over the probes of a
    tensor, at most 32; the floor is 1e-4 (times the loss, if that is larger), below which rounding
    of the loss alone could exceed the tolerance. Weights that start as zeros, or another constant,
    are moved a little apart: many units would rest at a kink. Probes that meet a kink do not count.
    Dropout is on with a fixed stream, batches are normalised as in training. What is not within
    50 ms on a slow core is left out: probes first, then layers evenly over the depth, then all.
    ``loss`` is a name, a document or an Objective.
    """
    walked = nodes(spec)
    passes = _affordable(walked)
    objective = loss if isinstance(loss, Objective) else Objective(_outputs(spec, walked), loss)
    if not any(node.parameters for node in walked):
        return uncertified("skipped", objective, "the network has no parameters")
    if passes < _LEAST:
        return uncertified("skipped", objective, "the network is too large to check within 50 ms")
    net = Network(spec, seed, "float64")
    stir(net, seed)
    check = _Check(net, objective, seed, passes)
    with np.errstate(all="ignore"):
        check.run()
    layers = [_layer(node, check) for node in walked]
    errors = {layer["name"]: layer["max_relative_error"] for layer in layers}
    known = [error for error in errors.values() if error is not None]
    wrong = [name for name, error in errors.items() if error is not None and error > TOLERANCE]
    if not known:
        return uncertified("skipped", objective, "no probe could be judged", layers)
    if not wrong:
        return _document("passed", objective, layers)
    # A layer that hands on a wrong gradient spoils all before it: the last one is nearest to it.
    detail = (
        f"the gradient of layer {wrong[-1]!r} differs from central differences by "
        f"{errors[wrong[-1]]:.2g} of its size, over {TOLERANCE:g}: the fault is in it, or in a "
        "layer without parameters that it feeds"
    )
    return _document("failed", objective, layers, layer=wrong[-1], reason=detail)


def uncertified(
    status: str, objective: Objective, reason: str, layers: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the certificate of a network that was not checked: ``skipped`` or ``off``."""
    return _document(status, objective, layers or [], reason=reason)


@dataclass
class _Check:
    """A check under way: ``left`` forward passes to go, ``found`` pairs (analytic, numeric)."""

    net: Network
    objective: Objective
    seed: int
    left: int
    found: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    floor: float = _NOISE / TOLERANCE

    def run(self) -> None:
        """Probe all tensors by turns; draw inputs again for those that have met mostly kinks."""
        parameters = self.net.parameters
        self.found = {name: [] for name in _spread(list(parameters))}
        for number in range(_DRAWS):
            waiting = [
                name
                for name, pairs in self.found.items()
                if 2 * len(pairs) < min(PROBES, parameters[name].size)
            ]
            if not waiting or self.left < _LEAST:
                return
            self._probe(Batch.draw(self.net, self.objective, ROWS, self.seed, number), waiting)

    def error(self, name: str) -> float | None:
        """Return a tensor's relative error, to three digits; None without a probe."""
        if not self.found[name]:
            return None
        analytic, numeric = np.array(self.found[name]).T
        scale = max(float(np.abs(analytic).max()), float(np.abs(numeric).max()), self.floor)
        error = float(np.abs(analytic - numeric).max()) / scale
        return float(f"{error:.3g}") if math.isfinite(error) else 2.0  # as wrong as can be

    def _probe(self, batch: Batch, names: list[str]) -> None:
        batch.x, batch.target = _laid_out(batch.x), _laid_out(batch.target)
        loss, gradients = batch.gradients()
        self.left -= _GRADIENT
        if not math.isfinite(loss):
            return
        self.floor = max(self.floor, _NOISE / TOLERANCE * abs(loss))
        entries = {name: _entries(gradients[name], batch.rng) for name in names}
        for turn in range(PROBES):
            for name in names:
                if self.left < 2:
                    return
                if turn < len(entries[name]):
                    entry = entries[name][turn]
                    analytic = float(gradients[name][entry])
                    flat = self.net.parameters[name].reshape(-1)
                    numeric = self._numeric(batch, flat, entry, analytic, loss)
                    if numeric is not None:
                        self.found[name].append((analytic, numeric))

    def _numeric(
        self, batch: Batch, flat: Array, entry: int, analytic: float, middle: float
    ) -> float | None:
        """Return the slope to compare with; None at a kink, or where the loss is not finite.

        A second difference that does not fall with the square of the step tells of a kink, even
        of one right at the point.
        """
        coarse, bend = self._slopes(batch, flat, entry, _STEP, middle)
        if not math.isfinite(coarse):
            return None
        if not math.isfinite(analytic) or self._agree(analytic, coarse):
            return coarse
        fine, fine_bend = self._slopes(batch, flat, entry, _STEP / 2, middle)
        smooth = (4 * fine - coarse) / 3  # without the error of the second order
        if self._agree(analytic, smooth):
            return smooth
        if abs(coarse - fine) > max(_UNSETTLED * max(abs(coarse), abs(fine)), self.floor):
            return None  # the kink is so sharp that the steps, however small, jump over it
        apart = abs(coarse - fine) + abs(bend - 2 * fine_bend)
        return coarse if abs(analytic - coarse) > _KINK * apart else None

    def _agree(self, analytic: float, numeric: float) -> bool:
        scale = max(abs(analytic), abs(numeric), self.floor)
        return abs(analytic - numeric) <= TOLERANCE * scale

    def _slopes(
        self, batch: Batch, flat: Array, entry: int, step: float, middle: float
    ) -> tuple[float, float]:
        """Return the central difference, and by how much the slopes of its two sides differ."""
        self.left -= 2
        return batch.difference(flat, entry, step, middle)


def _outputs(spec: ArchitectureSpec, walked: list[Node]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each output by name."""
    shapes = {node.name: node.output_shape for node in walked}
    return {name: shapes[name] for name in spec.output_names}


def _affordable(walked: list[Node]) -> int:
    """Return how many forward passes of two rows fit in the budget, beside the building."""
    parameters = sum(node.parameters + node.state for node in walked)
    building_s = parameters * _PARAMETER_S + starting(walked).flops / _FLOPS_PER_S
    building_s += len(walked) * 2 * _LAYER_S
    one_s = _PASS_S + sum(map(_forward_s, walked))
    return int(max(0.0, _BUDGET_S - building_s) / one_s)


def _forward_s(node: Node) -> float:
    """Return what a layer's forward pass of two rows takes."""
    loops = _LOOPS.get(node.spec.kind, 0)
    rate = _READ_FLOPS_PER_S if loops or len(node.output_shape) == 1 else _FLOPS_PER_S
    rows_s = node.spec.flops(*node.input_shapes) / rate + math.prod(node.output_shape) * _VALUE_S
    return _LAYER_S + loops * node.input_shape[0] * _TIME_STEP_S + ROWS * rows_s


def _spread(tensors: list[str]) -> list[str]:
    """Order tensors so that however many come first lie evenly over the depth.

    Each layer's first tensor comes before any second one.
    """
    layers: dict[str, list[str]] = {}
    for name in tensors:
        layers.setdefault(name.partition(".")[0], []).append(name)
    bits = len(layers).bit_length()
    turned = sorted(range(len(layers)), key=lambda place: int(f"{place:0{bits}b}"[::-1], 2))
    columns = zip_longest(*(list(layers.values())[place] for place in turned))
    return [name for column in columns for name in column if name is not None]


def _entries(gradient: Array, rng: np.random.Generator) -> list[int]:
    """Choose entries to probe: any, but half of them where something is to be seen.

    Most rows of an embedding take no part in two rows of data.
    """
    anywhere = rng.choice(gradient.size, min(gradient.size, PROBES), replace=False)
    seen = np.flatnonzero(gradient)
    if 2 * len(seen) < gradient.size and len(seen):
        chosen = rng.choice(seen, min(len(seen), PROBES), replace=False)
        pairs = zip_longest(chosen.tolist(), anywhere.tolist())
        return list(dict.fromkeys(e for pair in pairs for e in pair if e is not None))[:PROBES]
    return list(anywhere.tolist())


def _laid_out(values: Any) -> Any:
    """Copy arrays to where a cache line begins: where they lie must not tell in the last bits."""
    if isinstance(values, Mapping):
        return {name: _laid_out(value) for name, value in values.items()}
    copy = aligned(values.size, values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def _layer(node: Node, check: _Check) -> dict[str, Any]:
    """Return a layer's row; without an error it says why."""
    tensors = [f"{node.name}.{weight.name}" for weight in node.trainable]
    errors = [error for name in tensors if (error := check.error(name)) is not None]
    reason = None
    if node.shares is not None:
        reason = f"its parameters are those of {node.shares!r}"
    elif not tensors:
        reason = "has no parameters; the gradients of the layers before it run through it"
    elif not errors:
        within = check.left >= 2
        reason = "every probe met a kink" if within else "not checked within the time"
    return {
        "name": node.name,
        "kind": node.spec.kind,
        "max_relative_error": max(errors, default=None),
        "probes": sum(len(check.found[name]) for name in tensors),
        "reason": reason,
    }


def _document(
    status: str,
    objective: Objective,
    layers: list[dict[str, Any]],
    *,
    layer: str | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    return {
        "status": status,
        "tolerance": TOLERANCE,
        "rows": ROWS,
        "probes": PROBES,
        "loss": objective.kinds,
        "layers": layers,
        "layer": layer,
        "reason": reason,
    }
