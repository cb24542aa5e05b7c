"""``python -m worker.healthcheck``: exit code 0 if a worker of this host was seen lately."""

from __future__ import annotations

import socket
import sys

from chainrule.config import environment
from chainrule.errors import ChainruleError
from service.actions import workers
from service.settings import Settings
from service.store.database import Database

__all__ = ["main"]


def main() -> int:
    """Look for this host among the workers that the database knows."""
    database = Database(Settings.from_env(environment()).database_url)
    try:
        with database.read() as session:
            hosts = [worker.info.get("host") for worker in workers.list_seen(session)]
    except ChainruleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        database.dispose()
    return 0 if socket.gethostname() in hosts else 1


if __name__ == "__main__":
    sys.exit(main())
