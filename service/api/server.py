"""waitress, with our problem documents where it answers by itself, and an orderly end."""

from __future__ import annotations

import json
import select
import signal
import time
from logging import getLogger
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, cast

from waitress import wasyncore
from waitress.buffers import OverflowableBuffer, TempfileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import create_server
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from service.api.problems import PROBLEM, RETRY_AFTER, document
from service.api.spool import PREFIX
from service.errors import ExhaustedError, StorageFullError, exhausted, no_space

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from service.settings import Settings

__all__ = ["Server"]

log = getLogger(__name__)

PAUSE_S = 0.1  # before a connection is asked for again that there was no descriptor for
MAX_HEADER_BYTES = 32 * 1024
MAX_CONNECTIONS = 2000  # idle ones cost little; the default of 100 is soon used up
IDLE_S = 30
GRACE_S = 4.5  # what a request in flight may still take, once the process is told to end
LINGER_S = 1.0  # and how long who is connected may still begin one


class NoSpace(Error):  # noqa: N818 as waitress names the others
    """What is said to a body that does not fit on the disk."""

    code = 507
    reason = "Insufficient Storage"


class NoFile(Error):  # noqa: N818 as above
    """What is said to a body that no file can be opened for."""

    code = 503
    reason = "Service Unavailable"


class NamedFile(TempfileBasedBuffer):
    """A file with a name, so that a body needs no second copy for whoever is to open it."""

    def newfile(self) -> Any:
        return NamedTemporaryFile(prefix=PREFIX)


class Body(OverflowableBuffer):
    """A body as it comes: a large one goes into such a file."""

    buf: Any

    def _set_large_buffer(self) -> None:
        small = self.buf
        self.buf = NamedFile(small)
        if small is not None:
            small.close()
        self.overflowed = True


class Parser(HTTPRequestParser):
    """Refuses requests whose length two readers could see differently."""

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        # Source: RFC 9112, section 6.1. waitress has taken the header out where it honours it.
        if "TRANSFER_ENCODING" in self.headers or (
            self.chunked and "CONTENT_LENGTH" in self.headers
        ):
            raise ParsingError("a body has a Content-Length or a Transfer-Encoding, never both")
        if self.body_rcv is not None:
            self.body_rcv.buf = Body(self.adj.inbuf_overflow)

    def received(self, data: bytes) -> int:
        """Take what has come; a body for which this machine has no room is answered, not cut."""
        try:
            return super().received(data)
        except OSError as error:
            if no_space(error):
                self.error = NoSpace(str(StorageFullError()))
            elif exhausted(error):
                self.error = NoFile(str(ExhaustedError()))
            else:
                raise
            self.completed = True
            return len(data)


class ProblemTask(ErrorTask):
    """Answers what never reaches the application: a bad or large head, a body that is too large."""

    def execute(self) -> None:
        error: Any = self.request.error  # type: ignore[attr-defined]
        self.status = f"{error.code} {error.reason}"
        body = json.dumps(document(error.code, str(error.body))).encode()
        self.response_headers = [*self.response_headers, ("Content-Type", PROBLEM)]
        if error.code in RETRY_AFTER:
            self.response_headers.append(("Retry-After", RETRY_AFTER[error.code]))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Task(WSGITask):
    """Answers a request; the connection stays open after an answer that has no body, such as 304.

    waitress closes after every answer without a length.  Source: RFC 9112, section 6.3.
    A process that is to end says so with its answer: the client's next request goes elsewhere.
    """

    def build_response_header(self) -> bytes:
        channel: Any = self.channel
        if channel.server.draining and len(channel.requests) == 1:
            self.request.headers["CONNECTION"] = "close"  # type: ignore[attr-defined]
        return super().build_response_header()

    def set_close_on_finish(self) -> None:
        request: Any = self.request
        asked = request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or asked or self.version == "1.0":
            super().set_close_on_finish()


class Channel(HTTPChannel):
    """A connection."""

    parser_class = Parser
    task_class = Task
    error_task_class = ProblemTask


def _patient(accept: Callable[[], Any]) -> Callable[[], Any]:
    """Return what takes a connection as ``accept`` does, or none, if there is no descriptor for it.

    The connection goes on waiting: asked again at once, the loop would do nothing else.
    """

    def act() -> Any:
        try:
            return accept()
        except OSError as error:
            if not exhausted(error):
                raise
            log.warning("connections wait: %s", error.strerror)
            time.sleep(PAUSE_S)
            return None

    return act


class Server:
    """Serves one application on one listening socket, until it is told to stop."""

    def __init__(
        self,
        application: Callable[..., Any],
        listening: socket.socket,
        settings: Settings,
        at_end: Callable[[], object] = lambda: None,
        grace_s: float = GRACE_S,
    ) -> None:
        """``at_end`` ends what would keep requests in flight, when the server is told to stop."""
        server = cast(  # its types leave out what its own run() uses
            "Any",
            create_server(
                application,
                sockets=[listening],
                threads=settings.threads,
                max_request_body_size=settings.max_upload_bytes + 1,  # refused from there on
                max_request_header_size=MAX_HEADER_BYTES,
                channel_timeout=IDLE_S,
                connection_limit=MAX_CONNECTIONS,
                cleanup_interval=5,
                asyncore_use_poll=True,
                ident=None,
            ),
        )
        server.accept = _patient(server.accept)
        self._waitress = server
        self._waitress.channel_class = Channel
        self._waitress.draining = False
        self._stopping = False
        self._at_end = at_end
        self._grace_s = grace_s

    def stop(self) -> None:
        """End ``run`` soon.  Safe to call from any thread, and from a signal handler."""
        if not self._stopping:
            self._stopping = True
            self._waitress.pull_trigger()

    def stop_on(self, *signals: signal.Signals) -> None:
        """Stop when the process receives one of the signals."""
        for number in signals:
            signal.signal(number, lambda *_: self.stop())

    def run(self) -> None:
        """Serve; then accept nothing more, and leave nobody who is connected without an answer."""
        while not self._stopping:
            self._turn(1.0)
        self._drain()
        self._waitress.task_dispatcher.shutdown(timeout=0.1)
        wasyncore.close_all(self._waitress._map, ignore_all=True)  # noqa: SLF001 as its own close()

    def _drain(self) -> None:
        """Answer what is asked on the connections that there are, each a last time.

        A connection may have been made for a request that is not yet here, or be kept by a client
        that knows nothing of our end: closed at once, it would answer that request with a reset.
        Source: nginx, keepalive_min_timeout.
        """
        self._waitress.draining = True
        self._at_end()
        self._accept_the_last()
        began = time.monotonic()
        while self._waitress.active_channels:
            self._turn(0.05)
            spent_s = time.monotonic() - began
            if spent_s >= self._grace_s or (spent_s >= LINGER_S and not self._busy()):
                break

    def _accept_the_last(self) -> None:
        """Take up who has connected already; the next is another process's, if one listens too."""
        waiting = select.poll()
        waiting.register(self._waitress.socket, select.POLLIN)
        for _ in range(MAX_CONNECTIONS):
            if not waiting.poll(0):
                break
            self._waitress.handle_accept()
        wasyncore.dispatcher.close(self._waitress)

    def _turn(self, timeout: float) -> None:
        loop_map = self._waitress._map  # noqa: SLF001 as its own run()
        wasyncore.loop(timeout=timeout, use_poll=True, map=loop_map, count=1)

    def _busy(self) -> bool:
        channels = self._waitress.active_channels.values()
        return any(c.requests or c.request or c.total_outbufs_len for c in channels)
