"""The losses by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.losses.decisions import Focal, Hinge
from chainrule.losses.entropy import BinaryCrossEntropy, KullbackLeibler, SoftmaxCrossEntropy
from chainrule.losses.regression import (
    CosineSimilarity,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
)

if TYPE_CHECKING:
    from chainrule.losses.base import Loss
    from chainrule.spec.training.losses import LossBase

__all__ = ["LOSSES", "loss_of"]

# Each with its defaults.
LOSSES: dict[str, Loss] = {
    "mean_squared_error": MeanSquaredError(),
    "mean_absolute_error": MeanAbsoluteError(),
    "huber": Huber(),
    "binary_cross_entropy": BinaryCrossEntropy(),
    "softmax_cross_entropy": SoftmaxCrossEntropy(),
    "hinge": Hinge(),
    "focal": Focal(),
    "kullback_leibler": KullbackLeibler(),
    "poisson": Poisson(),
    "cosine_similarity": CosineSimilarity(),
}


def loss_of(spec: LossBase) -> Loss:
    """Make the loss of a spec."""
    settings = spec.model_dump(exclude={"kind", "weight"})
    kind: str = spec.kind  # type: ignore[attr-defined]
    return type(LOSSES[kind])(**settings)
