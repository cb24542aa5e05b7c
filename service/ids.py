"""Opaque ids: a prefix that says what is named, and a UUIDv7, so that ids sort by their making."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Literal

__all__ = ["ID_PATTERNS", "Kind", "new_id"]

Kind = Literal["arch", "ds", "job", "key", "mdl", "upl"]

# What a route's converter matches; anything else is no id and never reaches the database.
ID_PATTERNS: dict[Kind, str] = {
    "arch": r"arch_[0-9a-f]{32}",
    "ds": r"ds_[0-9a-f]{32}",
    "job": r"job_[0-9a-f]{32}",
    "key": r"key_[0-9a-f]{32}",
    "mdl": r"mdl_[0-9a-f]{32}",
    "upl": r"upl_[0-9a-f]{32}",
}


def new_id(kind: Kind) -> str:
    """Return a fresh id, such as ``job_0193…``.  Source: RFC 9562, section 5.7 (UUIDv7)."""
    milliseconds = int(time.time() * 1000) & (2**48 - 1)
    bits = (milliseconds << 80) | (0x7 << 76) | (secrets.randbits(12) << 64)
    bits |= (0b10 << 62) | secrets.randbits(62)
    return f"{kind}_{uuid.UUID(int=bits).hex}"
