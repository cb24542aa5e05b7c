"""Out to other tools: a network as a file that they read."""

from __future__ import annotations

from chainrule.export.onnx import to_onnx

__all__ = ["to_onnx"]
