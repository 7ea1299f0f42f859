"""A receipt is given once nobody can lose the message any more, and not before."""

from amends.supervisor.actor import spawn
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import Kept, Once, Probe, fail, respawn


def test_receipt_comes_when_the_turn_has_settled(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """After `settle`, which may commit."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    box.deliver("a", lambda: notes.append("receipt"))
    assert "receipt" not in notes
    runtime.run_until_idle()
    assert notes == ["start", "a", "settle", "receipt"]


def test_turn_that_fails_gives_none(runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]) -> None:
    """The next incarnation reads the message, and its turn gives the receipt."""
    box = mailbox()
    spawn(box, lambda: Probe(notes, settle=Once(fail)))
    box.deliver("a", lambda: notes.append("receipt"))
    runtime.run_until_idle()
    assert "receipt" not in notes
    respawn(runtime, box, notes)
    assert notes.count("receipt") == 1
    assert notes[-1] == "receipt"


def test_message_that_is_buried_gives_one(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """It is a dead letter now, and would kill whoever got it next."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    box.deliver(fail, lambda: notes.append("receipt"))
    runtime.run_until_idle()
    while not dead.messages:
        respawn(runtime, box, notes)
    assert len(dead.messages) == 1
    assert notes.count("receipt") == 1
