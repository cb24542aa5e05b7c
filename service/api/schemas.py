"""How APIFlask reads and writes our documents: with our parser, our messages and our JSON.

Blueprints are made with the class from here, so that no route is declared before the adapter is
registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from apiflask import APIBlueprint
from apiflask.schema_adapters import registry
from apiflask.schema_adapters.pydantic import PydanticAdapter
from pydantic import ConfigDict

from chainrule.errors import Problem, SpecError
from chainrule.spec import Document, parse
from service.api import strict_json
from service.api.problems import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from flask import Request
    from pydantic import BaseModel

__all__ = ["Blueprint", "Query", "ValidateQuery", "content", "media_type", "plain"]

Blueprint = APIBlueprint


class Query(Document):
    """The parameters of an address: text, so numbers and booleans are read from it."""

    model_config = ConfigDict(strict=False)


class ValidateQuery(Query):
    """Whether only to look."""

    validate_only: bool = False


class DocumentAdapter(PydanticAdapter):
    """Pydantic models in a request are ``chainrule.spec`` documents."""

    def validate_input(self, request: Request, location: str, **_: Any) -> Any:
        """Parse the body or the query.  Raises: JsonError, RequestError, SpecError."""
        kind = cast("type[Document]", self.model_class)
        if location == "query":
            return _read_query(kind, request)
        media_type(request, ["application/json"])
        text = request.get_data(cache=False)
        document = strict_json.loads(text)
        if not isinstance(document, dict):  # a string would be read as JSON text once more
            raise SpecError.at("", "must be an object")
        return parse(kind, document, text)

    def serialize_output(self, data: Any, many: bool = False) -> Any:
        """Return a view as plain JSON."""
        return plain(data)


def plain(view: BaseModel) -> dict[str, Any]:
    """Return a view as plain JSON; what was never set is left out."""
    return view.model_dump(mode="json", exclude_unset=True)


def content(description: str, *media_types: str) -> Any:
    """Return what the OpenAPI document says of an answer that is no JSON."""
    return {200: {"description": description, "content": {media: {} for media in media_types}}}


def media_type(request: Request, accepted: Collection[str]) -> str:
    """Return the body's media type.  Raises: RequestError (415), if it is none of the accepted."""
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype in accepted and charset in ("utf-8", "utf8"):
        return request.mimetype
    got = request.headers.get("Content-Type", "")[:100] or "none"
    detail = f"Content-Type must be one of {', '.join(accepted)}; got {got}"
    if request.mimetype in _FORMS and len(accepted) > 1:
        detail += ": the body is the file itself, as curl --data-binary @FILE sends it, no form"
    raise RequestError(415, detail)


_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def _read_query(kind: type[Document], request: Request) -> Document:
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise SpecError(*(Problem(name, "is given twice") for name in twice))
    for name, value in request.args.items():
        strict_json.check_text(name + value)
    return parse(kind, request.args.to_dict())


registry.register("pydantic", DocumentAdapter)
