"""Lists: one page, and the way to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import request
from pydantic import Field

from service.api.schemas import Query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

__all__ = ["PageQuery", "page"]


class PageQuery(Query):
    """Where in a list to read, and how much."""

    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, max_length=200)


def page(
    kind: type[BaseModel], items: Iterable[BaseModel], cursor: str | None
) -> tuple[Any, dict[str, str]]:
    """Return a page and its headers; ``cursor`` reads on from its end, if there is more."""
    answer = kind(items=list(items), next=cursor)
    if cursor is None:
        return answer, {}
    query = urlencode(request.args.to_dict() | {"cursor": cursor})
    address = f"{request.path}?{query}"
    return answer, {"Link": f'<{address}>; rel="next"'}
