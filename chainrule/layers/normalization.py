"""Batch and layer normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels
from chainrule.layers.activation import NO_ENDING, Ending
from chainrule.layers.base import Layer, Parameters, check_shape

if TYPE_CHECKING:
    from chainrule.spec.layers import BatchNormSpec, LayerNormSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["BatchNorm", "LayerNorm"]


@dataclass(frozen=True)
class BatchNorm:
    """Each channel over the batch, to mean 0 and variance 1, then scaled and shifted.

    Training uses the batch's moments, and notes on the tape where the moving ones go; prediction
    uses the moving ones. Steps that the tape's mask leaves out do not count in the moments.
    ``ending``: the activation of the layer behind, which takes no pass of its own then.
    Shapes: x (batch, ..., channels) -> y alike; gamma, beta and the moving moments (channels,).
    Source: Ioffe & Szegedy (2015), the moving variance divided by n, as Keras 3.
    """

    gamma: Array | None
    beta: Array | None
    moving_mean: Array
    moving_variance: Array
    momentum: float
    epsilon: float
    ending: Ending = NO_ENDING

    @classmethod
    def build(cls, spec: BatchNormSpec, number: int, parameters: Parameters) -> Layer:
        return cls(
            parameters.get("gamma"),
            parameters.get("beta"),
            parameters["moving_mean"],
            parameters["moving_variance"],
            spec.momentum,
            spec.epsilon,
        )

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        channels = self.moving_mean.size
        check_shape(x, ("batch", *x.shape[1:-1], channels), owner="BatchNorm")
        flat, training, wants_dx = x.reshape(-1, channels), tape.training, tape.wants_dx
        weights = _weights(x, tape) if training else None
        mean, variance = self._moments(flat, weights, tape) if training else self._moving
        rstd, y = tape.empty(variance.shape), tape.empty(flat.shape)
        kernels.reciprocal_root(variance, self.epsilon, rstd)
        activation = self.ending.activation
        kernels.batch_norm(flat, self.gamma, self.beta, mean, rstd, activation, y)

        def backward(dy: Array) -> Array:
            dgamma, dbeta = tape.empty(mean.shape), tape.empty(mean.shape)
            dx = tape.empty(flat.shape) if wants_dx else None
            kernels.batch_norm_backward(
                dy.reshape(flat.shape),
                flat,
                self.gamma,
                self.beta,
                mean,
                rstd,
                activation,
                dx,
                dgamma,
                dbeta,
                moments=training,
                weights=weights,
            )
            _add_gradients(self, dgamma, dbeta, tape)
            return dy if dx is None else dx.reshape(x.shape)

        return y.reshape(x.shape), backward

    @property
    def _moving(self) -> tuple[Array, Array]:
        return self.moving_mean, self.moving_variance

    def _moments(self, flat: Array, weights: Array | None, tape: Tape) -> tuple[Array, Array]:
        mean, variance = tape.empty(flat.shape[1:]), tape.empty(flat.shape[1:])
        kernels.batch_norm_moments(flat, weights, mean, variance)
        tape.move(self.moving_mean, mean, self.momentum)
        tape.move(self.moving_variance, variance, self.momentum)
        return mean, variance


@dataclass(frozen=True)
class LayerNorm:
    """Each sample over its last axes, to mean 0 and variance 1, then scaled and shifted.

    Shapes: x (batch, ..., *normalized) -> y alike; gamma and beta (*normalized,).
    Source: Ba, Kiros & Hinton (2016).
    """

    gamma: Array | None
    beta: Array | None
    normalized: int  # how many axes are normalised together
    epsilon: float

    @classmethod
    def build(cls, spec: LayerNormSpec, number: int, parameters: Parameters) -> Layer:
        axes = 1 if isinstance(spec.axis, int) else len(spec.axis)
        return cls(parameters.get("gamma"), parameters.get("beta"), axes, spec.epsilon)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        normalized = x.shape[-self.normalized :]
        tensor = self.beta if self.gamma is None else self.gamma
        if tensor is not None:
            wanted = ("batch", *x.shape[1 : -self.normalized], *tensor.shape)
            check_shape(x, wanted, owner="LayerNorm")
        flat, wants_dx = x.reshape(-1, math.prod(normalized)), tape.wants_dx
        rows, n = flat.shape
        gamma, beta = _as_vector(self.gamma), _as_vector(self.beta)
        y, mean, rstd = tape.empty(flat.shape), tape.empty((rows, 1)), tape.empty((rows, 1))
        kernels.layer_norm(flat, gamma, beta, self.epsilon, y, mean, rstd)

        def backward(dy: Array) -> Array:
            dgamma, dbeta = tape.empty((n,)), tape.empty((n,))
            dx = tape.empty(flat.shape) if wants_dx else None
            slope = dy.reshape(flat.shape)
            kernels.layer_norm_backward(slope, flat, gamma, mean, rstd, dx, dgamma, dbeta)
            _add_gradients(self, dgamma, dbeta, tape)
            return dy if dx is None else dx.reshape(x.shape)

        return y.reshape(x.shape), backward


def _add_gradients(layer: BatchNorm | LayerNorm, dgamma: Array, dbeta: Array, tape: Tape) -> None:
    for parameter, gradient in ((layer.gamma, dgamma), (layer.beta, dbeta)):
        if parameter is not None:
            tape.gradient(parameter).add(gradient.reshape(parameter.shape))


def _as_vector(tensor: Array | None) -> Array | None:
    return None if tensor is None else tensor.reshape(-1)


def _weights(x: Array, tape: Tape) -> Array | None:
    """Return whether each row of the flat input counts, as padding does not; None if all do."""
    if tape.mask is None:
        return None
    mask = tape.mask.reshape(*tape.mask.shape, *(1 for _ in x.shape[2:-1]))
    return np.broadcast_to(mask, x.shape[:-1]).reshape(-1)
