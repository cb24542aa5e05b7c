"""Default deny: without a key only the public routes answer; even a missing page is a 401."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import g, request

from service.api.context import parts
from service.api.problems import RequestError

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["PUBLIC", "install"]

# The endpoints of design.md's public routes.  Whatever is not in here needs a key.
PUBLIC = frozenset(
    {
        "docs.read_docs",
        "docs.static",
        "openapi.spec",
        "system.read_health",
        "system.read_readiness",
    }
)
REALM = 'Bearer realm="chainrule"'
IN_QUERY = frozenset({"access_token", "api_key", "apikey", "auth", "authorization", "key", "token"})


def install(app: Flask) -> None:
    """Ask every request for its key before anything else of it is read."""
    app.before_request(_authenticate)


def _authenticate() -> None:
    if request.endpoint in PUBLIC:
        return
    if request.query_string and any(name.lower() in IN_QUERY for name in request.args):
        # A key in an address ends up in logs and histories.
        raise RequestError(400, "send the key as Authorization: Bearer <key>, never in the address")
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise RequestError(401, "send Authorization: Bearer <key>", WWW_Authenticate=REALM)
    principal = parts().keyring.authenticate(secret.strip())
    if principal is None:
        invalid = f'{REALM}, error="invalid_token"'
        raise RequestError(401, "the key is not known, or revoked", WWW_Authenticate=invalid)
    g.principal = principal
