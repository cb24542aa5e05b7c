"""The extension of compiled kernels: it is there if there was a compiler at install."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bind", "variants"]

_native: Any
try:
    _native = import_module("chainrule.kernels._native")
except ImportError:
    _native = None


def variants() -> list[str]:
    """Return the kinds of processor that there are kernels for and that this is, best first."""
    return [] if _native is None else list(_native.variants())


def bind(variant: str, references: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    """Return a variant's kernels by name; what one of them cannot take, its reference does.

    Raises: ValueError, if this machine does not run them.
    """
    return dict(_native.bind(variant, references))
