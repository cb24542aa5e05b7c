"""The keys asked about just now, so that not every request costs a look into the database."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING

from service.actions import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.actions.keys import Principal
    from service.store.database import Database

__all__ = ["Keyring"]

REMEMBERED_S = 1.0
MOST = 1024


class Keyring:
    """Remembers for a second whose a key is; safe to share between threads.

    So a revoked key may work for a second longer, in each process. A new key works at once: what is
    no key is never remembered. Secrets are remembered by their SHA-256 only.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[Principal, float]] = {}  # the longest known first

    def authenticate(self, secret: str) -> Principal | None:
        """Return whose key this is; None if it is none, or was revoked over a second ago.

        Raises: UnavailableError, if it is not remembered and the database does not answer.
        """
        digest = hashlib.sha256(secret.encode()).digest()
        now = self._clock()  # before the database is asked: the second starts with what it saw
        with self._lock:
            principal, until = self._known.get(digest, (None, 0.0))
        if principal is None or until <= now:
            with self._database.read() as session:
                principal = keys.authenticate(session, secret)
            self._note(digest, principal, now + REMEMBERED_S)
        return principal

    def _note(self, digest: bytes, principal: Principal | None, until: float) -> None:
        with self._lock:
            self._known.pop(digest, None)
            if principal is not None:
                self._known[digest] = principal, until
            if len(self._known) > MOST:
                del self._known[next(iter(self._known))]
