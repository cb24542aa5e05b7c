"""The architecture, training and data languages: documents in, checked and frozen values out."""

from chainrule.spec.architecture import (
    ArchitectureSpec,
    InputSpec,
    Node,
    complete,
    nodes,
    summarize,
)
from chainrule.spec.base import Document, parse
from chainrule.spec.data import DataSpec, SplitSpec
from chainrule.spec.layers import KINDS, LayerSpec, Shape, Weight
from chainrule.spec.losses import LossSpec, Task, default_loss
from chainrule.spec.training import OptimizerSpec, ScheduleSpec, TrainingSpec

__all__ = [
    "KINDS",
    "ArchitectureSpec",
    "DataSpec",
    "Document",
    "InputSpec",
    "LayerSpec",
    "LossSpec",
    "Node",
    "OptimizerSpec",
    "ScheduleSpec",
    "Shape",
    "SplitSpec",
    "Task",
    "TrainingSpec",
    "Weight",
    "complete",
    "default_loss",
    "nodes",
    "parse",
    "summarize",
]
