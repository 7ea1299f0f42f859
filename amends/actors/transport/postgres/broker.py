"""PostgreSQL as a transport: a row for every message, which whoever serves its queue takes, and deletes when done.

For systems that have a PostgreSQL and no broker. Messages leave once the sender's turn has
settled, as with any transport: what an actor is given to tell is an `Out`, and its address the
pump. Also what goes from a node to a service beside it goes through the server, where any other
instance of that service may take it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from amends.actors import postgres
from amends.actors.transport.buffer import Buffer, Limits
from amends.actors.transport.counters import Counters, LineStatus, counted
from amends.actors.transport.port import Delivery
from amends.actors.transport.postgres.pump import Pump, Reads
from amends.actors.transport.postgres.tables import Out, node_queue, service_queue
from amends.actors.transport.taking import Taking
from amends.actors.transport.wire import encode_message, encode_reply
from amends.protocol.errors import AmendsError, InputError, StorageError
from amends.protocol.messages import Message, Reply, SagaId
from amends.supervisor.mailbox import Address, Inbox
from amends.supervisor.runtime import Clock

SCHEMA = "amends_queue"


@dataclass(frozen=True)
class PostgresQueue:
    """Where the queue is, and how it is used; for `System(broker=...)`.

    Attributes:
        url: as in `postgresql://user:password@host:5432/database?schema=amends_queue`; the schema, which is made if it
            is not there and has nothing else in it, is the same in all processes that belong together.
        prefetch: commands a service may have in its mailbox.
        replies: the same for the replies to this node.
        buffer, buffer_bytes: messages, and bytes of them, that may wait to be written; more are dropped and counted.
    """

    url: str = field(repr=False)
    prefetch: int = 200
    replies: int = 1000
    buffer: int = 10_000
    buffer_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        try:
            postgres.target(self.url, SCHEMA)
        except StorageError as error:
            raise InputError("PostgresQueue", "url", str(error)) from None
        for name in ("prefetch", "replies", "buffer", "buffer_bytes"):
            if getattr(self, name) < 1:
                raise InputError("PostgresQueue", name, f"found {getattr(self, name)!r}, wanted at least 1")

    def connect(
        self, node: str, services: Mapping[str, Inbox], sagas: Mapping[SagaId, Address], clock: Clock
    ) -> "PostgresQueueLine":
        return PostgresQueueLine(self, node, services, sagas, clock)


class PostgresQueueLine:
    """The transport of one process."""

    def __init__(
        self,
        settings: PostgresQueue,
        node: str,
        services: Mapping[str, Inbox],
        sagas: Mapping[SagaId, Address],
        clock: Clock,
    ) -> None:
        self._node = node_queue(node) if node else None
        self._counters = counters = Counters()
        self._taking = taking = Taking(sagas, counters)
        place = postgres.target(settings.url, SCHEMA)
        limits = Limits(settings.buffer, settings.buffer_bytes)
        self._buffer: Buffer[Out] = Buffer(place.name, limits, counters, clock)
        reads = {
            service_queue(name): Reads(taking.for_service(name, inbox), settings.prefetch)
            for name, inbox in services.items()
        }
        if self._node:
            reads[self._node] = Reads(taking.for_node(), settings.replies)
        self._pump = Pump(place, reads, self._node, self._buffer, counters, clock)

    @property
    def full(self) -> str:
        return self._buffer.full

    def to_service(self, message: Message) -> Iterable[Delivery]:
        if not self._node:
            raise AmendsError("node: this process has no name to which replies could come; wanted one")
        envelope = encode_message(message, self._node)
        return ((self._pump, Out(service_queue(message.service), envelope, message.attempt > 1)),)

    def to_saga(self, reply: Reply) -> Iterable[Delivery]:
        if not reply.reply_to:
            return ()  # nobody asked: the service undid it of its own accord
        return ((self._pump, Out(reply.reply_to, encode_reply(reply))),)

    def open(self) -> None:
        self._pump.open()

    def pause(self) -> None:
        self._taking.pause()

    def close(self, timeout_s: float) -> None:
        self._pump.close(timeout_s)

    def wait_until_ready(self, timeout_s: float) -> bool:
        return self._pump.ready.wait(timeout_s)

    def status(self) -> LineStatus:
        ready, waiting = self._pump.ready.is_set(), self._buffer.kept
        return LineStatus(ready=ready, full=self.full, waiting=waiting, **counted(self._counters))
