"""The evaluation of a trained network: metrics with intervals, tables, curves, null models."""

from chainrule.evaluation.report import evaluation_report, unevaluated
from chainrule.evaluation.suspicions import suspicions

__all__ = ["evaluation_report", "suspicions", "unevaluated"]
