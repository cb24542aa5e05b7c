"""chainrule: neural networks trained by backpropagation, from numpy alone.

``import chainrule`` costs next to nothing: each name is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.errors import (
    ApiError,
    ChainruleError,
    CheckpointError,
    ClientError,
    DataError,
    DivergedError,
    ShapeError,
    SpecError,
    UnreachableError,
)

if TYPE_CHECKING:
    from chainrule.bundle import load
    from chainrule.client import Client
    from chainrule.fitting import EpochReport, TrainingLoop, evaluate, fit
    from chainrule.gradcheck import check_gradients
    from chainrule.network import Network
    from chainrule.spec import ArchitectureSpec, TrainingSpec
    from chainrule.warmstart import warm_start

__all__ = [
    "ApiError",
    "ArchitectureSpec",
    "ChainruleError",
    "CheckpointError",
    "Client",
    "ClientError",
    "DataError",
    "DivergedError",
    "EpochReport",
    "Network",
    "ShapeError",
    "SpecError",
    "TrainingLoop",
    "TrainingSpec",
    "UnreachableError",
    "check_gradients",
    "evaluate",
    "fit",
    "load",
    "warm_start",
]

_HOMES = {
    "ArchitectureSpec": "chainrule.spec",
    "Client": "chainrule.client",
    "EpochReport": "chainrule.fitting",
    "Network": "chainrule.network",
    "TrainingLoop": "chainrule.fitting",
    "TrainingSpec": "chainrule.spec",
    "check_gradients": "chainrule.gradcheck",
    "evaluate": "chainrule.fitting",
    "fit": "chainrule.fitting",
    "load": "chainrule.bundle",
    "warm_start": "chainrule.warmstart",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
