"""Losses: the value and its gradient at once, from raw outputs, numerically stable."""

from chainrule.losses.balance import balanced_weights, class_counts
from chainrule.losses.base import Loss
from chainrule.losses.checks import check_target
from chainrule.losses.decisions import CostMatrix
from chainrule.losses.objective import Objective, infer_loss
from chainrule.losses.table import LOSSES, loss_of

__all__ = [
    "LOSSES",
    "CostMatrix",
    "Loss",
    "Objective",
    "balanced_weights",
    "check_target",
    "class_counts",
    "infer_loss",
    "loss_of",
]
