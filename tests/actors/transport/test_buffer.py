"""How much may wait for a broker, when new work is refused over it, and when it is taken again."""

import logging
from typing import NamedTuple

import pytest

from amends.actors.transport.buffer import PATIENCE_S, Buffer, Limits
from amends.actors.transport.counters import Counters
from tests.actors.world import ManualClock


class Said(NamedTuple):
    """A letter."""

    body: bytes = b"x"
    again: bool = False


class Waiting:
    """A buffer, and a broker that takes what the test says."""

    def __init__(self, messages: int = 10, size: int = 10_000) -> None:
        self.clock = ManualClock()
        self.counters = Counters()
        self.buffer: Buffer[Said] = Buffer("broker", Limits(messages, size), self.counters, self.clock)

    def say(self, count: int, said: Said = Said()) -> int:  # noqa: B008 - it never changes
        """How many of so many letters were kept."""
        return sum(self.buffer.put(said) for _ in range(count))

    def take(self, count: int) -> None:
        """The broker takes so many."""
        self.buffer.taken([self.buffer.waiting.popleft() for _ in range(count)])


def test_is_full_at_more_than_half_and_until_three_quarters_are_free() -> None:
    """So what is accepted in between does not flap."""
    waiting = Waiting(messages=10)
    waiting.say(5)
    assert waiting.buffer.full == ""
    waiting.say(1)
    assert waiting.buffer.full.startswith("6 messages wait")
    waiting.take(3)
    assert waiting.buffer.full
    waiting.take(1)
    assert waiting.buffer.full == ""


def test_is_full_in_bytes_too() -> None:
    """A few large messages are as bad as many."""
    waiting = Waiting(size=1000)
    waiting.say(1, Said(b"x" * 501))
    assert waiting.buffer.full
    waiting.take(1)
    assert waiting.buffer.full == ""


def test_is_full_when_nothing_is_taken_for_a_while() -> None:
    """However little it is that waits; nothing that waits is no reason."""
    waiting = Waiting()
    waiting.clock.s += 2 * PATIENCE_S
    assert waiting.buffer.full == ""
    waiting.say(2)
    waiting.clock.s += PATIENCE_S
    assert waiting.buffer.full == ""
    waiting.clock.s += 0.1
    assert "has taken none for 5 s" in waiting.buffer.full
    waiting.take(1)
    assert waiting.buffer.full == ""


def test_what_only_asks_again_is_not_kept_while_it_is_full() -> None:
    """What it asks for may still be there: an outage must not fill it with copies."""
    waiting = Waiting(messages=10)
    again = Said(again=True)
    assert waiting.say(6, again) == 6
    assert waiting.say(3, again) == 0
    assert waiting.say(6) == 4
    assert (waiting.buffer.kept, waiting.counters.dropped) == (10, 5)
    waiting.take(8)
    assert waiting.say(1, again) == 1


def test_begin_and_end_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A person is told what is refused, and from when to when."""
    waiting = Waiting(messages=10)
    with caplog.at_level(logging.INFO, "amends"):
        waiting.say(20)
        assert waiting.buffer.full
        waiting.take(10)
        assert waiting.buffer.full == ""
    told = [name for r in caplog.records for name in ("filled", "dropped", "drained") if f".{name}" in r.message]
    assert told == ["filled", "dropped", "drained"]
