"""The consumer: what comes from one queue, and when the broker may forget it.

A command is acknowledged once the service's turn that took it has settled: its effect and the
fence's row are committed then, or it is known that nothing was. So

- a process that dies with commands in hand loses none of them: the broker gives them to another
  instance of the service at once, where a saga would wait for its timeout first;
- no more than `prefetch` commands are in a service's mailbox, however many wait: that is the
  back-pressure of a slow service, and the rest stays where other instances can take it.

Waiting for the reply's own confirm would be no safer, since a reply that is lost is asked for
again and the fence has it; and a step that answers `Later`, or waits for a call outside, would
keep its place among the `prefetch` for as long as that takes, until none is left. When a reply
is done with, `taking` says.

A message that can't be read goes to the dead letters, with the reason, and is acknowledged
when it is confirmed to be there.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import pika

from amends.actors.transport.counters import Counters
from amends.actors.transport.rabbitmq.publisher import SCHEMA_HEADER, Publish, Publisher, Wake
from amends.actors.transport.rabbitmq.queues import Queues
from amends.actors.transport.taking import Receipt, Take
from amends.actors.transport.wire import Envelope
from amends.protocol.errors import InputError
from amends.supervisor import telemetry

_REASON_MAX = 500


class Consumer:
    """Reads one queue, on a channel of its own.

    Args:
        exclusive: nobody else may read it.
    """

    def __init__(
        self,
        queue: str,
        take: Take,
        prefetch: int,
        queues: Queues,
        publisher: Publisher,
        counters: Counters,
        wake: Wake,
        *,
        exclusive: bool,
    ) -> None:
        self.queue = queue
        self._take = take
        self._prefetch = prefetch
        self._queues = queues
        self._publisher = publisher
        self._counters = counters
        self._wake = wake
        self._exclusive = exclusive
        self._channel: Any = None
        # Which of the channels it has had: a delivery can only be acknowledged on its own.
        self._turn = 0
        self._receipts: deque[tuple[int, int]] = deque()
        self._woken = False
        self._settled: set[int] = set()
        self._acknowledged = 0

    def begin(self, channel: Any, on_reading: Callable[[], None]) -> None:
        """Read on a new channel."""
        self._channel = channel
        self._turn += 1
        self._settled.clear()
        self._acknowledged = 0
        self._woken = False
        if self._exclusive:
            # Quorum queues know no exclusive reader; this one belongs to a connection, and goes with it.
            channel.queue_declare(self._queues.owner(self.queue), exclusive=True, callback=lambda _: None)
        channel.basic_qos(prefetch_count=self._prefetch)
        # The broker too puts messages aside, so the place for them has to be there first.
        for queue in (self._queues.dead_letters, self.queue):
            if queue not in self._queues.as_they_are:
                arguments = self._queues.arguments(queue)
                channel.queue_declare(queue, durable=True, arguments=arguments, callback=lambda _: None)
        channel.basic_consume(self.queue, self._on_message, callback=lambda _: on_reading())

    def end(self) -> None:
        """The channel is gone, and the broker gives to somebody else what was not acknowledged."""
        self._channel = None

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._counters.delivered += 1
        self._counters.redelivered += method.redelivered
        receipt = partial(self._done, self._turn, method.delivery_tag)
        headers = properties.headers or {}
        envelope = Envelope(properties.type, headers.get(SCHEMA_HEADER), properties.reply_to, body)
        try:
            self._take(envelope, receipt)
        except InputError as error:
            self._bury(properties, body, str(error), receipt)

    def _bury(self, properties: Any, body: bytes, reason: str, receipt: Receipt) -> None:
        self._counters.unreadable += 1
        telemetry.log.error(telemetry.MESSAGE_REJECTED, queue=self.queue, reason=reason)
        schema = (properties.headers or {}).get(SCHEMA_HEADER)
        kept = pika.BasicProperties(
            content_type=properties.content_type,
            delivery_mode=2,
            type=properties.type,
            reply_to=properties.reply_to,
            headers={
                # What else may stand in a header can't always be written again.
                SCHEMA_HEADER: schema if type(schema) in (int, str) else None,
                "amends-reason": reason[:_REASON_MAX],
                "amends-queue": self.queue,
            },
        )
        letter = Publish(self._queues.dead_letters, body, kept, declared=True, then=receipt)
        # There are no more of them than may be delivered without an acknowledgement.
        self._publisher.tell_at_all_costs(letter)

    def _done(self, turn: int, tag: int) -> None:
        """In any thread: the reader is done with a delivery."""
        self._receipts.append((turn, tag))
        if not self._woken:
            self._woken = True
            self._wake(self._acknowledge)

    def _acknowledge(self) -> None:
        """Everything up to the first delivery that is still in hand, at one go."""
        self._woken = False
        while self._receipts:
            turn, tag = self._receipts.popleft()
            if turn == self._turn:
                self._settled.add(tag)
        upto = self._acknowledged
        while upto + 1 in self._settled:
            upto += 1
            self._settled.remove(upto)
        if upto > self._acknowledged and self._channel is not None and self._channel.is_open:
            self._acknowledged = upto
            self._channel.basic_ack(upto, multiple=True)
