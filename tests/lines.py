"""Ends of a transport for tests: services and sagas that note what they are told, and somebody who sends."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from amends.actors.transport.port import Broker, Delivery, Line, Transport
from amends.protocol.messages import Answer, Do, Done, Message, Reply, Resolve, SagaId, Undo
from amends.supervisor.actor import Actor, spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from tests.supervisor.probe import WAIT_S, Kept

SAGA = SagaId("0192f0c1")
ONE = Done(msgspec.Raw(b"1"))


class Reader(Actor):
    """Passes on what it is told, once its turn has settled."""

    registered = False

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self._kept = kept

    def on_receive(self, message: object) -> None:
        self.tell(self._kept, message)


class Sender(Actor):
    """Tells in its turn what it is asked to."""

    registered = False

    def __init__(self, fails: Callable[[], bool]) -> None:
        super().__init__()
        self._fails = fails

    def on_receive(self, message: Any) -> None:
        for address, letter in message():
            self.tell(address, letter)

    def settle(self) -> None:
        if self._fails():
            raise OSError("it could not be written down")


class Ends:
    """Services and open instances on one pool, in one process or several.

    Attributes:
        node: the transport that sagas have.
        served: the transport that services have.
        boxes: the services' mailboxes.
        read: what each service and each instance was told, by name.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.node: Transport
        self.served: Transport
        self.boxes: dict[str, Mailbox] = {}
        self.sagas: dict[SagaId, Mailbox] = {}
        self.read: dict[str, Kept] = {}
        self.stack = ExitStack()
        self._senders: list[Mailbox] = []

    def reader(self, name: str) -> Mailbox:
        """A mailbox whose reader notes all of it."""
        box, kept = Mailbox(name, self.pool), Kept(name)
        self.read[name] = kept
        spawn(box, lambda: Reader(kept))
        return box

    def have(self, services: Iterable[str], sagas: Iterable[SagaId]) -> None:
        """Make the readers; others may come later."""
        self.boxes.update((name, self.reader(name)) for name in services)
        self.sagas.update((saga_id, self.reader(saga_id)) for saga_id in sagas)

    def sender(self, *, fails: Callable[[], bool] = lambda: False) -> Mailbox:
        """Somebody who sends what he is asked to, when his turn has settled."""
        box = Mailbox("sender", self.pool)
        spawn(box, lambda: Sender(fails))
        self._senders.append(box)
        return box

    def opened(self, line: Line) -> Line:
        """A line that is closed at the end."""
        line.open()
        self.stack.callback(line.close, WAIT_S)
        return line

    def close(self) -> None:
        """Close the lines, end the readers."""
        self.stack.close()
        for box in (*self.boxes.values(), *self.sagas.values(), *self._senders):
            if box.actor is not None:
                box.actor.retire()


def leave(deliveries: Iterable[Delivery]) -> None:
    """As an actor does whose turn has settled."""
    for address, letter in deliveries:
        address.tell(letter)


@contextmanager
def some_ends() -> Iterator[Ends]:
    """A service and an open instance that nothing joins yet."""
    pool = Pool(SystemClock())
    ends = Ends(pool)
    ends.have(("seats",), (SAGA,))
    yield ends
    ends.close()
    assert pool.stop(WAIT_S)


def a_node(ends: Ends, broker: Broker) -> Line:
    """A line for sagas, open."""
    ends.node = line = ends.opened(broker.connect("node", {}, ends.sagas, ends.pool.clock))
    return line


def a_service(ends: Ends, broker: Broker) -> Line:
    """A line for services, open."""
    ends.served = line = ends.opened(broker.connect("", ends.boxes, {}, ends.pool.clock))
    return line


def join_by(ends: Ends, broker: Broker) -> tuple[Line, Line]:
    """A node and a process with the services, joined by the broker."""
    lines = a_node(ends, broker), a_service(ends, broker)
    for line in lines:
        assert line.wait_until_ready(WAIT_S)
    return lines


def do(number: int = 1, service: str = "seats", **rest: Any) -> Do:
    """A command; `number` tells one from another."""
    said: dict[str, Any] = {
        "service": service,
        "saga_id": SAGA,
        "step": "seat",
        "attempt": number,
        "token": 7,
        "command": "TakeSeat",
        "payload": b'{"name":"Ada"}',
        "expires_at": 2_000_000_000.5,
    }
    return Do(**said | rest)


def undo(number: int = 1) -> Undo:
    """Its undo."""
    return Undo(service="seats", saga_id=SAGA, step="seat", attempt=number, token=7)


def resolve(number: int = 1) -> Resolve:
    """The question what became of it."""
    return Resolve(service="seats", saga_id=SAGA, step="seat", attempt=number, token=7)


def reply(
    to: Message,
    answer: Answer = ONE,
    phase: str = "do",
    saga_id: SagaId = SAGA,
) -> Reply:
    """An answer to a message, as a service gives it."""
    return Reply(saga_id, to.step, phase, to.attempt, answer, to.reply_to)
