"""How long letters wait: what a mailbox measures on a clock that only the test moves."""

from collections.abc import Callable

from amends.supervisor.actor import spawn
from amends.supervisor.mailbox import Mailbox
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import Probe


def measured(box: Mailbox) -> tuple[int, float, float]:
    """How many waits, their sum, and the longest."""
    return box.waits, box.waited_s, box.longest_s


def test_the_first_letter_waits_until_its_turn_begins(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Measured from when it came into the empty mailbox; those behind it are not measured."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    box.tell("a")
    runtime.time.at_s += 2.0
    box.tell("b")
    runtime.time.at_s += 1.0
    runtime.run_until_idle()
    assert measured(box) == (1, 3.0, 3.0)


def test_waits_add_up_and_the_longest_is_kept(runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]) -> None:
    """Over all turns since the mailbox was made; a turn with nothing to read is none of them."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert measured(box) == (0, 0.0, 0.0)
    for wait_s in (1.0, 5.0, 2.0):
        box.tell("x")
        runtime.time.at_s += wait_s
        runtime.run_until_idle()
    assert measured(box) == (3, 8.0, 5.0)


def test_a_letter_nobody_reads_waits_for_the_next_reader(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """The time without a reader counts: a restart that takes long shows in the queue."""
    box = mailbox()
    box.tell("early")
    runtime.time.at_s += 7.0
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert measured(box) == (1, 7.0, 7.0)


def test_where_letters_are_left_over_one_a_turn_is_measured(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """A mailbox that never gets empty shows how long it is, and not how long it has been so."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    for text in "abcdef":  # a turn takes three of them
        box.tell(text)
    runtime.run_turn()
    for _ in range(10):
        runtime.time.at_s += 1.0
        for text in "xyz":
            box.tell(text)
        runtime.run_turn()
    waits, _, longest_s = measured(box)
    assert waits >= 5
    assert longest_s <= 2.0


def test_a_letter_that_came_during_the_turn_is_measured_too(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """From when it came: what the turn did before is no wait of its."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()

    def work(probe: Probe) -> None:
        runtime.time.at_s += 4.0
        box.tell("b")
        runtime.time.at_s += 3.0

    letter: Callable[[Probe], None] = work
    box.tell(letter)
    runtime.run_until_idle()
    assert measured(box) == (2, 3.0, 3.0)


def test_the_time_of_a_start_is_not_that_of_the_first_letter(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """The watch must not take an actor that was slow to start for one that is slow with its first letter."""
    box = mailbox()

    def start_slowly(probe: Probe) -> None:
        runtime.time.at_s += 4.0

    def look(probe: Probe) -> None:
        notes.append(f"busy for {runtime.time.at_s - (box.busy_since_s or 0.0)}")

    spawn(box, lambda: Probe(notes, start=start_slowly))
    box.tell(look)
    runtime.run_until_idle()
    assert "busy for 0.0" in notes


def test_letters_of_a_failed_turn_go_on_waiting(runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]) -> None:
    """The next incarnation takes what came at the beginning, and that long it has waited."""
    box = mailbox()

    def fail(probe: Probe) -> None:
        raise RuntimeError("once")

    spawn(box, lambda: Probe(notes, settle=fail))
    box.tell("a")
    runtime.run_until_idle()
    runtime.time.at_s += 6.0
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert measured(box) == (2, 6.0, 6.0)
