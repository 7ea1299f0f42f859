"""A relay between a client and a server that a test can cut, close, and hold up."""

import selectors
import socket
import threading
from contextlib import suppress

_CHUNK = 65_536


class Proxy:
    """Listens on a port of its own and passes everything on, both ways.

    Attributes:
        port: where it listens.
        cuts: connections that were cut after so many bytes.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._cut_every: int | None = None
        self._open = True
        self._is_shut = False
        self._is_held = False
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._passed = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def cut_every(self, size: int | None) -> None:
        """Cut all connections whenever so many bytes have passed, as a network would: in the middle of something."""
        self._cut_every = size

    def shut(self) -> None:
        """Cut all, and refuse whoever comes."""
        with self._changing:
            self._is_shut = True
            self._cut()

    def let_in(self) -> None:
        """Take connections again."""
        self._is_shut = False

    def hold(self) -> None:
        """Pass nothing on, and keep all connections open."""
        self._is_held = True

    def close(self) -> None:
        self._open = False
        self._thread.join()
        self._cut()
        self._listener.close()
        self._selector.close()

    def _work(self) -> None:
        while self._open:
            for key, _ in self._selector.select(timeout=0.02):
                with self._changing:
                    self._serve(key.fileobj)

    def _serve(self, ready: object) -> None:
        if ready is self._listener:
            self._accept()
        elif isinstance(ready, socket.socket) and ready in self._pairs and not self._is_held:
            self._pass_on(ready)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._is_shut:
            client.close()
            return
        server = socket.create_connection(self._target)
        for one, other in ((client, server), (server, client)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        try:
            data = source.recv(_CHUNK)
            every = self._cut_every
            if every is not None and self._passed + len(data) >= every:
                # The rest of it never arrives.
                self._pairs[source].sendall(data[: every - self._passed])
                data = b""
                self.cuts += 1
            if not data:
                self._passed = 0
                self._cut()
                return
            self._passed += len(data)
            self._pairs[source].sendall(data)
        except OSError:
            self._cut()

    def _cut(self) -> None:
        pairs, self._pairs = self._pairs, {}
        for one in pairs:
            with suppress(KeyError):
                self._selector.unregister(one)
            one.close()
