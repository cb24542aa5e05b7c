"""The losses that a training may name, and the tasks that they stand for."""

from __future__ import annotations

from typing import Literal

from chainrule.spec.base import Document

__all__ = ["LossName", "LossSpec", "Task", "default_loss"]

LossName = Literal["mean_squared_error", "binary_cross_entropy", "softmax_cross_entropy"]
Task = Literal["classification", "regression"]


class LossSpec(Document):
    """The loss.  Cross-entropies take logits: the last layer needs no sigmoid or softmax."""

    kind: LossName


def default_loss(task: Task) -> LossName:
    """Return the loss of a task whose training names none."""
    return "softmax_cross_entropy" if task == "classification" else "mean_squared_error"
