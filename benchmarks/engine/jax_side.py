"""JAX's side: training steps compiled whole, an epoch as one ``lax.scan`` over its batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from benchmarks.engine import jax_models
from benchmarks.engine.cases import ADAM, EngineCase, batches, data, network

if TYPE_CHECKING:
    from chainrule.spec.graph import Node

__all__ = ["Jax"]

State = tuple[Any, Any, Any, Any]  # parameters, Adam's two means, the number of steps
Step = Callable[..., tuple[State, Any]]  # (state, inputs, targets, rows) -> state, loss


class Jax:
    """A training of JAX's, an epoch at a time; ``facts`` has the seconds of compilation.

    Within a loop XLA's CPU backend leaves its fast convolutions (on the second CNN 130 ms a step
    instead of 10), so networks of images are compiled a step at a time.
    """

    def __init__(self, case: EngineCase, threads: int) -> None:
        self.name = f"JAX {jax.__version__}"
        self._case = case
        net = network(case)
        parameters = {name: jnp.array(view) for name, view in net.parameters.items()}
        m, v = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
        self._state: State = (parameters, m, v, jnp.zeros((), jnp.int32))
        self._data = tuple(jnp.asarray(values) for values in data(case))
        self._scans = len(case.shape) < 3
        step = _step(net.nodes, case.loss)
        rows = jnp.asarray(batches(case, 0))
        started = time.perf_counter()
        run = jax.jit(_scan(step) if self._scans else step, donate_argnums=0)
        given = rows if self._scans else rows[0]
        self._run = run.lower(self._state, *self._data, given).compile()
        self.facts: dict[str, Any] = {
            "threads": threads,
            "form": "scan of an epoch" if self._scans else "step",
            "compilation_s": time.perf_counter() - started,
        }

    def epoch(self, number: int) -> list[float]:
        """Train an epoch and return the loss of each batch."""
        rows = jnp.asarray(batches(self._case, number))
        if self._scans:
            self._state, losses = self._run(self._state, *self._data, rows)
            return [float(loss) for loss in jax.device_get(losses)]
        found = []
        for batch in rows:
            self._state, loss = self._run(self._state, *self._data, batch)
            found.append(loss)
        return [float(loss) for loss in jax.device_get(found)]


def _step(nodes: list[Node], loss: str) -> Step:
    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        return _LOSSES[loss](jax_models.apply(nodes, parameters, x), y)

    def step(state: State, x: Any, y: Any, rows: Any) -> tuple[State, Any]:
        value, gradients = jax.value_and_grad(loss_of)(state[0], x[rows], y[rows])
        return _adam(state, gradients), value

    return step


def _scan(step: Step) -> Step:
    def epoch(state: State, x: Any, y: Any, order: Any) -> Any:
        return jax.lax.scan(lambda state, rows: step(state, x, y, rows), state, order)

    return epoch


def _cross_entropy(logits: Any, classes: Any) -> Any:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), classes[:, None], 1)
    return -chosen.mean()


def _squared_error(y: Any, target: Any) -> Any:
    return ((y - target) ** 2).mean()


def _adam(state: State, gradients: Any) -> State:
    """Return the state after a step.  Source: Kingma and Ba (2015), algorithm 1."""
    parameters, m, v, steps = state
    steps = steps + 1
    beta_1, beta_2 = ADAM["beta_1"], ADAM["beta_2"]
    m = jax.tree.map(lambda m, g: beta_1 * m + (1.0 - beta_1) * g, m, gradients)
    v = jax.tree.map(lambda v, g: beta_2 * v + (1.0 - beta_2) * g * g, v, gradients)
    # 1 - beta ** steps, which in single precision would lose four digits.
    unbiased_1, unbiased_2 = (-jnp.expm1(steps * math.log(beta)) for beta in (beta_1, beta_2))

    def moved(p: Any, m: Any, v: Any) -> Any:
        root = jnp.sqrt(v / unbiased_2) + ADAM["epsilon"]
        return p - ADAM["learning_rate"] * (m / unbiased_1) / root

    return jax.tree.map(moved, parameters, m, v), m, v, steps


_LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "softmax_cross_entropy": _cross_entropy,
    "mean_squared_error": _squared_error,
}
