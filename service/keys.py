"""``python -m service.keys create NAME | list | revoke ID``: the keys of the database's service.

Whoever reaches the database may do this; there is no HTTP route for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chainrule.config import environment
from chainrule.errors import ChainruleError
from service.actions import keys
from service.settings import Settings
from service.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.store.tables import ApiKey

__all__ = ["main"]

Answer = dict[str, Any] | list[dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one command.  Return the exit code: 0 ok, 2 usage, 3 no such key, 5 no database."""
    parser = argparse.ArgumentParser(prog="chainrule keys", description="Manage the API keys.")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    commands = parser.add_subparsers(required=True, metavar="create | list | revoke")
    create = commands.add_parser("create", help="make a key; its secret is shown once")
    create.add_argument("name", help="what the key is for")
    create.set_defaults(act=_create)
    commands.add_parser("list", help="list the keys").set_defaults(act=_list)
    revoke = commands.add_parser("revoke", help="make a key useless from now on")
    revoke.add_argument("id")
    revoke.set_defaults(act=_revoke)
    given = parser.parse_args(arguments)
    try:
        answer = _with_database(lambda database: given.act(database, given))
    except ChainruleError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_CODES.get(type(error).__name__, 2)
    sys.stdout.write((json.dumps(answer, indent=2) if given.json else _text(answer)) + "\n")
    return 0


_EXIT_CODES = {"NotFoundError": 3, "UnavailableError": 5}


def _with_database(act: Callable[[Database], Answer]) -> Answer:
    database = Database(Settings.from_env(environment()).database_url)
    try:
        return act(database)
    finally:
        database.dispose()


def _create(database: Database, given: argparse.Namespace) -> Answer:
    key, secret = database.transact(lambda uow: keys.create(uow, given.name))
    return _view(key) | {"secret": secret}


def _list(database: Database, _given: argparse.Namespace) -> Answer:
    with database.read() as session:
        return [_view(key) for key in keys.list_all(session, keys.DEFAULT_TENANT)]


def _revoke(database: Database, given: argparse.Namespace) -> Answer:
    return _view(database.transact(lambda uow: keys.revoke(uow, keys.DEFAULT_TENANT, given.id)))


def _view(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "created_at": _time(key.created_at),
        "revoked_at": _time(key.revoked_at),
    }


def _time(seconds: float | None) -> str | None:
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat("T", "seconds")
    )


def _text(answer: Answer) -> str:
    if isinstance(answer, list):
        return "\n".join(_text(key) for key in answer)
    state = f"revoked {answer['revoked_at']}" if answer["revoked_at"] else "valid"
    line = f"{answer['id']}  {answer['prefix']}…  {state}  {answer['name']}"
    return line + (f"\n{answer['secret']}" if "secret" in answer else "")


if __name__ == "__main__":
    sys.exit(main())
