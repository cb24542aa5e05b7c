"""``python -m worker.prepare``: bring the database up to date and make sure that there is a key."""

from __future__ import annotations

from chainrule.config import environment
from service.actions.keys import ensure_embedded_key
from service.settings import Settings
from service.store.database import Database
from service.store.migrate import upgrade


def main() -> None:
    """Prepare what ``up`` needs.  Safe to run again."""
    settings = Settings.from_env(environment())
    upgrade(settings.database_url)
    database = Database(settings.database_url)
    try:
        ensure_embedded_key(database, settings)
    finally:
        database.dispose()


if __name__ == "__main__":
    main()
