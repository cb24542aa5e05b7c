"""``python -m service [--fd N]``: the API on one socket, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import resource
import signal
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.config import environment
from chainrule.errors import ChainruleError
from service import faults, logs
from service.actions import keys
from service.actions.recovery import Recovery
from service.api.server import Server
from service.api.spool import spool_folder, sweep
from service.app import create_app
from service.broker.app import make_celery
from service.broker.bell import Bell
from service.errors import UnavailableError
from service.parsing import Parser
from service.settings import Settings
from service.store import schema
from service.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

BACKLOG = 1024
RECOVERY_S = 1.0
log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve.  Return the exit code: 0 after a clean end, 1 if it could not start."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket to serve on, inherited")
    given = parser.parse_args(arguments)
    logs.configure()
    try:
        settings = Settings.from_env(environment())
        settings.check_exposure()
        faults.arm(settings.fault)
        with ExitStack() as stack:
            _serve(settings, given.fd, stack)
    except (ChainruleError, OSError) as error:
        sys.stderr.write(f"chainrule API: {error}\n")
        return 1
    return 0


def _serve(settings: Settings, fd: int | None, stack: ExitStack) -> None:
    # What waitress spools goes where uploads go, not into a /tmp that may be small, or shared.
    folder = spool_folder(settings.data_dir)
    sweep(folder)
    tempfile.tempdir = str(folder)
    _allow_connections()
    database = Database(settings.database_url)
    stack.callback(database.dispose)
    schema.check(database)
    keys.ensure_key(database, settings)  # the configured key, or one of its own
    listening = stack.enter_context(closing(_listen(settings, fd)))
    parser = stack.enter_context(closing(Parser()))
    bell = stack.enter_context(closing(Bell(make_celery(settings))))
    app = create_app(settings, database, bell, parser)
    server = Server(app, listening, settings, at_end=app.extensions["chainrule"].waiting.end)
    server.stop_on(signal.SIGTERM, signal.SIGINT)
    stopped = threading.Event()
    stack.callback(stopped.set)
    recovery = Recovery(database, bell.ring, ttl_s=settings.lease_ttl_s)
    threading.Thread(target=_recover, args=(recovery, stopped), daemon=True).start()
    if kernels.in_use() == "numpy":
        log.warning("no compiled kernels: numpy runs them, more slowly; is there a C compiler?")
    log.info("serving on %s", listening.getsockname())
    server.run()


def _allow_connections() -> None:
    """Take as many file descriptors as the system allows: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _recover(recovery: Recovery, stopped: threading.Event) -> None:
    """Tick until told to stop; an outage of the database is waited out."""
    while not stopped.wait(RECOVERY_S):
        try:
            recovery.tick()
        except UnavailableError as error:
            log.warning("recovery waits: %s", error)
        except Exception:  # this thread must not die of anything: nobody would reap
            log.exception("recovery failed")


def _listen(settings: Settings, fd: int | None) -> socket.socket:
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)


if __name__ == "__main__":
    sys.exit(main())
