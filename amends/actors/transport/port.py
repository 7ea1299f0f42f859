"""The port: where a message or a reply has to be left so that it arrives, at least once if all goes well.

A message may be lost, doubled, late or overtaken; sagas send again and fences make up for it. A
transport that leads out of the process is a line, and a broker makes it.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from amends.actors.transport.counters import LineStatus
from amends.protocol.messages import Message, Reply, SagaId
from amends.supervisor.mailbox import Address, Inbox
from amends.supervisor.runtime import Clock

Delivery = tuple[Address, object]


class Transport(Protocol):
    """Says whom to tell what, so that the actor that sends keeps it in its outbox until its turn has settled."""

    @property
    def full(self) -> str:
        """Why nothing new should be begun, as what was said before has not left yet; empty if it may be."""
        ...

    def to_service(self, message: Message) -> Iterable[Delivery]:
        """What to leave where, for a service to get `message`."""
        ...

    def to_saga(self, reply: Reply) -> Iterable[Delivery]:
        """What to leave where, for a saga to get `reply`; nothing if it has ended."""
        ...


class Line(Transport, Protocol):
    """A transport with an end in other processes."""

    def open(self) -> None:
        """Begin to send and to receive, now or as soon as the other side can be reached."""
        ...

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Whether it is connected, now or within that time."""
        ...

    def status(self) -> LineStatus:
        """How it goes, in any thread."""
        ...

    def pause(self) -> None:
        """Give services nothing more; replies still come. What else comes goes to somebody else once this is closed."""
        ...

    def close(self, timeout_s: float) -> None:
        """Send what waits, for as long as that, and end. What was received and not settled comes to somebody else."""
        ...


class Broker(Protocol):
    """Carries messages between processes."""

    def connect(self, node: str, services: Mapping[str, Inbox], sagas: Mapping[SagaId, Address], clock: Clock) -> Line:
        """The line of one process, not opened yet.

        Args:
            node: the name under which replies come back to this process, which no other one may have; empty for one
                that has services only.
            services: those that are served here, by name.
            sagas: the open instances of this process; it changes while the line is open.
        """
        ...
