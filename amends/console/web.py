"""HTTP for `api`, on the standard library's sockets: a thread for each connection, all of them daemons.

A connection that says nothing is ended, and none keeps the process alive or a drain waiting. What
comes is bounded: its size, and how many come at once. There is neither encryption nor a login, so
a server that listens to more than this machine belongs behind something that has both.
"""

import socket
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from amends.console.api import Answer, Api
from amends.protocol.errors import AmendsError, InputError
from amends.supervisor import telemetry
from amends.supervisor.actor import frames

BODY_MAX: Final = 1024 * 1024
"""Bytes a request's body may have."""

CONNECTIONS_MAX: Final = 100
"""Connections at once; more are closed as soon as they are made."""

SILENCE_S: Final = 10.0
"""How long a connection may keep its thread without sending or taking anything, in seconds."""

_LOOPBACK: Final = "127.0.0.1"
_PORT_MAX: Final = 65_535


class WebServer(ThreadingMixIn, TCPServer):
    """Listens from the moment it is made, and serves as long as it is entered.

    Args:
        at: HOST:PORT or PORT; without a host this machine alone can ask. Port 0 is any that is free.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 50

    def __init__(self, at: str, api: Api) -> None:
        host, port = _place(at)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.api = api
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._serving = threading.Thread(target=self.serve_forever, args=(0.1,), name="amends-http", daemon=True)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise AmendsError(f"http: can't listen at {at}: {error.strerror or error}") from None

    @property
    def address(self) -> str:
        """HOST:PORT as they are."""
        host, port, *_ = self.server_address
        return f"{host!s}:{port!s}"

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nobody is told of a connection that broke; what else goes wrong has been answered."""


class _Refused(Exception):  # noqa: N818 - reads as the fact it reports
    """What came can't be read, so neither can what follows it."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.answer = Answer(status, {"error": problem})


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "amends", ""
    timeout = SILENCE_S
    error_content_type = "application/json"
    error_message_format = '{"error": "HTTP %(code)d"}'
    server: WebServer

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: a path may have a key in it, and what matters is logged by the engine."""

    def _respond(self) -> None:
        try:
            body = self._body()
            answer = self.server.api.answer(self.command, self.path.partition("?")[0], body)
        except _Refused as refused:
            self.close_connection = True
            answer = refused.answer
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, this caller's alone
            place = frames(error.__traceback__)
            telemetry.log.error(telemetry.REQUEST_FAILED, error=type(error).__name__, traceback=place)
            answer = Answer(500, {"error": "it failed; the log says where"})
        self._send(answer)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0" if self.command == "GET" else "")
        if "Transfer-Encoding" in self.headers or not length:
            raise _Refused(411, "wanted a body with a Content-Length")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(400, "Content-Length: wanted a whole number")
        if len(length) > len(str(BODY_MAX)) or int(length) > BODY_MAX:
            raise _Refused(413, f"body: wanted at most {BODY_MAX} bytes")
        # Which a page in somebody's browser can't send to another site without asking it first.
        if self.command == "POST" and self.headers.get_content_type() != "application/json":
            raise _Refused(415, "Content-Type: wanted application/json")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("it ended within a body")
        return body

    def _send(self, answer: Answer) -> None:
        content = msgspec.json.encode(answer.body)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def _place(at: str) -> tuple[str, int]:
    host, _, port = at.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= _PORT_MAX):
        raise InputError("http", "port", f"found {at!r}, wanted HOST:PORT or PORT, with a port up to {_PORT_MAX}")
    return host.strip("[]") or _LOOPBACK, int(port)
