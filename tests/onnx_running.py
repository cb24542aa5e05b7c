"""ONNX files checked and run by other people's code: the onnx package and onnxruntime."""

from __future__ import annotations

import warnings

import onnx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a machine that it does not know
    import onnxruntime


def session(data):
    """Check a file and load it, for one thread."""
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
