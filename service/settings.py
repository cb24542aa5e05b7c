"""Every setting of the service, read once: ``chainrule/config.py`` plus what a server needs."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.config import ClientConfig
from chainrule.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from chainrule.config import Reader

__all__ = ["Settings"]

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings(ClientConfig):
    """What the API and the workers need to know.

    ``redis_url`` is None in embedded mode until ``up`` has started a broker of its own.
    """

    database_url: str
    redis_url: str | None = None
    trainers: int = 1
    threads: int = 16  # of the API
    max_upload_bytes: int = 4096 * MIB
    parse_inline_bytes: int = 64 * MIB  # larger files are parsed by a worker
    max_job_memory_bytes: int = 4096 * MIB
    heartbeat_s: float = 3.0
    lease_ttl_s: float = 15.0
    poll_s: float = 5.0
    fault: str | None = None  # in tests: ``service.faults``

    @classmethod
    def read(cls, reader: Reader) -> Self:
        client = ClientConfig.read(reader)
        embedded = f"sqlite:///{client.data_dir / 'chainrule.db'}"
        cores = min(len(os.sched_getaffinity(0)), 256)
        return cls(
            data_dir=client.data_dir,
            host=client.host,
            port=client.port,
            api_key=client.api_key,
            database_url=reader.read(
                "CHAINRULE_DATABASE_URL", embedded, _database, "postgresql://… or sqlite:///file"
            ),
            redis_url=reader.read(
                "CHAINRULE_REDIS_URL", None, _broker, "redis://…, rediss://… or redis+socket:///…"
            ),
            trainers=reader.integer("CHAINRULE_TRAINERS", cores, 1, 256),
            threads=reader.integer("CHAINRULE_THREADS", 16, 2, 256),
            max_upload_bytes=MIB * reader.integer("CHAINRULE_MAX_UPLOAD_MIB", 4096, 1, 2**16),
            parse_inline_bytes=MIB * reader.integer("CHAINRULE_PARSE_INLINE_MIB", 64, 0, 64),
            max_job_memory_bytes=MIB
            * reader.integer("CHAINRULE_MAX_JOB_MEMORY_MIB", 4096, 128, 2**20),
            fault=reader.read(
                "CHAINRULE_FAULT",
                None,
                _fault if reader.integer("CHAINRULE_TESTING", 0, 0, 1) else _refused,
                "point:n:action, and only where CHAINRULE_TESTING is 1",
            ),
        )

    @property
    def embedded(self) -> bool:
        """Whether everything lives in the data directory of one machine."""
        return self.database_url.startswith("sqlite")

    def check_exposure(self) -> None:
        """Refuse to listen beyond this machine on a generated key, which nobody chose to give out.

        Raises: ConfigError.
        """
        if self.api_key is None and not _is_loopback(self.host):
            raise ConfigError([f"CHAINRULE_API_KEY must be set to listen on {self.host}"])

    @property
    def cache_dir(self) -> Path:
        """Where workers keep prepared datasets, by content hash."""
        return self.data_dir / "cache"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _database(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://", "postgresql+psycopg://", "sqlite:///")):
        raise ValueError
    return text


def _fault(text: str) -> str:
    if not re.fullmatch(r"[a-z]+(@[A-Za-z0-9_.]+)?:[1-9][0-9]{0,5}:(kill|raise|space|lost)", text):
        raise ValueError
    return text


def _refused(_text: str) -> str:
    raise ValueError


def _broker(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "redis+socket://")):
        raise ValueError
    return text
