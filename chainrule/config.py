"""What a client needs to know of its surroundings; ``service/settings.py`` extends it.

The only place of the library that reads the environment. Every bad variable is reported at once.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chainrule.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

__all__ = ["ClientConfig", "Reader", "environment"]

T = TypeVar("T")
D = TypeVar("D")

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 where to reach who listens everywhere


def environment() -> dict[str, str]:
    """Return a copy of this process's environment."""
    return dict(os.environ)  # noqa: TID251 the one reader


class Reader:
    """Reads ``CHAINRULE_*`` variables, keeping what is wrong with each until ``check``.

    An empty variable counts as not set.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def read(self, name: str, default: D, parse: Callable[[str], T], wanted: str) -> T | D:
        """Return a variable as ``parse`` sees it; ``parse`` raises ValueError on what it refuses.

        ``wanted`` completes the sentence "NAME must be ...".
        """
        text = self.environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except (ValueError, RuntimeError):  # RuntimeError: a ~user that is not there
            self.problems.append(f"{name} must be {wanted}, got {text!r}")
            return default

    def secret(self, name: str) -> str | None:
        """Return a variable that goes into a header; its value is never repeated in a complaint."""
        text = self.environ.get(name, "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isprintable() and " " not in text):
            self.problems.append(f"{name} must be printable ASCII without spaces")
            return None
        return text

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number between ``low`` and ``high``, both included."""

        def parse(text: str) -> int:
            number = int(text)
            if not low <= number <= high:
                raise ValueError
            return number

        return self.read(name, default, parse, f"a whole number from {low} to {high}")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number between ``low`` and ``high``, both included."""

        def parse(text: str) -> float:
            value = float(text)
            if not low <= value <= high:
                raise ValueError
            return value

        return self.read(name, default, parse, f"a number from {low:g} to {high:g}")

    def path(self, name: str, default: Path) -> Path:
        """Return an absolute path; ``~`` is the user's home."""

        def parse(text: str) -> Path:
            if "\0" in text:
                raise ValueError
            return Path(text).expanduser().absolute()

        return self.read(name, default, parse, "a path")

    def check(self) -> None:
        """Raise ConfigError, if anything read so far was bad, listing all of it."""
        if self.problems:
            raise ConfigError(self.problems)


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """Where the service is and what to show it.

    ``api_key`` is what the environment says; ``find_key`` also looks where ``up`` leaves one.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take the fields from a reader; a subclass adds its own.  The caller checks the reader."""
        return cls(
            data_dir=reader.path("CHAINRULE_DATA_DIR", _user_data_dir(reader.environ)),
            host=reader.read("CHAINRULE_HOST", "127.0.0.1", _host, "a host name or an address"),
            port=reader.integer("CHAINRULE_PORT", 8000, 0, 65535),
            api_key=reader.secret("CHAINRULE_API_KEY"),
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment.

        Raises: ConfigError, listing every bad variable, what was wanted and what was got.
        """
        reader = Reader(environ)
        config = cls.read(reader)
        reader.check()
        return config

    @property
    def key_path(self) -> Path:
        """Where the embedded service keeps the key that it generated (mode 0600)."""
        return self.data_dir / "api-key"

    @property
    def url(self) -> str:
        """The service's address, as its clients on this machine write it."""
        host = ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def find_key(self) -> str | None:
        """Return the configured key, else the one in the data directory, else None."""
        if self.api_key:
            return self.api_key
        try:
            return self.key_path.read_text("ascii").strip() or None
        except (OSError, ValueError):
            return None


def _host(text: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not host or any(c.isspace() or c in "/@[]" for c in host) or host.count(":") == 1:
        raise ValueError
    return host


def _user_data_dir(environ: Mapping[str, str]) -> Path:
    """Return the platform's directory for a user's data.

    Source: XDG Base Directory Specification 0.8 (a relative XDG_DATA_HOME is to be ignored).
    """
    home = Path(environ.get("HOME") or Path("~").expanduser())
    xdg = environ.get("XDG_DATA_HOME", "")
    if Path(xdg).is_absolute():
        return Path(xdg) / "chainrule"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "chainrule"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "chainrule"
    return home / ".local" / "share" / "chainrule"
