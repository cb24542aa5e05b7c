"""The gradient check: backpropagation beside central differences, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ChainruleError, SpecError
from chainrule.losses import Objective
from chainrule.naming import named, unnamed
from chainrule.network import Network
from chainrule.streams import generator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.naming import Values
    from chainrule.spec import ArchitectureSpec
    from chainrule.tape import Array, Tape

__all__ = ["Batch", "check_gradients", "stir"]

_EPSILON = 1e-5
_STIR = 0.01
_CONSTANT = ("zeros", "ones", "constant", "identity")
_DRAWS = 20  # of the inputs, before giving up on a tensor
# Slopes taken at two step sizes differ by a kink's share of the largest slope, a smooth function's
# by the square of the step; the second number is the noise of the slopes of a loss up to 1.
_KINK, _NOISE = 1e-7, 1e-10


def check_gradients(
    spec: ArchitectureSpec | Mapping[str, Any] | str | bytes,
    *,
    loss: object = None,
    seed: int = 0,
    rows: int = 4,
    probes: int = 24,
) -> dict[str, float]:
    """Return the largest relative error of each layer with parameters, and of the ``inputs``.

    Several inputs have one each, by their names. Up to ``probes`` entries of each tensor are drawn,
    and max|a - n| / max(|a|, |n|, 1e-8) taken with each maximum over the tensor: one entry of a
    correct gradient may be nearly zero. The weights are the first ones, constants moved a little
    apart. Probes that cross a kink are left out, and inputs drawn again where those are half or
    more. Dropout is on, its stream fixed. ``loss`` is a name, a document, or of several outputs a
    mapping with one for each; by default mean_squared_error.
    Raises: SpecError; ChainruleError, if a tensor's probes meet kinks again and again.
    """
    if isinstance(spec, Network):
        raise SpecError.at("spec", "must be an architecture, as net.spec is, got a Network")
    net = Network(spec, seed, "float64")
    stir(net, seed)
    objective = Objective(net.output_shapes, loss or "mean_squared_error")
    worst: dict[str, float] = {}
    whole = _renamed(net.vocabularies, net)  # whole numbers have no slope
    inputs = [name for name in _renamed(net.input_shapes, net) if name not in whole]
    for name in [*net.parameters, *inputs]:
        layer = name.partition(".")[0]
        draws = (Batch.draw(net, objective, rows, seed, number) for number in range(_DRAWS))
        errors = (batch.error(name, probes) for batch in draws)
        error = next((error for error in errors if error is not None), None)
        if error is None:
            raise ChainruleError(f"{name}: every batch drawn lies at a kink")
        worst[layer] = max(worst.get(layer, 0.0), error)
    return worst


def stir(net: Network, seed: int) -> None:
    """Move what starts as zeros, or other constants, a little apart.

    A unit that nothing but a zero bias reaches would rest right at its kink.
    """
    rng = generator(seed, "gradcheck", 0, 0)  # a name no draw of inputs has
    for node in net.nodes:
        for weight in node.trainable:
            start = weight.initializer
            if isinstance(start, tuple) or getattr(start, "kind", start) in _CONSTANT:
                parameter = net.parameters[f"{node.name}.{weight.name}"]
                parameter += _STIR * rng.standard_normal(parameter.shape)


@dataclass
class Batch:
    """One batch through a network whose loss is probed."""

    net: Network
    objective: Objective
    x: Values
    target: Values
    rng: np.random.Generator
    tape: Tape

    @classmethod
    def draw(cls, net: Network, objective: Objective, rows: int, seed: int, number: int) -> Batch:
        rng = generator(seed, "gradcheck", number)
        x = _inputs(net, rows, rng)
        target = objective.draw(rows, rng)
        return cls(net, objective, x, target, rng, net.tape(training=True, seed=seed))

    def error(self, name: str, probes: int) -> float | None:
        """Return a tensor's relative error; None if half of the probes or more meet a kink."""
        tensor = {**self.net.parameters, **self._by_name(self.x)}[name]
        entries = self.rng.permutation(tensor.size)[:probes]
        middle = self.value()
        slopes = [self._slopes(tensor.reshape(-1), entry, middle) for entry in entries]
        coarse, fine, bend, fine_bend = np.array(slopes).T
        noise = _NOISE * max(1.0, abs(middle))
        scale = float(np.abs(coarse).max())
        # Of a smooth function the sides' slopes differ half as much over half of the step.
        apart = np.maximum(np.abs(coarse - fine), np.abs(bend - 2 * fine_bend))
        clear = apart <= _KINK * scale + noise
        if 2 * np.count_nonzero(clear) <= len(entries):
            return None
        analytic = self._gradient(name)[entries]
        scale = max(float(np.abs(analytic).max()), float(np.abs(coarse[clear]).max()), 1e-8)
        # Where a gradient is zero, as a bias's before batch_norm, the slope is the loss's rounding.
        beyond = np.maximum(np.abs(analytic - coarse)[clear] - noise, 0.0)
        return float(beyond.max()) / scale

    def _gradient(self, name: str) -> Array:
        self.tape.begin(0)
        y, backward = self.net.forward(self.x, self.tape, inputs=True)
        dx = self._by_name(backward(self.objective(y, self.target, self.tape)[1]))
        if name in dx:
            return dx[name].reshape(-1)
        return self.tape.gradient(self.net.parameters[name]).view.reshape(-1)

    def _by_name(self, x: Values) -> dict[str, Array]:
        return _renamed(named(x, self.net.input_shapes), self.net)

    def _slopes(self, flat: Array, entry: int, middle: float) -> tuple[float, ...]:
        """Return the central differences over one step and over half of it, then the bends."""
        coarse, bend = self.difference(flat, entry, _EPSILON, middle)
        fine, fine_bend = self.difference(flat, entry, _EPSILON / 2, middle)
        return coarse, fine, bend, fine_bend

    def difference(
        self, flat: Array, entry: int, epsilon: float, middle: float
    ) -> tuple[float, float]:
        """Return the central difference, and by how much the slopes of its two sides differ.

        It takes two forward passes; ``middle`` is the loss where the entry stands.
        """
        kept = flat[entry]
        flat[entry] = kept + epsilon
        above = self.value()
        flat[entry] = kept - epsilon
        below = self.value()
        flat[entry] = kept
        return (above - below) / (2 * epsilon), (above - 2 * middle + below) / epsilon

    def gradients(self) -> tuple[float, dict[str, Array]]:
        """Return the loss and its gradient in each parameter, flat, as a training step has them."""
        self.tape.begin(0)
        y, backward = self.net.forward(self.x, self.tape)
        loss, dy = self.objective(y, self.target, self.tape)
        backward(dy)
        parameters = self.net.parameters.items()
        return float(loss), {name: self.tape.gradient(p).view.reshape(-1) for name, p in parameters}

    def value(self) -> float:
        """Return the loss."""
        self.tape.begin(0)
        y, _ = self.net.forward(self.x, self.tape)
        return float(self.objective(y, self.target, self.tape)[0])


def _inputs(net: Network, rows: int, rng: np.random.Generator) -> Values:
    """Draw inputs that the network accepts, whatever order a document has them in."""
    drawn: dict[str, Array] = {}
    for name in sorted(net.input_shapes):
        shape = (rows, *net.input_shapes[name])
        if name in net.vocabularies:
            drawn[name] = rng.integers(0, net.vocabularies[name], shape).astype(np.float64)
        else:
            drawn[name] = rng.standard_normal(shape)
    return unnamed(drawn)


def _renamed(values: Mapping[str, Any], net: Network) -> dict[str, Any]:
    """Return what inputs have by name, the only input's as ``inputs``."""
    if len(net.input_shapes) > 1:
        return dict(values)
    return dict(zip(["inputs"], values.values(), strict=False))
