"""The connection: one thread, one connection at a time, and a new one whenever it ends.

Everything of pika is called in that thread. Whatever goes wrong (a channel closed, a queue
deleted, the broker gone, a login refused) ends the connection, and the next one is tried after
a wait with full jitter, for as long as nobody closes it; how it comes to be whole again is
therefore always the same way. One connection both sends and receives: while the broker blocks it, a
service could not answer what it received anyway.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from pika.adapters.select_connection import IOLoop, SelectConnection

from amends.actors.transport.counters import Counters
from amends.actors.transport.rabbitmq.consumer import Consumer
from amends.actors.transport.rabbitmq.publisher import Publisher
from amends.actors.transport.rabbitmq.queues import Queues
from amends.protocol.retry import Retry, backoff_s
from amends.supervisor import telemetry
from amends.supervisor.runtime import Clock

RECONNECT: Final = Retry(base_s=0.2, cap_s=5.0)
_REASON_MAX: Final = 300
HEARTBEAT_S: Final = 15
"""How long a connection may be silent before it counts as gone, where the address does not say, in seconds."""

_READY_S: Final = 10.0
"""How long opening channels and queues may take: a broker that has just started may answer nothing to some of it."""

_FAREWELL_S: Final = 2.0
"""How long the broker has to answer a close, which one that has blocked us does not."""

# What pika has to say is said once more below; without a handler Python would print it.
logging.getLogger("pika").addHandler(logging.NullHandler())


class Connection:
    """Keeps a publisher and consumers connected.

    Attributes:
        ready: set while everything is open: it sends and all queues are read.
        blocked: the broker takes nothing for now.
    """

    def __init__(self, broker: str, parameters: Any, queues: Queues, counters: Counters, clock: Clock) -> None:
        self._broker = broker
        self._parameters = parameters
        self._queues = queues
        self._counters = counters
        self._clock = clock
        self.ready = threading.Event()
        self.blocked = False
        self._loop: Any = None
        self._connection: Any = None
        self._dialling: Any = None
        self._attempt = 0
        self._reason = ""
        self._unready = 0
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="amends-rabbitmq", daemon=True)
        self.publisher: Publisher
        self.consumers: Sequence[Consumer] = ()

    # In any thread.

    def open(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def call(self, what: Callable[[], None]) -> None:
        """Have something done in the connection's thread; nothing happens while it does not run."""
        loop = self._loop
        if loop is not None:
            loop.add_callback_threadsafe(what)

    def close(self, timeout_s: float) -> None:
        """Send what waits, then end."""
        self._closing = True
        if self._thread.is_alive():
            self.call(lambda: self._close_when_sent(timeout_s))
            self._thread.join(timeout_s + 5.0)

    # In its own thread.

    def _work(self) -> None:
        while True:
            self._loop = IOLoop()
            self._connect_later()
            try:
                self._loop.start()
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, a new connection on a new loop is the cure
                self._reason = f"{type(error).__name__} in its thread"
                connection, self._connection = self._connection, None
                _drop(connection)
                self._on_down()
                if self._closing:
                    break
        self._loop.close()

    def _connect_later(self) -> None:
        wait_s = backoff_s(RECONNECT, self._attempt, self._clock.chance()) if self._attempt else 0.0
        if self._attempt:
            telemetry.log.warning(
                telemetry.BROKER_LOST, broker=self._broker, reason=self._reason[:_REASON_MAX], again_s=round(wait_s, 3)
            )
        self._attempt += 1
        self._loop.call_later(wait_s, self._connect)

    def _connect(self) -> None:
        if self._closing:
            self._loop.stop()
            return
        self._dialling = SelectConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
            custom_ioloop=self._loop,
        )

    def _on_open(self, connection: Any) -> None:
        self._connection, self._dialling = connection, None
        self._counters.connections += 1
        self._unready = len(self.consumers)
        self._loop.call_later(_READY_S, partial(self._look_at, connection))
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        for consumer in self.consumers:
            self._open_channel(connection, partial(consumer.begin, on_reading=self._on_reading))
        if not self.consumers:
            self._open_channel(connection, self._begin_sending)

    def _open_channel(self, connection: Any, begin: Callable[[Any], None]) -> None:
        def on_open(channel: Any) -> None:
            channel.add_on_close_callback(self._on_channel_closed)
            channel.add_on_cancel_callback(lambda _: self._give_up("the broker cancelled the reading of a queue"))
            begin(channel)

        connection.channel(on_open_callback=on_open)

    def _look_at(self, connection: Any) -> None:
        if connection is self._connection and not self.ready.is_set():
            self._give_up(f"not ready after {_READY_S:g} s")

    def _on_reading(self) -> None:
        self._unready -= 1
        # Last of all: before the queue for the replies is there, an answer would find none.
        if self._unready == 0 and self._connection.is_open:
            self._open_channel(self._connection, self._begin_sending)

    def _begin_sending(self, channel: Any) -> None:
        def begin(_frame: Any) -> None:
            self._attempt = 0
            self.ready.set()
            telemetry.info(telemetry.BROKER_CONNECTED, broker=self._broker)
            self.publisher.connected(self._connection, channel)

        channel.confirm_delivery(self.publisher.on_confirm, callback=begin)

    def _on_channel_closed(self, _channel: Any, error: Exception) -> None:
        reason = str(error)
        self._queues.refused(reason)
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """A part of it has ended: the whole is begun anew."""
        connection = self._connection
        if connection is not None and connection.is_open:
            self._reason = reason
            self._part_from(connection)

    def _part_from(self, connection: Any) -> None:
        connection.close()
        self._loop.call_later(_FAREWELL_S, partial(_drop, connection))

    def _on_closed(self, connection: Any, error: BaseException) -> None:
        # Its own close is no reason; what led to it is.
        self._reason = self._reason or f"{type(error).__name__}: {error}"
        self._connection = self._dialling = None
        self._on_down()
        if self._closing:
            self._loop.stop()
        else:
            self._attempt = max(1, self._attempt)
            self._connect_later()
        self._reason = ""

    def _on_down(self) -> None:
        self.ready.clear()
        self.blocked = False
        self.publisher.disconnected()
        for consumer in self.consumers:
            consumer.end()

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self.blocked = True
        telemetry.log.warning(telemetry.BROKER_BLOCKED, broker=self._broker, reason=str(frame.method.reason))
        self.publisher.block(blocked=True)

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = False
        telemetry.info(telemetry.BROKER_UNBLOCKED, broker=self._broker)
        self.publisher.block(blocked=False)

    def _close_when_sent(self, timeout_s: float) -> None:
        if self._connection is None:
            if self._dialling is None:
                self._loop.stop()
            else:
                self._dialling.close()
            return
        self._loop.call_later(timeout_s, self._close_now)
        self.publisher.when_empty(self._close_now)

    def _close_now(self) -> None:
        connection = self._connection
        if connection is not None and connection.is_open:
            self._part_from(connection)


def _drop(connection: Any) -> None:
    """End a connection that can't be ended politely: no public method of pika does that."""
    transport = getattr(connection, "_transport", None)
    if transport is not None and not connection.is_closed:
        transport.abort()
