"""Lists, newest first, one page at a time."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import select

from chainrule.errors import SpecError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["Page", "newest"]

R = TypeVar("R")
MAX_SEQ = 2**63 - 1


@dataclass(frozen=True)
class Page(Generic[R]):
    """Some rows, and the cursor that reads on after them; None at the end."""

    items: list[R]
    next: str | None


def newest(
    session: Session, table: type[R], where: list[Any], limit: int, cursor: str | None
) -> Page[R]:
    """Return the newest rows, or those older than the cursor's.

    Raises: SpecError at ``cursor``, if no page gave it.
    """
    seq: Any = table.seq  # type: ignore[attr-defined]
    if cursor is not None:
        where = [*where, seq < _decode(cursor)]
    rows = session.scalars(select(table).where(*where).order_by(seq.desc()).limit(limit + 1)).all()
    more = len(rows) > limit
    last: Any = rows[limit - 1] if more else None
    return Page(list(rows[:limit]), _encode(last.seq) if more else None)


def _encode(seq: int) -> str:
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def _decode(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode("ascii")
        seq = int(text) if text.isdecimal() and len(text) < 20 else -1
    except (ValueError, binascii.Error):
        seq = -1
    if not 0 <= seq <= MAX_SEQ or _encode(seq) != cursor:
        raise SpecError.at("cursor", "is not one that a list returned")
    return seq
