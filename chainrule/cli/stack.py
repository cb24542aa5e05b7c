"""The embedded service as a command: ``chainrule up``, and a private one for the demo.

It is started, never imported: the library knows nothing of the service's modules.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainrule.cli.shared import json_option
from chainrule.client import Client
from chainrule.config import environment
from chainrule.errors import ChainruleError, ClientError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

__all__ = ["Stack", "keys", "up"]

COMMAND = [sys.executable, "-m", "worker.up"]
START_S = 60.0
STOP_S = 25.0  # the service promises a clean end within 10 s, of a machine that is not overloaded
KILL_S = 2.0
POLL_S = 0.02
ADDRESS = re.compile(r"https?://[^\s\"',]+:\d+")


@click.command()
@click.option("--host", metavar="HOST", help="The address to listen at: 127.0.0.1.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="8000; 0 takes a free one."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where everything is kept: the user's data directory.",
)
@click.option(
    "--trainers",
    type=click.IntRange(1),
    metavar="N",
    help="How many jobs train at once: one for each core.",
)
@json_option
def up(
    host: str | None, port: int | None, data_dir: Path | None, trainers: int | None, as_json: bool
) -> None:
    """Start the service on this machine.

    API, worker, queue and database in one command. Ctrl-C ends it; jobs go on where they were at
    the next start. Every option has a variable of its name: CHAINRULE_HOST, CHAINRULE_PORT,
    CHAINRULE_DATA_DIR, CHAINRULE_TRAINERS.
    """
    _check_installed()
    options = {"HOST": host, "PORT": port, "DATA_DIR": data_dir, "TRAINERS": trainers}
    given = {f"CHAINRULE_{name}": str(v) for name, v in options.items() if v is not None}
    command = [*COMMAND, "--json"] if as_json else COMMAND
    os.execve(command[0], command, environment() | given)  # noqa: S606 our own argument list


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def keys(arguments: tuple[str, ...]) -> None:
    """Manage API keys: create NAME, list, revoke ID.

    Works on the database itself (CHAINRULE_DATABASE_URL or the data directory), not over HTTP.
    """
    _check_installed()
    command = [sys.executable, "-m", "service.keys", *arguments]
    os.execve(command[0], command, environment())  # noqa: S606 our own program


class Stack:
    """A service of one's own: a child process in a given directory, on a free port.

    It lives as long as the ``with`` block, and not longer than this process.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "service.log"
        kept = {k: v for k, v in environment().items() if not k.startswith("CHAINRULE_")}
        own = {"CHAINRULE_DATA_DIR": str(self.data_dir), "CHAINRULE_PORT": "0"}
        self.environment = kept | own | dict(variables or {})
        self.url = ""

    def __enter__(self) -> Self:
        _check_installed()
        self.data_dir.mkdir(parents=True)
        bound = [sys.executable, "-m", "worker.bound", str(os.getpid()), "--"]
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches us alone, and we end the service in order.
            self.process = subprocess.Popen(  # noqa: S603 our own argument list
                [*bound, *COMMAND],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(time.monotonic() + START_S)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def key(self) -> str:
        return (self.data_dir / "api-key").read_text("ascii").strip()

    def client(self) -> Client:
        """Return a client of this service."""
        return Client(self.url, self.key)

    def stop(self) -> None:
        """End the service and wait for its end; whatever is left after that is killed."""
        try:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        finally:  # also when Ctrl-C comes meanwhile
            self._kill_group()

    def _kill_group(self) -> None:
        """Kill what is left of the service, and wait until it is gone."""
        deadline = time.monotonic() + KILL_S
        with contextlib.suppress(ProcessLookupError):  # the group is gone, as it should be
            while time.monotonic() < deadline:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.poll()
                time.sleep(POLL_S)
        self.process.wait()

    def _wait_until_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ChainruleError(f"the service did not start:\n{self._tail()}")
            found = ADDRESS.search(self.log.read_text("utf-8", "replace"))
            if found and (self.data_dir / "api-key").exists():
                self.url = found[0]
                with contextlib.suppress(ClientError), self.client() as client:
                    if set(client.readiness().values()) == {"ok"}:
                        return
            time.sleep(POLL_S)
        raise ChainruleError(f"the service was not ready within {START_S:.0f} s:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])


def _check_installed() -> None:
    missing = [name for name in ("celery", "waitress", "worker") if find_spec(name) is None]
    if missing:
        message = f"{missing[0]} is not installed; the service needs its extra"
        raise ChainruleError(f"{message}: pip install 'chainrule[service]'")
