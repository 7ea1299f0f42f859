"""The pump: one thread with one connection that carries messages between the tables and their readers.

A turn sends what waits, settles what readers are done with and takes as much as they have room
for, in one statement; it is made when there is something to send or to settle, when the server
says that something has arrived, and every `LOOK_EVERY_S`, should such a word be lost. Whatever
goes wrong ends the connection, and the next one is tried after a wait with full jitter. What was
sent on one that was lost may have arrived, and is sent again.
"""

import os
import select
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import psycopg

from amends.actors import postgres
from amends.actors.transport.buffer import Buffer
from amends.actors.transport.counters import Counters
from amends.actors.transport.postgres.tables import Out, Session, Taken
from amends.actors.transport.taking import Take
from amends.protocol.errors import AmendsError, InputError
from amends.protocol.retry import Retry, backoff_s
from amends.supervisor import telemetry
from amends.supervisor.runtime import Clock

LOOK_EVERY_S: Final = 2.0
"""How often a reader says that it is there, and looks for messages and for readers that are gone, in seconds."""

BATCH: Final = 1000
"""Messages that one turn may send."""

_TIDY_EVERY_S: Final = 60.0
_RECONNECT: Final = Retry(base_s=0.2, cap_s=5.0)
_REASON_MAX: Final = 300


class Reads(NamedTuple):
    """How a queue is read.

    Attributes:
        prefetch: messages that may be in hand.
    """

    take: Take
    prefetch: int


class Pump:
    """Sends what is in a buffer, and reads queues.

    Attributes:
        name: as an address that is told `Out`.
        ready: set while it is connected, and its queues are read.
    """

    name = "postgres"

    def __init__(
        self,
        place: postgres.Target,
        reads: Mapping[str, Reads],
        alone: str | None,
        buffer: Buffer[Out],
        counters: Counters,
        clock: Clock,
    ) -> None:
        self.ready = threading.Event()
        self._place = place
        self._reads = reads
        self._alone = alone
        self._buffer = buffer
        self._counters = counters
        self._clock = clock
        self._settled: deque[tuple[int, str, int]] = deque()
        self._bell: socket.socket
        self._rope: socket.socket | None = None
        self._is_rung = False
        self._closing = threading.Event()
        self._deadline_s = 0.0
        self._thread = threading.Thread(target=self._work, name="amends-postgres", daemon=True)
        # From here on its own thread only, but for cutting the connection.
        self._db: postgres.Connection | None = None
        self._readers: list[int] = []
        self._in_hand: dict[str, int] = {}
        # Queues in which there may be more than was taken.
        self._filled: set[str] = set()
        self._channels: dict[str, str] = {}
        self._attempt = 0
        _pumps.add(self)

    # In any thread.

    def tell(self, message: object) -> None:
        """Leave a message; it is dropped if it does not fit."""
        assert isinstance(message, Out)
        if self._buffer.put(message):
            self._ring()

    def open(self) -> None:
        """Begin to connect."""
        self._bell, self._rope = socket.socketpair()
        self._rope.setblocking(False)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Send what waits, for as long as that, give back what is in hand, and end."""
        self._deadline_s = time.monotonic() + timeout_s
        self._closing.set()
        if self._thread.is_alive():
            self._ring()
            self._thread.join(timeout_s + 1.0)
            db = self._db
            if db is not None and self._thread.is_alive():
                # It waits for a server that does not answer.
                with suppress(psycopg.Error, OSError):
                    postgres.cut(db)
            self._thread.join(5.0)
        if self._rope is not None:
            self._bell.close()
            self._rope.close()

    def leave_to_parent(self) -> None:
        """In a child made by fork: never to be used again, nor the connection closed for the parent."""
        if self._db is not None:
            with suppress(psycopg.Error):
                postgres.leave_to_parent(self._db)

    def _ring(self) -> None:
        if not self._is_rung and self._rope is not None:
            self._is_rung = True
            with suppress(OSError):  # full is as good as rung, and closed needs no bell any more
                self._rope.send(b".")

    def _done(self, reader: int, queue: str, number: int) -> None:
        self._settled.append((reader, queue, number))
        self._ring()

    # In its own thread.

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                self._db = postgres.connect(self._place)
                self._counters.connections += 1
                self._serve(self._db)
            except (psycopg.Error, AmendsError, OSError) as error:
                self._lose(error)
            finally:
                self.ready.clear()
                if self._db is not None:
                    self._db.close()

    def _lose(self, error: Exception) -> None:
        said = postgres.said(error, self._place) if isinstance(error, psycopg.Error) else str(error)
        self._attempt += 1
        wait_s = backoff_s(_RECONNECT, self._attempt, self._clock.chance())
        if not self._closing.is_set():
            self.ready.clear()
            reason, again_s = said[:_REASON_MAX], round(wait_s, 3)
            telemetry.log.warning(telemetry.BROKER_LOST, broker=self._place.name, reason=reason, again_s=again_s)
            self._closing.wait(wait_s)

    def _serve(self, db: postgres.Connection) -> None:
        session = Session(db, self._place, self._alone, self._readers)
        self._readers = [session.reader]
        self._channels = session.listen(self._reads)
        # Of what comes while a statement runs; the rest comes while it waits.
        db.add_notify_handler(lambda arrived: self._filled.add(self._channels[arrived.channel]))
        self._in_hand = dict.fromkeys(self._reads, 0)
        self._attempt = 0
        self.ready.set()
        telemetry.info(telemetry.BROKER_CONNECTED, broker=self._place.name)
        look_s, tidy_s = time.monotonic() + LOOK_EVERY_S, 0.0
        self._filled.update(self._reads)
        while not self._is_over():
            now_s = time.monotonic()
            if now_s >= look_s:
                session.look_after()
                look_s = now_s + LOOK_EVERY_S
                self._filled.update(self._reads)
            if now_s >= tidy_s:
                session.tidy()
                tidy_s = now_s + _TIDY_EVERY_S
            if not self._turn(session):
                self._wait(db, look_s - time.monotonic())
        session.leave()

    def _is_over(self) -> bool:
        return self._closing.is_set() and (not self._buffer.kept or time.monotonic() > self._deadline_s)

    def _turn(self, session: Session) -> bool:
        """Send, settle and take; False if there was nothing to do."""
        # First: what comes from here on rings again.
        self._is_rung = False
        done = self._take_settled(session.reader)
        waiting = self._buffer.waiting
        out = [waiting.popleft() for _ in range(min(len(waiting), BATCH))]
        looks_in = () if self._closing.is_set() else self._filled
        rooms = {queue: room for queue in looks_in if (room := self._room(queue))}
        if not (out or done or rooms):
            return False
        # First here too: what arrives from here on fills them again.
        self._filled.difference_update(rooms)
        try:
            taken = session.turn(out, done, rooms)
        except BaseException:
            waiting.extendleft(reversed(out))
            self._counters.republished += len(out)
            raise
        self._counters.published += len(out)
        self._counters.confirmed += len(out)
        if out:
            self._buffer.taken(out)
        for one in taken:
            self._in_hand[one.queue] += 1
        self._filled.update(queue for queue in rooms if not self._room(queue))
        self._hand_out(session, taken)
        return True

    def _room(self, queue: str) -> int:
        return self._reads[queue].prefetch - self._in_hand[queue]

    def _take_settled(self, reader: int) -> list[tuple[str, int]]:
        done = []
        while self._settled:
            whose, queue, number = self._settled.popleft()
            # What an earlier connection had in hand has been given back, perhaps to somebody else.
            if whose == reader:
                self._in_hand[queue] -= 1
                done.append((queue, number))
        return done

    def _hand_out(self, session: Session, taken: list[Taken]) -> None:
        unread = []
        for one in taken:
            self._counters.delivered += 1
            self._counters.redelivered += one.deliveries > 1
            try:
                self._reads[one.queue].take(one.envelope, partial(self._done, session.reader, one.queue, one.id))
            except InputError as error:
                unread.append((one.queue, one.id, str(error)[:_REASON_MAX]))
                telemetry.log.error(telemetry.MESSAGE_REJECTED, queue=one.queue, reason=unread[-1][2])
                self._in_hand[one.queue] -= 1
        if unread:
            self._counters.unreadable += len(unread)
            session.bury(unread)

    def _wait(self, db: postgres.Connection, timeout_s: float) -> None:
        """Until the bell rings, the server says something, or it has been so long."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        poll.register(db.fileno(), select.POLLIN)
        ready = [end for end, _ in poll.poll(max(0.0, timeout_s) * 1000)]
        if self._bell.fileno() in ready:
            self._bell.recv(4096)
        if db.fileno() in ready:
            db.pgconn.consume_input()
            while (arrived := db.pgconn.notifies()) is not None:
                self._filled.add(self._channels[arrived.relname.decode()])


_pumps: "weakref.WeakSet[Pump]" = weakref.WeakSet()


def _leave_in_child() -> None:
    """A child made by fork shares its parent's connections; it lets go so that only the parent counts."""
    for pump in list(_pumps):
        pump.leave_to_parent()


os.register_at_fork(after_in_child=_leave_in_child)
