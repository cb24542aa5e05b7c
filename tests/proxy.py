"""A TCP proxy before PostgreSQL that loses what the server says to a COMMIT."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

COMMIT = b"COMMIT\x00"


class CommitProxy:
    """Passes everything on, but for the COMMITs that it is told to spoil.

    ``lose``: the COMMIT goes through and the answer does not come; ``garble``: noise comes in its
    place; ``drop``: the COMMIT itself never arrives.
    """

    def __init__(self, host, port, at=0):
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", at))
        self.port = self._listening.getsockname()[1]
        self._fault = None
        self._passing = 0
        self.commits = self.spoilt = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def spoil(self, fault, after=0):
        """Spoil the next COMMIT of any connection, or let some pass before; None: no more."""
        self._passing = after
        self._fault = fault

    def close(self):
        self._listening.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                for connection in (client, server):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                link = _Link(client, server)
                threading.Thread(target=self._upward, args=(link,), daemon=True).start()
                threading.Thread(target=link.downward, daemon=True).start()

    def _upward(self, link):
        with suppress(OSError):
            while data := link.client.recv(65536):
                self.commits += COMMIT in data
                if COMMIT in data and self._fault and self._passing:
                    self._passing -= 1
                elif COMMIT in data and self._fault:
                    link.fault, self._fault = self._fault, None
                    self.spoilt += 1
                    if link.fault == "drop":
                        break
                link.server.sendall(data)
        link.close()


class _Link:
    """Both ends of a connection."""

    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.fault = None

    def downward(self):
        with suppress(OSError):
            while data := self.server.recv(65536):
                if self.fault == "garble":
                    self.client.sendall(b"\x00\xffnoise" * 7)
                if self.fault:
                    break
                self.client.sendall(data)
        self.close()

    def close(self):
        for connection in (self.client, self.server):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
