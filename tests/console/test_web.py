"""What a program answers over HTTP, and what it does not put up with."""

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from amends import AmendsError, InputError, Refused, System, SystemStopped
from amends.actors import tree
from amends.console import process, web
from amends.console.api import Api
from amends.console.web import BODY_MAX, WebServer
from amends.supervisor.intensity import RestartWindow
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, until
from tests.actors.test_changed_plans import FreeTrip
from tests.actors.trip import LONG_S, BookTrip, Script

JSON = {"Content-Type": "application/json"}


class Client:
    """Asks one server."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] = JSON) -> tuple[int, Any]:
        """Status and body of the answer; a body of bytes goes as it is."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = HTTPConnection(self.host, self.port, timeout=LONG_S)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def start(self, key: str, name: object = None, **rest: Any) -> tuple[int, Any]:
        """Start a trip."""
        return self.ask("POST", "/sagas/book-trip", {"key": key, "input": {"name": name or key}} | rest)

    def raw(self, content: bytes) -> bytes:
        """What comes back until the connection ends."""
        with socket.create_connection((self.host, self.port), LONG_S) as connection:
            connection.sendall(content)
            answer = b""
            while data := connection.recv(65536):
                answer += data
            return answer


class Served:
    """A system, and a client of its server."""

    def __init__(self, system: System, api: Api, client: Client, gate: Gate, held: Gate) -> None:
        self.system, self.api, self.client, self.gate, self.held = system, api, client, gate, held


@pytest.fixture
def served(booking: OpenSystem) -> Iterator[Served]:
    """Trips wait for their tickets at the gate; two may be open at once."""
    gate, held = Gate(), Gate()
    held.is_open = True
    system = booking(
        Script(seat=held, ticket=gate, fare=lambda _, name: Refused("no money") if name == "poor" else None), max_open=2
    )
    api = Api(system, [BookTrip])
    with WebServer("0", api) as server:
        yield Served(system, api, Client(server.address), gate, held)


def test_start_and_its_outcome(served: Served) -> None:
    """Accepted at first, with the outcome once there is one, and the same instance whenever the key is the same."""
    status, accepted = served.client.start("a")
    assert (status, set(accepted)) == (201, {"saga_id"})
    served.gate.is_open = True
    status, answer = served.client.start("a", wait_s=LONG_S)
    results = {"seat": "seat of a", "fare": 7, "ticket": "ticket of a"}
    assert (status, answer) == (200, accepted | {"outcome": {"kind": "completed", "results": results}})
    _, answer = served.client.start("poor", wait_s=LONG_S)
    assert answer["outcome"] == {"kind": "compensated", "step": "fare", "reason": "no money"}


def test_what_became_of_a_key(served: Served) -> None:
    """While it is open, and when it has ended; its input is not told."""
    client = served.client
    _, accepted = client.start("a/b 1")
    path = "/sagas/book-trip/a%2Fb%201"
    assert client.ask("GET", path)[1].items() >= (accepted | {"state": "open"}).items()
    served.gate.is_open = True
    _, answer = client.start("a/b 1", wait_s=LONG_S)
    assert client.ask("GET", path) == (200, answer | {"state": "completed"})
    assert client.ask("GET", "/sagas/book-trip/nobody") == (
        404,
        {"error": "no instance of saga 'book-trip' has that key"},
    )
    assert client.ask("GET", "/sagas/nothing/a")[0] == 404


def test_cancel(served: Served) -> None:
    """Before the decision it is a promise, after it nothing helps any more, and in the end there is nothing to do."""
    client = served.client
    served.held.is_open = False
    client.start("a")
    assert client.ask("POST", "/sagas/book-trip/a/cancel", {})[1]["answer"] == "accepted"
    until(lambda: client.ask("GET", "/sagas/book-trip/a")[1]["state"] == "compensated")
    assert client.ask("POST", "/sagas/book-trip/a/cancel", {})[1]["answer"] == "already ended"
    served.held.is_open = True
    client.start("b")
    until(lambda: "decided" in client.ask("GET", "/sagas/book-trip/b")[1])
    assert client.ask("POST", "/sagas/book-trip/b/cancel", {})[1]["answer"] == "too late"
    assert client.ask("POST", "/sagas/book-trip/c/cancel", {})[0] == 404


def test_new_instances_get_the_newest_version(served: Served) -> None:
    """Whatever the order in which the classes are listed."""
    api = Api(served.system, [FreeTrip, BookTrip])
    answer = api.answer("POST", "/sagas/book-trip", b'{"key": "a", "input": {"name": "a"}}')
    assert answer == (500, {"error": "saga 'book-trip' version 2 is not one of this system's"})


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"key": "a", "input": {"name": 5}}, "$.input.name", "Expected `str`, got `int`"),
        ({"key": "a", "input": {}}, "$.input", "`name`"),
        ({"key": "a", "input": {"name": "a"}, "wait_s": 1e9}, "$.wait_s", "<= 60"),
        ({"key": 4111, "input": {"name": "a"}}, "$.key", "Expected `str`"),
        ({"input": {"name": "a"}}, "$", "`key`"),
        ({"key": "a", "input": {"name": "a"}, "wait": 1}, "$", "`wait`"),
        (b"{", "$", "truncated"),
    ],
)
def test_input_that_does_not_fit(served: Served, body: object, field: str, told: str) -> None:
    """The field is named, and nothing is started."""
    status, answer = served.client.ask("POST", "/sagas/book-trip", body)
    assert (status, answer["field"], told in answer["error"]) == (400, field, True), answer
    assert served.system.status().open == 0


def test_starts_that_are_not_taken(served: Served) -> None:
    """Each has the status that says what to do about it."""
    client = served.client
    assert client.ask("POST", "/sagas/nobody", {"key": "a", "input": {}})[0] == 404
    assert client.start("a")[0] == 201
    assert client.start("a", "somebody else")[0] == 409
    assert client.start("b")[0] == 201
    assert client.start("c")[0] == 429
    served.system.stop()
    assert client.start("d")[0] == 503


def test_caller_who_waits_while_the_system_stops(served: Served) -> None:
    """His start is accepted, and goes on later; that is what he hears."""
    answers: list[tuple[int, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(served.client.start("a", wait_s=LONG_S)))
    asking.start()
    until(lambda: served.system.status().open == 1)
    served.system.stop()
    asking.join(LONG_S)
    assert [status for status, _ in answers] == [201]


def test_instance_that_can_not_go_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id and why."""

    class Handle:
        """Of an instance whose history can't be read."""

        def accepted(self, timeout_s: float) -> str:
            return "an-id"

        def result(self, timeout_s: float) -> None:
            raise AmendsError("its records are damaged")

    monkeypatch.setattr(served.system, "submit", lambda *_, **__: Handle())
    assert served.client.start("a") == (500, {"saga_id": "an-id", "error": "its records are damaged"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/sagas/book-trip/a/b", 404),
        ("POST", "/sagas/book-trip/a", 405),
        ("POST", "/health", 405),
        ("GET", "/sagas/book-trip", 405),
    ],
)
def test_paths_that_lead_nowhere(served: Served, method: str, path: str, status: int) -> None:
    """JSON like every other answer."""
    found, answer = served.client.ask(method, path, {} if method == "POST" else None)
    assert (found, set(answer)) == (status, {"error"})


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["POST /sagas/book-trip HTTP/1.1"], 411),
        (["POST /sagas/book-trip HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 5"], 411),
        (["POST /sagas/book-trip HTTP/1.1", "Content-Length: -5"], 400),
        (["POST /sagas/book-trip HTTP/1.1", f"Content-Length: {BODY_MAX + 1}"], 413),
        (["POST /sagas/book-trip HTTP/1.1", f"Content-Length: {'9' * 5000}"], 413),
        (["POST /sagas/book-trip HTTP/1.1", "Content-Length: 2", "Content-Type: text/plain"], 415),
        (["GET /health HTTP/1.1", f"Content-Length: {BODY_MAX + 1}"], 413),
        (["PUT /health HTTP/1.1"], 501),
    ],
)
def test_requests_that_are_not_read(served: Served, lines: list[str], status: int) -> None:
    """They are answered in JSON, and the connection ends, since nobody knows where the next one would begin."""
    head, _, content = served.client.raw("\r\n".join([*lines, "", ""]).encode()).partition(b"\r\n\r\n")
    assert head.split()[1:2] == [str(status).encode()]
    assert set(json.loads(content)) == {"error"}


def test_a_silent_connection_is_ended(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the middle of a body, which nobody then acts on."""
    monkeypatch.setattr(web._Handler, "timeout", 0.05)
    begun = b"POST /sagas/book-trip HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    assert served.client.raw(begun) == b""
    assert served.client.raw(b"") == b""


def test_more_connections_than_there_may_be(served: Served) -> None:
    """Are closed at once, and those that were there are served."""
    client = served.client
    several = [socket.create_connection((client.host, client.port), LONG_S) for _ in range(web.CONNECTIONS_MAX)]
    with pytest.raises(OSError):  # noqa: PT011 - an end may come in several ways
        client.ask("GET", "/health")
    several[0].sendall(b"GET /health HTTP/1.1\r\n\r\n")
    assert several[0].recv(12) == b"HTTP/1.1 200"
    for connection in several:
        connection.close()

    def is_served() -> bool:
        try:
            return client.ask("GET", "/health")[0] == 200
        except OSError:
            return False

    until(is_served)


def test_what_fails_is_logged_without_what_was_asked(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller hears that it failed, and the log says where."""

    def fail(*_: object) -> None:
        raise ValueError("4111 1111 1111 1111")

    monkeypatch.setattr(served.api, "answer", fail)
    assert served.client.ask("GET", "/health")[0] == 500
    assert "request.failed" in caplog.text
    assert "4111" not in caplog.text


def test_not_ready_while_a_database_can_not_be_written(served: Served) -> None:
    """The actor whose it is is named, with the reason."""
    ready = {"ready": True, "reasons": []}
    until(lambda: served.api.answer("GET", "/ready", b"") == (200, ready))
    journal = served.system._running.mailboxes["journal"].actor
    assert journal is not None
    journal._blocked = "the disk is full"  # type: ignore[attr-defined]  # as the journal says it itself
    assert served.client.ask("GET", "/ready") == (503, {"ready": False, "reasons": ["journal: the disk is full"]})
    assert served.client.ask("GET", "/status")[1]["blocked"] == {"journal": "the disk is full"}
    assert served.client.ask("GET", "/health")[0] == 200


@pytest.fixture
def brittle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first restart is one too many."""
    monkeypatch.setattr(tree, "ROOT_WINDOW", RestartWindow(intensity=0, period_s=60.0))


@pytest.mark.usefixtures("brittle")
def test_not_in_health_once_the_supervisors_gave_up(served: Served) -> None:
    """Nothing runs any more, and only a new start helps."""
    served.system.kill("timers")
    until(lambda: served.client.ask("GET", "/health")[0] == 503)
    assert served.client.ask("GET", "/ready")[0] == 503


@pytest.mark.usefixtures("brittle")
def test_program_ends_when_the_supervisors_gave_up(booking: OpenSystem) -> None:
    """Whoever started it starts it again; it does not stay on as a process that does nothing."""
    system = booking()
    system.stop()
    breaking = threading.Thread(target=lambda: until(lambda: _killed(system)))
    breaking.start()
    with pytest.raises(SystemStopped, match="gave up"):
        process.run("node", system, Api(system), None, drain_s=0.0)
    breaking.join(LONG_S)


def _killed(system: System) -> bool:
    try:
        system.kill("timers")
    except SystemStopped:
        return False
    return True


@pytest.mark.parametrize("at", ["", "nowhere", "127.0.0.1:", "127.0.0.1:70000", "[::1]:x"])
def test_place_that_is_none(served: Served, at: str) -> None:
    """What was found and what is wanted."""
    with pytest.raises(InputError, match=r"wanted HOST:PORT or PORT"):
        WebServer(at, served.api)


def test_place_that_is_taken(served: Served) -> None:
    """It is named."""
    at = f"{served.client.host}:{served.client.port}"
    with pytest.raises(AmendsError, match=f"http: can't listen at {at}"):
        WebServer(at, served.api)
