"""What decides a result's last bits besides the program: numpy, its BLAS, kernels, processor."""

from __future__ import annotations

import functools
import platform
from typing import Any, cast

import numpy as np

from chainrule import kernels

__all__ = ["fingerprint"]


def fingerprint() -> str:
    """Return one line; where it is the same, the same job gives the same bits."""
    return f"{_machine()}; kernels {kernels.in_use()}"


@functools.cache
def _machine() -> str:
    config = cast("dict[str, Any]", np.show_config(mode="dicts"))
    blas = config.get("Build Dependencies", {}).get("blas", {})
    simd = config.get("SIMD Extensions", {})
    found = [*simd.get("baseline", []), *simd.get("found", [])]  # those that this processor has
    library = f"{blas.get('name', 'blas')} {blas.get('version', 'unknown')}"
    return f"numpy {np.__version__}; {library}; {platform.machine()} {'+'.join(found)}".strip()
