"""A wire that can be cut: stands between a client and its server, and does what networks do."""

import socket
import threading
from contextlib import suppress
from typing import Self


class Proxy:
    """Passes on what comes, until told otherwise.

    Attributes:
        refuses: connections are ended as soon as they are made.
        swallows: replies of the server are thrown away.
        swallowed: set once one was.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self.refuses = False
        self.swallows = False
        self.swallowed = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def cut(self) -> None:
        """End every connection there is."""
        # Not those that are made from now on.
        for end in tuple(self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for end in self._sockets:
            end.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuses:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                self._start(self._pass_on, client, server, False)
                self._start(self._pass_on, server, client, True)

    def _pass_on(self, source: socket.socket, drain: socket.socket, replies: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if replies and self.swallows:
                    self.swallowed.set()
                else:
                    drain.sendall(data)
        with suppress(OSError):
            drain.shutdown(socket.SHUT_RDWR)
