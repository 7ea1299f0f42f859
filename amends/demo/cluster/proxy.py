"""A wire that can be cut: stands between a client and its server, and does what networks do."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

_CHUNK = 65_536


class Proxy:
    """Listens on a port of its own and passes on what comes, both ways, until told otherwise.

    Attributes:
        port: where it listens.
        swallows: replies of the server are thrown away.
        swallowed: set once one was.
        cuts: how often it cut because so many bytes had passed.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self.swallows = False
        self.swallowed = threading.Event()
        self.cuts = 0
        self._cut_every = self._cuts_most = 0
        self._passed = 0
        self._is_shut = False
        self._flows = threading.Event()
        self._flows.set()
        self._changing = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def cut(self) -> None:
        """End every connection there is."""
        with self._changing:
            self._cut()

    def cut_every(self, size: int, times: int) -> None:
        """Cut all connections whenever so many bytes have passed, as a network would: in the middle of something.

        Args:
            times: how often; what is under way is sent again after each, so that for ever could be too often.
        """
        self._cut_every, self._cuts_most = size, times

    def shut(self) -> None:
        """Cut all, and refuse whoever comes."""
        with self._changing:
            self._is_shut = True
            self._cut()

    def let_in(self) -> None:
        """Take connections again."""
        self._is_shut = False

    def hold(self) -> None:
        """Pass nothing on any more, and keep all connections open."""
        self._flows.clear()

    def release(self) -> None:
        """Pass on what was held up, and the rest."""
        self._flows.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.shut()
        self._flows.set()
        for thread in self._threads:
            thread.join(10)
        for end in self._sockets:
            end.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._changing:
                    self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            if self._is_shut:
                raise ConnectionRefusedError
            server = socket.create_connection(self._server)
        except OSError:
            client.close()
            return
        self._sockets += [client, server]
        self._start(self._pass_on, client, server, False)
        self._start(self._pass_on, server, client, True)

    def _pass_on(self, source: socket.socket, drain: socket.socket, replies: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._flows.wait()
                if replies and self.swallows:
                    self.swallowed.set()
                    continue
                kept = self._count(data)
                drain.sendall(data[:kept])
                if kept < len(data):  # the rest of it never arrives
                    self.cut()
        with suppress(OSError):
            drain.shutdown(socket.SHUT_RDWR)

    def _count(self, data: bytes) -> int:
        """How much of it passes before the connections are to be cut."""
        with self._changing:
            self._passed += len(data)
            if self.cuts >= self._cuts_most or self._passed <= self._cut_every:
                return len(data)
            too_much = self._passed - self._cut_every
            self._passed = 0
            self.cuts += 1
            return len(data) - too_much

    def _cut(self) -> None:
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
