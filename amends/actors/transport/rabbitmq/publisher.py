"""The publisher: what is to be sent waits here until the broker has confirmed it.

Actors leave messages in any thread; the connection's thread hands them over, many at a time,
without waiting for one to be confirmed before the next. What was not confirmed when a connection
ended is handed over again on the next one, so it may arrive twice. What is kept is bounded: when
the broker is slow or gone, whatever does not fit is dropped and counted, and its saga sends again.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, Final

import pika

from amends.actors.transport.rabbitmq.counters import Counters
from amends.actors.transport.rabbitmq.queues import Queues
from amends.actors.transport.wire import Envelope
from amends.supervisor import telemetry

WINDOW: Final = 1000
"""Messages that may be on their way to the broker, not confirmed."""

DECLINED_S: Final = 0.2
"""How long after the broker has declined a message it is handed over again, in seconds."""

SCHEMA_HEADER: Final = "amends-schema"

Wake = Callable[[Callable[[], None]], None]
"""Has something called soon in the connection's thread."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait to be confirmed.

    Attributes:
        messages, bytes: of them together, and of their bodies.
    """

    messages: int
    bytes: int


class Publish:
    """A message for a queue.

    Attributes:
        declared: whether the queue is declared by who sends.
        then: called, in the connection's thread, once the broker has confirmed it.
    """

    __slots__ = ("body", "declared", "properties", "queue", "then")

    def __init__(
        self, queue: str, body: bytes, properties: Any, *, declared: bool, then: Callable[[], None] | None = None
    ) -> None:
        self.queue = queue
        self.body = body
        self.properties = properties
        self.declared = declared
        self.then = then


@cache
def properties_of(kind: object, schema: object, reply_to: object) -> Any:
    """What stands beside a body; made once for all that have the same."""
    return pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        type=kind,
        reply_to=reply_to,
        headers={SCHEMA_HEADER: schema},
    )


def publish(queue: str, envelope: Envelope, *, declared: bool) -> Publish:
    """An envelope for a queue."""
    properties = properties_of(envelope.kind, envelope.schema, envelope.reply_to)
    return Publish(queue, envelope.body, properties, declared=declared)


class Publisher:
    """The way out; an address that is told `Publish`."""

    name = "rabbitmq"

    def __init__(self, broker: str, queues: Queues, limits: Limits, counters: Counters, wake: Wake) -> None:
        self._broker = broker
        self._queues = queues
        self._limits = limits
        self._counters = counters
        self._wake = wake
        self._waiting: deque[Publish] = deque()
        # Guards the counts, which every sender's thread changes; held for a few instructions.
        self._counting = threading.Lock()
        self._kept = 0
        self._kept_bytes = 0
        self._woken = False
        self._is_full = False
        # From here on the connection's thread only.
        self._channel: Any = None
        self._connection: Any = None
        self._blocked = False
        self._declined = False
        self._tag = 0
        self._unconfirmed: dict[int, Publish] = {}
        self._declared: set[str] = set()
        self._on_empty: Callable[[], None] | None = None

    @property
    def kept(self) -> int:
        """Messages that wait to be handed over or confirmed."""
        return self._kept

    # In any thread.

    def tell(self, message: object) -> None:
        """Leave a message; it is dropped if it does not fit."""
        assert isinstance(message, Publish)
        self.keep(message, at_all_costs=False)

    def keep(self, message: Publish, *, at_all_costs: bool) -> None:
        """`tell`; at all costs is for what the sender bounds otherwise."""
        size = len(message.body)
        with self._counting:
            fits = self._kept < self._limits.messages and self._kept_bytes + size <= self._limits.bytes
            if fits or at_all_costs:
                self._kept += 1
                self._kept_bytes += size
                self._waiting.append(message)
                wakes, self._woken = not self._woken, True
            else:
                self._counters.dropped += 1
                # Once, and again only when there was room in between.
                if self._is_full:
                    return
                self._is_full = True
        if not (fits or at_all_costs):
            telemetry.log.error(telemetry.MESSAGE_DROPPED, broker=self._broker, waiting=self._kept)
        elif wakes:
            self._wake(self._pump)

    # In the connection's thread.

    def connected(self, connection: Any, channel: Any) -> None:
        """Begin on a new channel, with what the last one left unconfirmed."""
        self._connection, self._channel = connection, channel
        self._tag = 0
        self._declared.clear()
        channel.add_on_return_callback(self._on_returned)
        self._pump()

    def on_confirm(self, frame: Any) -> None:
        """The broker has taken messages on, or declined them."""
        method = frame.method
        if method.multiple:
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._unconfirmed))
        else:
            tags = [method.delivery_tag]
        messages = [self._unconfirmed.pop(tag) for tag in tags if tag in self._unconfirmed]
        if isinstance(method, pika.spec.Basic.Nack):
            self._hand_over_later(messages)
            return
        self._counters.confirmed += len(messages)
        with self._counting:
            self._kept -= len(messages)
            self._kept_bytes -= sum(len(message.body) for message in messages)
            if 2 * self._kept <= self._limits.messages and 2 * self._kept_bytes <= self._limits.bytes:
                self._is_full = False
        for message in messages:
            if message.then is not None:
                message.then()
        self._pump()
        if self._kept == 0 and self._on_empty is not None:
            self._on_empty()

    def disconnected(self) -> None:
        """The connection is gone: nobody knows what became of that which was not confirmed."""
        self._channel = self._connection = None
        self._blocked = self._declined = False
        left = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        self._counters.republished += len(left)
        self._waiting.extendleft(reversed(left))

    def block(self, *, blocked: bool) -> None:
        """The broker takes nothing for now, or again."""
        self._blocked = blocked
        self._pump()

    def when_empty(self, then: Callable[[], None]) -> None:
        """Call `then` once everything is confirmed."""
        self._on_empty = then
        if self._kept == 0:
            then()

    def _pump(self) -> None:
        """Hand over as much as may be on its way."""
        self._woken = False
        while self._waiting and self._is_taken and len(self._unconfirmed) < WINDOW:
            self._hand_over(self._waiting.popleft())

    @property
    def _is_taken(self) -> bool:
        """Whether the broker takes messages now."""
        return self._channel is not None and self._channel.is_open and not (self._blocked or self._declined)

    def _hand_over(self, message: Publish) -> None:
        # First, so that an error on the way leaves it among what is handed over again.
        self._tag += 1
        self._unconfirmed[self._tag] = message
        if message.declared and message.queue not in self._declared:
            self._declare(message.queue)
        self._channel.basic_publish("", message.queue, message.body, message.properties, mandatory=True)
        self._counters.published += 1

    def _declare(self, queue: str) -> None:
        self._declared.add(queue)
        if queue not in self._queues.as_they_are:
            # Without a callback pika does not wait for the answer, so what is published next comes right behind it.
            self._channel.queue_declare(queue, durable=True, arguments=self._queues.arguments(queue))

    def _on_returned(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """There was no such queue; its confirm comes all the same, after this."""
        queue = method.routing_key
        self._counters.returned += 1
        telemetry.log.warning(telemetry.MESSAGE_RETURNED, queue=queue)
        if queue in self._declared:
            # Somebody has deleted it meanwhile.
            self._declared.discard(queue)
            self._queues.as_they_are.discard(queue)
            self.keep(Publish(queue, body, properties, declared=True), at_all_costs=True)

    def _hand_over_later(self, messages: list[Publish]) -> None:
        self._counters.republished += len(messages)
        self._waiting.extendleft(reversed(messages))
        self._declined = True

        def again() -> None:
            self._declined = False
            self._pump()

        self._connection.ioloop.call_later(DECLINED_S, again)
