"""The extension of compiled kernels: it is there if there was a compiler at install."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bind", "call", "program", "variants"]

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


def call(
    kernel: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Callable[[], Any], Any]:
    """Call a kernel; return what calls it again, and what came of it: nothing, of one in C."""
    if isinstance(kernel, BuiltinFunctionType):
        return _native.Recorded(kernel, args, named), None
    return partial(kernel, *args, **named), kernel(*args, **named)


def program(calls: list[Callable[[], Any]]) -> Callable[[], object]:
    """Return what makes some calls, one after the other."""
    if _native is None:
        return partial(_make, calls)
    made: Callable[[], object] = _native.Program(tuple(calls))
    return made


def _make(calls: list[Callable[[], Any]]) -> None:
    for each in calls:
        each()
