"""The buffer: what has been said and the broker has not taken charge of yet.

It is bounded: what does not fit is dropped and counted, and its saga sends it again. Long
before, it is called full: when it is more than half full, or when the broker has taken
nothing for a while although something waits. Then no new instance is begun, and what only
asks again is not taken either, since what it asks for may still be here. It is full no more once
three quarters are free and the broker takes messages.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from amends.actors.transport.counters import Counters
from amends.supervisor import telemetry
from amends.supervisor.runtime import Clock

PATIENCE_S: Final = 5.0
"""How long a broker may take nothing of what waits before the buffer is called full, in seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait to be taken.

    Attributes:
        messages, bytes: of them together, and of their bodies.
    """

    messages: int
    bytes: int


class Letter(Protocol):
    """A message on its way out.

    Attributes:
        again: it says once more what was said before.
    """

    @property
    def body(self) -> bytes: ...

    @property
    def again(self) -> bool: ...


L = TypeVar("L", bound=Letter)


class Buffer(Generic[L]):
    """Letters in the order in which they are to leave.

    Attributes:
        waiting: those that were not handed over; the line's own thread takes them out, and puts them back.
        kept: these, and those that are handed over and not confirmed.
    """

    def __init__(self, broker: str, limits: Limits, counters: Counters, clock: Clock) -> None:
        self.waiting: deque[L] = deque()
        self.kept = 0
        self._kept_bytes = 0
        self._broker = broker
        self._limits = limits
        self._counters = counters
        self._clock = clock
        # Guards the counts, which every sender's thread changes; held for a few instructions.
        self._counting = threading.Lock()
        # When the broker last took something, or the first came that it should take.
        self._moved_s = 0.0
        self._full = ""
        self._is_dropping = False

    @property
    def full(self) -> str:
        """Why nothing new should be begun; empty if it may be."""
        self._judge()
        return self._full

    def put(self, letter: L) -> bool:
        """Keep a letter, in any thread; False if it is dropped."""
        size = len(letter.body)
        with self._counting:
            fits = self.kept < self._limits.messages and self._kept_bytes + size <= self._limits.bytes
            is_kept = fits and not (letter.again and self._full)
            if is_kept:
                self._add(letter, size)
            else:
                self._counters.dropped += 1
            # Once, and again only when there was room in between.
            tells = not (fits or self._is_dropping)
            self._is_dropping |= tells
            fills = not self._full and self._share(2)
        if tells:
            telemetry.log.error(telemetry.MESSAGE_DROPPED, broker=self._broker, waiting=self.kept)
        if fills:
            self._judge()
        return is_kept

    def put_at_all_costs(self, letter: L) -> None:
        """Keep a letter whose sender bounds how many there are."""
        with self._counting:
            self._add(letter, len(letter.body))

    def taken(self, letters: list[L]) -> None:
        """The broker has taken charge of these."""
        with self._counting:
            self.kept -= len(letters)
            self._kept_bytes -= sum(len(letter.body) for letter in letters)
            self._moved_s = self._clock.now_s()
            self._is_dropping &= self._share(2)
        if self._full:
            self._judge()

    def _add(self, letter: L, size: int) -> None:
        if not self.kept:
            self._moved_s = self._clock.now_s()
        self.kept += 1
        self._kept_bytes += size
        self.waiting.append(letter)

    def _share(self, part: int) -> bool:
        """Whether more than one such part of it is in use."""
        return part * self.kept > self._limits.messages or part * self._kept_bytes > self._limits.bytes

    def _judge(self) -> None:
        with self._counting:
            before = self._full
            still_s = self._clock.now_s() - self._moved_s if self.kept else 0.0
            if still_s > PATIENCE_S:
                self._full = before or f"{self.kept} messages wait, and the broker has taken none for {still_s:.0f} s"
            elif before:
                if not self._share(4):
                    self._full = ""
            elif self._share(2):
                self._full = f"{self.kept} messages wait for the broker, more than half of what may"
            now, waiting = self._full, self.kept
        if now and not before:
            telemetry.log.warning(telemetry.BROKER_FILLED, broker=self._broker, reason=now, waiting=waiting)
        elif before and not now:
            telemetry.log.warning(telemetry.BROKER_DRAINED, broker=self._broker, waiting=waiting)
