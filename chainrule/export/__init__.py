"""Out to other tools: a network as a file that they read."""

from __future__ import annotations

from chainrule.export.onnx import InputsOption, to_onnx

__all__ = ["InputsOption", "to_onnx"]
