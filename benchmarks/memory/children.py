"""A function in a process of its own, and how much memory a process holds."""

from __future__ import annotations

import re
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["alone", "mapped_mb", "private_mb"]


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function returns in a new process, whose memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def private_mb() -> float:
    """Return this process's memory that no file backs (RssAnon + RssShmem, MB)."""
    return _status("RssAnon") + _status("RssShmem")


def mapped_mb() -> float:
    """Return this process's memory that files back, which the system may drop (RssFile, MB)."""
    return _status("RssFile")


def _status(field: str) -> float:
    text = Path("/proc/self/status").read_text("utf-8")
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024 / 1e6
