"""What the simulation looks for in mailboxes: letters lost or overtaken, and nothing else."""

import pytest

from amends.supervisor.actor import Kill
from amends.supervisor.mailbox import Mailbox
from amends.testing.letters import Letters
from tests.supervisor.manual import ManualRuntime


@pytest.fixture
def mailbox() -> Mailbox:
    """A mailbox with three letters that nobody reads yet."""
    mailbox = Mailbox("box", ManualRuntime())
    for message in ("one", "two", "three"):
        mailbox.tell(message)
    return mailbox


def take(mailbox: Mailbox, count: int = 1) -> None:
    """Somebody reads that many."""
    for _ in range(count):
        mailbox._letters.popleft()


def test_letters_taken_from_the_front(mailbox: Mailbox) -> None:
    """Are gone, and new ones come at the end."""
    letters, before = Letters(), mailbox.letters
    letters.before(mailbox)
    take(mailbox, 2)
    mailbox.tell("four")
    letters.after(mailbox, before, failed=False)
    letters.before(mailbox)


def test_one_taken_from_the_middle(mailbox: Mailbox) -> None:
    """Somebody was overtaken."""
    before = mailbox.letters
    del mailbox._letters[1]
    with pytest.raises(AssertionError, match="lost in a turn"):
        Letters().after(mailbox, before, failed=False)


def test_a_failed_turn_keeps_nothing(mailbox: Mailbox) -> None:
    """Unless it was to be killed, or killed too often."""
    before = mailbox.letters
    take(mailbox)
    with pytest.raises(AssertionError, match="lost in a turn"):
        Letters().after(mailbox, before, failed=True)
    before[0].spent = True
    Letters().after(mailbox, before, failed=True)
    before[0].spent, before[0].message = False, Kill()
    Letters().after(mailbox, before, failed=True)


def test_letters_come_back_in_order(mailbox: Mailbox) -> None:
    """The same letters in another order are not the same."""
    before = mailbox.letters
    mailbox._letters.rotate(1)
    with pytest.raises(AssertionError, match="overtaken in a turn"):
        Letters().after(mailbox, before, failed=True)


def test_what_waits_between_two_turns(mailbox: Mailbox) -> None:
    """Stays; more may come before it, when a turn was taken away, and after it."""
    letters = Letters()
    letters.after(mailbox, mailbox.letters, failed=False)
    mailbox.tell("four")
    letters.before(mailbox)
    take(mailbox)
    with pytest.raises(AssertionError, match="lost between two turns"):
        letters.before(mailbox)


def test_a_closed_mailbox_owes_nothing(mailbox: Mailbox) -> None:
    """Its letters were buried, as they should be."""
    letters = Letters()
    letters.after(mailbox, mailbox.letters, failed=False)
    before = mailbox.letters
    mailbox.close()
    letters.after(mailbox, before, failed=False)
    letters.before(mailbox)
