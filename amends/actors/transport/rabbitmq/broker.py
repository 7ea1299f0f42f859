"""RabbitMQ as a transport: a durable queue for every service, one for the replies to every node.

Messages leave once the sender's turn has settled, as with any transport: what an actor is given
to tell is a `Publish`, and its address the publisher. A process may have services, a node, or
both; also what goes from a node to a service beside it goes through the broker, where any other
instance of that service may take it. When a command is acknowledged, `consumer` says; what
happens when the broker is slow or gone, `buffer`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pika

from amends.actors.transport.buffer import Buffer, Limits
from amends.actors.transport.counters import Counters, LineStatus, counted
from amends.actors.transport.port import Delivery
from amends.actors.transport.rabbitmq.connection import HEARTBEAT_S, Connection
from amends.actors.transport.rabbitmq.consumer import Consumer
from amends.actors.transport.rabbitmq.publisher import Publish, Publisher, publish
from amends.actors.transport.rabbitmq.queues import Queues
from amends.actors.transport.taking import Take, Taking
from amends.actors.transport.wire import encode_message, encode_reply
from amends.protocol.errors import AmendsError, InputError
from amends.protocol.messages import Message, Reply, SagaId
from amends.supervisor.mailbox import Address, Inbox
from amends.supervisor.runtime import Clock

_NAME_MAX = 100


@dataclass(frozen=True)
class RabbitMq:
    """Where the broker is, and how it is used; for `System(broker=...)`.

    Attributes:
        url: as in `amqp://user:password@host:5672/vhost`; what it may say beyond that is pika's `URLParameters`.
        prefix: what the names of all queues begin with, the same in all processes that belong together.
        prefetch: commands a service may have in its mailbox.
        replies: the same for the replies to this node.
        buffer, buffer_bytes: messages, and bytes of them, that may wait to be confirmed; more are dropped and counted.
    """

    url: str = field(repr=False)
    prefix: str = "amends"
    prefetch: int = 200
    replies: int = 1000
    buffer: int = 10_000
    buffer_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        # An address may have a password in it, so what was found is not told.
        try:
            pika.URLParameters(self.url)
        except Exception:  # noqa: BLE001 - what pika raises here has no common type
            raise InputError("RabbitMq", "url", "wanted an address as in amqp://user:password@host:5672") from None
        if not (self.prefix.isprintable() and 0 < len(self.prefix) <= _NAME_MAX):
            wanted = f"wanted a name of at most {_NAME_MAX} characters"
            raise InputError("RabbitMq", "prefix", f"found {self.prefix!r}, {wanted}")
        for name, ceiling in (("prefetch", 65_535), ("replies", 65_535), ("buffer", None), ("buffer_bytes", None)):
            number = getattr(self, name)
            if number < 1 or (ceiling is not None and number > ceiling):
                wanted = "at least 1" if ceiling is None else f"1 to {ceiling}"
                raise InputError("RabbitMq", name, f"found {number!r}, wanted {wanted}")

    def connect(
        self, node: str, services: Mapping[str, Inbox], sagas: Mapping[SagaId, Address], clock: Clock
    ) -> "RabbitMqLine":
        return RabbitMqLine(self, node, services, sagas, clock)


class RabbitMqStatus(LineStatus, frozen=True, kw_only=True):
    """A line at one moment.

    Attributes:
        blocked: the broker takes nothing for now (its disk or its memory is full).
    """

    blocked: bool


class RabbitMqLine:
    """The transport of one process."""

    def __init__(
        self,
        settings: RabbitMq,
        node: str,
        services: Mapping[str, Inbox],
        sagas: Mapping[SagaId, Address],
        clock: Clock,
    ) -> None:
        self._node = node
        self._taking = taking = Taking(sagas, counters := Counters())
        self._queues = queues = Queues(settings.prefix)
        self._counters = counters
        parameters = pika.URLParameters(settings.url)
        if parameters.heartbeat is None:
            parameters.heartbeat = HEARTBEAT_S
        name = f"amends {node or 'services'}"
        parameters.client_properties = {**(parameters.client_properties or {}), "connection_name": name}
        broker = f"{parameters.host}:{parameters.port}"
        self._connection = connection = Connection(broker, parameters, queues, counters, clock)
        limits = Limits(settings.buffer, settings.buffer_bytes)
        self._buffer: Buffer[Publish] = Buffer(broker, limits, counters, clock)
        self._publisher = connection.publisher = Publisher(queues, self._buffer, counters, connection.call)

        def consumer(queue: str, take: Take, prefetch: int, *, exclusive: bool) -> Consumer:
            return Consumer(
                queue, take, prefetch, queues, self._publisher, counters, connection.call, exclusive=exclusive
            )

        consumers = [
            consumer(queues.service(name), taking.for_service(name, inbox), settings.prefetch, exclusive=False)
            for name, inbox in services.items()
        ]
        if self._node:
            replies = taking.for_node()
            consumers.append(consumer(queues.node(self._node), replies, settings.replies, exclusive=True))
        connection.consumers = consumers

    # As the port wants it.

    @property
    def full(self) -> str:
        return self._buffer.full

    def to_service(self, message: Message) -> Iterable[Delivery]:
        if not self._node:
            raise AmendsError("node: this process has no name to which replies could come; wanted one")
        envelope = encode_message(message, self._queues.node(self._node))
        queue, again = self._queues.service(message.service), message.attempt > 1
        return ((self._publisher, publish(queue, envelope, declared=True, again=again)),)

    def to_saga(self, reply: Reply) -> Iterable[Delivery]:
        if not reply.reply_to:
            return ()  # nobody asked: the service undid it of its own accord
        return ((self._publisher, publish(reply.reply_to, encode_reply(reply), declared=False)),)

    def open(self) -> None:
        self._connection.open()

    def pause(self) -> None:
        self._taking.pause()

    def close(self, timeout_s: float) -> None:
        self._connection.close(timeout_s)

    def wait_until_ready(self, timeout_s: float) -> bool:
        return self._connection.ready.wait(timeout_s)

    def status(self) -> RabbitMqStatus:
        return RabbitMqStatus(
            ready=self._connection.ready.is_set(),
            full=self.full,
            waiting=self._buffer.kept,
            blocked=self._connection.blocked,
            **counted(self._counters),
        )
