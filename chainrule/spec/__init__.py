"""The architecture, training and data languages: documents in, checked and frozen values out."""

from chainrule.spec.architecture import INPUT, ArchitectureSpec, InputSpec, complete
from chainrule.spec.base import Document, parse
from chainrule.spec.data import DataSpec
from chainrule.spec.endings import given_on
from chainrule.spec.graph import Node, asked, check_wiring, nodes, vocabularies
from chainrule.spec.layers import KINDS, LayerSpec, Shape, Weight
from chainrule.spec.preprocessing import PreprocessingSpec
from chainrule.spec.scratch import forward_scratch, learning, step_values
from chainrule.spec.splits import (
    AnySplit,
    ColumnSplitSpec,
    HashSplitSpec,
    KFoldSplitSpec,
    SplitSpec,
    StratifiedSplitSpec,
    TimeSplitSpec,
    split_columns,
    stage_rows,
)
from chainrule.spec.summary import starting, summarize
from chainrule.spec.training import OptimizerSpec, ScheduleSpec, TrainingSpec, WarmStartSpec
from chainrule.spec.training.losses import LossSpec, Task, default_loss
from chainrule.spec.windows import Windows, makes_mask, stage_steps, windows

__all__ = [
    "INPUT",
    "KINDS",
    "AnySplit",
    "ArchitectureSpec",
    "ColumnSplitSpec",
    "DataSpec",
    "Document",
    "HashSplitSpec",
    "InputSpec",
    "KFoldSplitSpec",
    "LayerSpec",
    "LossSpec",
    "Node",
    "OptimizerSpec",
    "PreprocessingSpec",
    "ScheduleSpec",
    "Shape",
    "SplitSpec",
    "StratifiedSplitSpec",
    "Task",
    "TimeSplitSpec",
    "TrainingSpec",
    "WarmStartSpec",
    "Weight",
    "Windows",
    "asked",
    "check_wiring",
    "complete",
    "default_loss",
    "forward_scratch",
    "given_on",
    "learning",
    "makes_mask",
    "nodes",
    "parse",
    "split_columns",
    "stage_rows",
    "stage_steps",
    "starting",
    "step_values",
    "summarize",
    "vocabularies",
    "windows",
]
