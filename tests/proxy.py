"""TCP proxies before a server: one can fall silent, one loses what is said to a COMMIT."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

COMMIT = b"COMMIT\x00"


class Proxy:
    """Passes everything on."""

    def __init__(self, host, port, at=0):
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", at))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listening.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                link = _Link(client, socket.create_connection(self._server))
                for way in (self._upward, self._downward):
                    threading.Thread(target=self._carry, args=(way, link), daemon=True).start()

    def _carry(self, way, link):
        with suppress(OSError):
            way(link)
        link.close()

    def _upward(self, link):
        self._pass(link.client, link.server)

    def _downward(self, link):
        self._pass(link.server, link.client)

    def _pass(self, source, sink):
        while data := source.recv(65536):
            sink.sendall(data)


class StallingProxy(Proxy):
    """Lets nothing through between ``stall`` and ``heal``; connections stay open."""

    def __init__(self, host, port):
        self._flows = threading.Event()
        self._flows.set()
        super().__init__(host, port)

    def stall(self):
        self._flows.clear()

    def heal(self):
        self._flows.set()

    def close(self):
        self.heal()
        super().close()

    def _pass(self, source, sink):
        while data := source.recv(65536):
            self._flows.wait()
            sink.sendall(data)


class CommitProxy(Proxy):
    """Spoils the COMMITs of a PostgreSQL's clients that it is told to spoil.

    ``lose``: the COMMIT goes through and the answer does not come; ``garble``: noise comes in its
    place; ``drop``: the COMMIT itself never arrives.
    """

    def __init__(self, host, port, at=0):
        self._fault = None
        self._passing = 0
        self.commits = self.spoilt = 0
        super().__init__(host, port, at)

    def spoil(self, fault, after=0):
        """Spoil the next COMMIT of any connection, or let some pass before; None: no more."""
        self._passing = after
        self._fault = fault

    def _upward(self, link):
        while data := link.client.recv(65536):
            self.commits += COMMIT in data
            if COMMIT in data and self._fault and self._passing:
                self._passing -= 1
            elif COMMIT in data and self._fault:
                link.fault, self._fault = self._fault, None
                self.spoilt += 1
                if link.fault == "drop":
                    return
            link.server.sendall(data)

    def _downward(self, link):
        while data := link.server.recv(65536):
            if link.fault == "garble":
                link.client.sendall(b"\x00\xffnoise" * 7)
            if link.fault:
                return
            link.client.sendall(data)


class _Link:
    """Both ends of a connection."""

    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.fault = None
        for connection in (client, server):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        for connection in (self.client, self.server):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
