"""Whoever asks is answered, also when the answer comes from somebody who ends, or is the last, at that moment."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from amends.actors.callers import ToInstance
from amends.actors.saga import Cancel, InstanceEnded, Intervene
from amends.protocol.events import CancelAnswer, RetryNow
from amends.protocol.messages import SagaId
from amends.protocol.state import Compensated
from tests.actors.conftest import OpenSystem
from tests.actors.test_coordinator import Front, started
from tests.actors.trip import LONG_S, BookTrip, Trip

SOON_S = 3.0
"""Far longer than it takes; a test that fails waits for it."""


def test_drain_before_the_recovery(booking: OpenSystem) -> None:
    """A system with nothing open is drained as soon as it knows that nothing is."""
    booking().drain(SOON_S)


def test_drain_behind_a_start_that_was_known(tmp_path: Path, booking: OpenSystem) -> None:
    """A start that is answered from the journal is the last one a drain waits for."""
    system = booking()
    system.run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    again = system.submit(BookTrip, Trip("a"), key="a")
    system.drain(SOON_S)
    assert again.done()


@pytest.mark.parametrize("act", ["cancel", "intervene"])
def test_asked_of_an_instance_that_ends_meanwhile(nobody_left: None, act: str) -> None:
    """Its end closes the mailbox with the question in it; the caller is told all the same."""
    front = Front()
    front.ready()
    started(front)
    future: Future[Any] = Future()
    asked = Cancel(future) if act == "cancel" else Intervene(RetryNow("seat", "me", "why not"), future)
    saga_id = SagaId("a")
    front.tell(ToInstance(saga_id, asked, future), InstanceEnded(saga_id, Compensated(None, "x")))
    front.stop()
    assert future.done()
    assert act == "intervene" or future.result() is CancelAnswer.ALREADY_ENDED
