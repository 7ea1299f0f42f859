"""Timers: messages kept until they are due."""

from collections.abc import Iterator

import pytest

from amends.actors.timers import After, Timers
from amends.supervisor.actor import spawn
from amends.supervisor.mailbox import Mailbox
from tests.actors.world import OneThread, Probe


@pytest.fixture
def runtime() -> OneThread:
    """A clock of the test's own."""
    return OneThread()


@pytest.fixture
def timers(runtime: OneThread, nobody_left: None) -> Iterator[Mailbox]:
    """The timers' address."""
    mailbox = Mailbox("timers", runtime)
    actor = spawn(mailbox, Timers)
    runtime.run()
    yield mailbox
    actor.retire()


def test_told_when_due_and_not_before(runtime: OneThread, timers: Mailbox) -> None:
    """A message leaves at its time, to whom it was for."""
    probe = Probe()
    timers.tell(After(runtime.clock.now_at() + 10, probe, "late"))
    runtime.advance(9.9)
    assert probe.told == []
    runtime.advance(0.2)
    assert probe.told == ["late"]


def test_in_the_order_of_their_times(runtime: OneThread, timers: Mailbox) -> None:
    """The earlier first; of the same time, the one that came first."""
    probe = Probe()
    for delay_s, message in ((3, "c"), (1, "a"), (2, "b1"), (2, "b2")):
        timers.tell(After(runtime.clock.now_at() + delay_s, probe, message))
    runtime.advance(5)
    assert probe.told == ["a", "b1", "b2", "c"]


def test_past_times_are_due_at_once(runtime: OneThread, timers: Mailbox) -> None:
    """What should have been told before is told now."""
    probe = Probe()
    timers.tell(After(0.0, probe, "now"))
    runtime.run()
    assert probe.told == ["now"]


def test_sleeps_when_nothing_is_due(runtime: OneThread, timers: Mailbox) -> None:
    """It wants no turn for nothing."""
    timers.tell(After(runtime.clock.now_at() + 1, Probe(), "x"))
    runtime.advance(2)
    assert timers.actor is not None
    assert timers.actor.wakes_at_s is None
