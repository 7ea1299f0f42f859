"""Messages nobody could take are kept with their reason, and never logged with what they say."""

import json
from collections import deque

import pytest

from amends.supervisor import telemetry
from amends.supervisor.actor import Kill, spawn
from amends.supervisor.dead_letters import KEPT, DeadLetters
from amends.supervisor.mailbox import DeadLetter, Mailbox
from amends.supervisor.telemetry import Counters
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import SECRET


def test_the_last_letters_are_kept_and_all_are_counted(runtime: ManualRuntime, mailbox: MakeMailbox) -> None:
    """Old ones make room for new ones."""
    kept: deque[DeadLetter] = deque(maxlen=3)
    counters = Counters()
    box = mailbox("dead-letters")
    spawn(box, lambda: DeadLetters(kept, counters))
    for number in range(5):
        box.tell(DeadLetter("orders", number, "nobody took it"))
    runtime.run_until_idle()
    assert [letter.message for letter in kept] == [2, 3, 4]
    assert counters.dead_letters == 5
    assert KEPT == 1000


def test_what_is_kept_outlives_the_one_who_keeps_it(runtime: ManualRuntime, mailbox: MakeMailbox) -> None:
    """The next incarnation adds to it."""
    kept: deque[DeadLetter] = deque(maxlen=3)
    counters = Counters()
    box = mailbox("dead-letters")
    for _ in range(2):
        spawn(box, lambda: DeadLetters(kept, counters))
        box.tell(DeadLetter("orders", "lost", "nobody took it"))
        runtime.run_until_idle()
        box.tell(Kill())
        runtime.run_until_idle()
    assert len(kept) == 2


def test_a_closed_address_sends_its_letters_there(runtime: ManualRuntime, mailbox: MakeMailbox) -> None:
    """Mailbox and keeper of dead letters fit each other."""
    kept: deque[DeadLetter] = deque(maxlen=3)
    box = mailbox("dead-letters")
    spawn(box, lambda: DeadLetters(kept, Counters()))
    closed = Mailbox("gone", runtime, dead=box)
    closed.close()
    closed.tell("late")
    runtime.run_until_idle()
    assert [(d.address, d.message, d.reason) for d in kept] == [("gone", "late", "its address is closed")]


def test_a_dead_letter_is_logged_without_what_it_says(
    runtime: ManualRuntime, mailbox: MakeMailbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Whom it was for, of which type it is, why, and the traceback: no value of it."""
    box = mailbox("dead-letters")
    spawn(box, lambda: DeadLetters(deque(), Counters()))
    box.tell(DeadLetter("payment", SECRET, "nobody took it", "file.py:1 in charge"))
    runtime.run_until_idle()
    [line] = caplog.messages
    facts = json.loads(line)
    del facts["timestamp"]
    assert facts == {
        "event": telemetry.MESSAGE_DEAD_LETTERED,
        "level": "error",
        "actor": "payment",
        "message": "str",
        "reason": "nobody took it",
        "traceback": "file.py:1 in charge",
    }
