"""API keys: a prefix and 32 random bytes, shown once, stored as SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from service.errors import NotFoundError
from service.ids import new_id
from service.store import blobs
from service.store.tables import ApiKey

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from service.settings import Settings
    from service.store.database import Database, UnitOfWork

__all__ = [
    "DEFAULT_TENANT",
    "Principal",
    "authenticate",
    "create",
    "ensure_key",
    "list_all",
    "new_secret",
    "register",
    "revoke",
]

DEFAULT_TENANT = "default"
PREFIX = "cr_"
SHOWN = 8  # characters of the secret that a list may show


@dataclass(frozen=True)
class Principal:
    """Who asks."""

    tenant_id: str
    key_id: str


def new_secret() -> str:
    """Return a fresh secret."""
    return PREFIX + secrets.token_urlsafe(32)


def create(uow: UnitOfWork, name: str, tenant: str = DEFAULT_TENANT) -> tuple[ApiKey, str]:
    """Make a key.  Returns: its row, and the secret, which cannot be had again."""
    secret = uow.keep("secret", new_secret)
    return register(uow, secret, name, tenant), secret


def register(uow: UnitOfWork, secret: str, name: str, tenant: str = DEFAULT_TENANT) -> ApiKey:
    """Make a secret a key, unless it is one: then return that, revoked or not."""
    row = {
        "id": new_id("key"),
        "tenant_id": tenant,
        "name": name,
        "prefix": secret[:SHOWN],
        "sha256": _hash(secret),
        "created_at": time.time(),
        "revoked_at": None,
    }
    blobs.insert_new(uow.session, ApiKey, [row])
    return uow.session.execute(select(ApiKey).where(ApiKey.sha256 == row["sha256"])).scalar_one()


def authenticate(session: Session, secret: str) -> Principal | None:
    """Return whose key this is; None if it is none, or revoked.

    The look-up is by hash, so its time tells nothing about any secret.
    """
    digest = _hash(secret)
    key = session.scalar(select(ApiKey).where(ApiKey.sha256 == digest))
    if key is None or key.revoked_at is not None or not hmac.compare_digest(key.sha256, digest):
        return None
    return Principal(key.tenant_id, key.id)


def revoke(uow: UnitOfWork, tenant: str, key_id: str) -> ApiKey:
    """Make a key useless from now on.  Raises: NotFoundError."""
    owned = (ApiKey.id == key_id, ApiKey.tenant_id == tenant)
    key = uow.session.scalar(select(ApiKey).where(*owned))
    if key is None:
        raise NotFoundError("key", key_id)
    if key.revoked_at is None:
        key.revoked_at = time.time()
        uow.session.flush()
    return key


def list_all(session: Session, tenant: str) -> list[ApiKey]:
    """Return a tenant's keys, the oldest first."""
    owned = select(ApiKey).where(ApiKey.tenant_id == tenant)
    return list(session.scalars(owned.order_by(ApiKey.created_at, ApiKey.id)))


def ensure_key(database: Database, settings: Settings) -> str:
    """Make sure that there is a key, and return its secret: the configured or the generated one.

    A generated secret goes into the data directory (mode 0600), where the command line finds it.
    """
    secret = settings.api_key or _kept_secret(settings.key_path)
    database.transact(lambda uow: register(uow, secret, "embedded"))
    return secret


def _kept_secret(path: Path) -> str:
    """Return the secret in a file, after writing a fresh one there if there is no file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(new_secret() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # linked whole, by the first process to come
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return path.read_text("ascii").strip()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
