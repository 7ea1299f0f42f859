"""The publisher: what is to be sent waits here until the broker has confirmed it.

Actors leave messages in any thread; the connection's thread hands them over, many at a time,
without waiting for one to be confirmed before the next. What was not confirmed when a connection
ended is handed over again on the next one, so it may arrive twice. How much may wait, and what
becomes of the rest, is `buffer`'s to say.
"""

from collections.abc import Callable
from functools import cache
from itertools import takewhile
from typing import Any, Final

import pika

from amends.actors.transport.buffer import Buffer
from amends.actors.transport.counters import Counters
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


class Publish:
    """A message for a queue.

    Attributes:
        declared: whether the queue is declared by who sends.
        again: it says once more what was said before.
        then: called, in the connection's thread, once the broker has confirmed it.
    """

    __slots__ = ("again", "body", "declared", "properties", "queue", "then")

    def __init__(
        self,
        queue: str,
        body: bytes,
        properties: Any,
        *,
        declared: bool,
        again: bool = False,
        then: Callable[[], None] | None = None,
    ) -> None:
        self.queue = queue
        self.body = body
        self.properties = properties
        self.declared = declared
        self.again = again
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


def publish(queue: str, envelope: Envelope, *, declared: bool, again: bool = False) -> Publish:
    """An envelope for a queue."""
    properties = properties_of(envelope.kind, envelope.schema, envelope.reply_to)
    return Publish(queue, envelope.body, properties, declared=declared, again=again)


class Publisher:
    """The way out; an address that is told `Publish`."""

    name = "rabbitmq"

    def __init__(self, queues: Queues, buffer: Buffer[Publish], counters: Counters, wake: Wake) -> None:
        self._queues = queues
        self._buffer = buffer
        self._waiting = buffer.waiting
        self._counters = counters
        self._wake = wake
        self._woken = False
        # From here on the connection's thread only.
        self._channel: Any = None
        self._connection: Any = None
        self._blocked = False
        self._declined = False
        self._tag = 0
        self._unconfirmed: dict[int, Publish] = {}
        self._declared: set[str] = set()
        self._on_empty: Callable[[], None] | None = None

    # In any thread.

    def tell(self, message: object) -> None:
        """Leave a message; it is dropped if it does not fit."""
        assert isinstance(message, Publish)
        if self._buffer.put(message):
            self._wake_up()

    def tell_at_all_costs(self, message: Publish) -> None:
        """Leave a message that is bounded otherwise."""
        self._buffer.put_at_all_costs(message)
        self._wake_up()

    def _wake_up(self) -> None:
        if not self._woken:
            self._woken = True
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
        self._buffer.taken(messages)
        for message in messages:
            if message.then is not None:
                message.then()
        self._pump()
        if self._buffer.kept == 0 and self._on_empty is not None:
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
        if self._buffer.kept == 0:
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
            self.tell_at_all_costs(Publish(queue, body, properties, declared=True))

    def _hand_over_later(self, messages: list[Publish]) -> None:
        self._counters.republished += len(messages)
        self._waiting.extendleft(reversed(messages))
        self._declined = True

        def again() -> None:
            self._declined = False
            self._pump()

        self._connection.ioloop.call_later(DECLINED_S, again)
