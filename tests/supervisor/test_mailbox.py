"""A mailbox keeps what it is told until somebody is done with it, whoever reads there."""

import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import pykka
import pytest

from amends.supervisor.actor import Failed, spawn
from amends.supervisor.mailbox import POISON_LIMIT, Caller, EndOfTurn, Mailbox
from amends.supervisor.runtimes.pool import Pool
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import WAIT_S, Kept, Once, Probe, Unlisted, fail

# Reading and turns.


def test_letters_are_read_in_the_order_they_were_told(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """First in, first out, over as many turns as it takes."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    for text in "abcde":
        box.tell(text)
    runtime.run_until_idle()
    assert [note for note in notes if note in "abcde"] == list("abcde")


def test_a_turn_is_asked_for_once_however_much_there_is_to_read(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """A burst of letters wakes the runtime once."""
    box = mailbox()
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    before = runtime.asked
    for text in "ab":
        box.tell(text)
    assert runtime.asked == before + 1
    runtime.run_until_idle()
    assert runtime.asked == before + 1


def test_a_letter_that_comes_during_a_turn_is_read_without_being_asked_for_again(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Whoever reads sees what came meanwhile; no letter waits for the next one to be noticed."""
    box = mailbox()
    spawn(box, lambda: Probe(notes, settle=Once(lambda probe: box.tell("late"))))
    runtime.run_until_idle()
    assert notes == ["start", "settle", "late", "settle"]


def test_a_letter_told_in_the_last_moment_of_a_turn_is_read(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Too late for the turn that ends, and too early to ask for another one: the turn that ends has to look again."""

    class LastMoment:
        """The mailbox's lock, and a sender who is a moment too early."""

        def __init__(self) -> None:
            self._lock = box._scheduled

        def acquire(self, *, blocking: bool) -> bool:
            return self._lock.acquire(blocking=blocking)

        def release(self) -> None:
            if "late" not in notes:
                box.tell("late")
            self._lock.release()

    box = mailbox()
    box._scheduled = LastMoment()  # type: ignore[assignment]
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert notes == ["start", "settle", "late", "settle"]


def test_letters_wait_for_a_reader(runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]) -> None:
    """An address can be told things before anybody reads there."""
    box = mailbox()
    box.tell("early")
    runtime.run_until_idle()
    assert len(box) == 1
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert notes == ["start", "early", "settle"]
    assert box.empty()


def test_a_reader_gets_its_first_turn_with_nothing_to_read(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Starting is work too."""
    spawn(mailbox(), lambda: Probe(notes))
    runtime.run_until_idle()
    assert notes == ["start", "settle"]


def test_a_reader_installed_before_the_last_ones_turn_is_over_gets_its_first_turn(
    runtime: ManualRuntime, notes: list[str]
) -> None:
    """A keeper in another thread may start the next incarnation while the failed turn has yet to be put away."""

    class Impatient(Kept):
        def tell(self, message: object) -> None:
            spawn(box, lambda: Probe(notes))

    box = Mailbox("probe", runtime, keeper=Impatient())
    first = spawn(box, lambda: Probe([], settle=fail))
    runtime.run_until_idle()
    assert first.actor_stopped.is_set()
    assert notes == ["start", "settle"]
    assert box.actor is not None
    box.actor.retire()


def test_a_reader_installed_while_a_retired_ones_turn_is_still_asked_for_gets_its_first_turn(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """The turn that was asked for goes to whoever reads by then."""
    box = mailbox()
    spawn(box, lambda: Probe([])).retire()
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert notes == ["start", "settle"]


def test_readers_are_counted(runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]) -> None:
    """Incarnations have numbers from 1, which the reader knows too."""
    box = mailbox()
    assert box.incarnation == 0
    for number in (1, 2, 3):
        actor = spawn(box, lambda: Probe(notes))
        assert (box.incarnation, actor.incarnation) == (number, number)
        actor.retire()


def test_a_mailbox_tells_since_when_a_message_is_in_hand(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Each message counts for itself; between turns there is none."""
    since: list[float | None] = []

    def take_time(probe: Probe) -> None:
        since.append(box.busy_since_s)
        runtime.advance(1.0)

    box = mailbox()
    spawn(box, lambda: Probe(notes))
    assert box.busy_since_s is None
    box.tell(take_time)
    box.tell(take_time)
    runtime.run_until_idle()
    assert since == [1000.0, 1001.0]
    assert box.busy_since_s is None


def test_an_actor_that_does_the_work_of_a_turn_at_its_end_says_which_message_it_is_at(
    runtime: ManualRuntime, mailbox: MakeMailbox, dead: Kept
) -> None:
    """That one is watched, and to blame, as if it were handled alone."""
    since: list[float | None] = []

    class Collecting(Probe):
        def settle(self) -> None:
            messages = [letter.message for letter in box._taken]
            if "b" not in messages:
                return
            runtime.advance(5.0)
            box.take_up(self, messages.index("b"))
            since.append(box.busy_since_s)
            raise ValueError

    box = mailbox()
    for text in "abc":
        box.tell(text)
    for _ in range(POISON_LIMIT):
        spawn(box, lambda: Collecting([]))
        runtime.run_until_idle()
    assert since == [1005.0, 1010.0, 1015.0]
    assert [letter.message for letter in dead.messages] == ["b"]
    assert [letter.message for letter in box.letters] == ["c"]


def test_a_turn_that_was_given_up_takes_nothing_more_in_hand(runtime: ManualRuntime, mailbox: MakeMailbox) -> None:
    """What it would do now is its successor's to do."""
    given_up: list[bool] = []

    class Collecting(Probe):
        def settle(self) -> None:
            if self.incarnation == 1:
                self.give_up()
                spawn(box, lambda: Probe([]))
                with pytest.raises(EndOfTurn):
                    box.take_up(self, 0)
                given_up.append(True)

    box = mailbox()
    box.tell("a")
    spawn(box, lambda: Collecting([]))
    runtime.run_until_idle()
    assert given_up == [True]


# Letters that come back.


def test_letters_of_a_failed_turn_return_to_the_front_in_order(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """The next incarnation reads what its predecessor read, then what came later."""
    box = mailbox()
    for message in ("a", "b", Once(fail), "c"):
        box.tell(message)
    spawn(box, lambda: Probe([]))
    runtime.run_until_idle()
    box.tell("d")
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert [note for note in notes if note in "abcd"] == list("abcd")


def test_a_letter_taken_while_the_turn_is_taken_away_is_neither_lost_nor_read(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Between looking into the mailbox and reaching in, another thread may retire the reader."""

    class Meanwhile(int):
        """A budget that somebody acts behind, just when a reader compares it."""

        def __le__(self, taken: int) -> bool:
            if taken == 1:
                first.retire()
            return int(self) <= taken

    class Retired(Probe):
        turn_budget = Meanwhile(3)

    early: list[str] = []
    box = mailbox()
    for text in "abc":
        box.tell(text)
    first = spawn(box, lambda: Retired(early))
    runtime.run_until_idle()
    assert early == ["start", "a", "let go, hung"]
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert notes == ["start", "a", "b", "c", "settle"]


# The end of a mailbox.


def test_a_closed_mailbox_buries_what_it_holds_and_what_still_comes(
    runtime: ManualRuntime, mailbox: MakeMailbox, dead: Kept
) -> None:
    """Nothing vanishes: a dead letter says whom it was for and why it was not taken."""
    box = mailbox()
    box.tell("waiting")
    box.close()
    box.tell("late")
    assert [(d.address, d.message, d.reason, d.traceback) for d in dead.messages] == [
        ("probe", "waiting", "its address is closed", ""),
        ("probe", "late", "its address is closed", ""),
    ]
    assert runtime.released == [box]


def test_a_closed_mailbox_without_dead_letters_drops_what_comes(runtime: ManualRuntime) -> None:
    """Late answers to somebody who is gone matter to nobody, if that was said."""
    box = Mailbox("probe", runtime)
    box.close()
    box.tell("late")
    assert len(box) == 0


def test_letters_of_a_turn_that_fails_after_the_mailbox_was_closed_are_buried(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """They come back to a mailbox that nobody will ever read."""

    def close_and_fail(probe: Probe) -> None:
        box.close()
        raise ValueError

    box = mailbox()
    spawn(box, lambda: Probe(notes))
    box.tell("a")
    box.tell(close_and_fail)
    runtime.run_until_idle()
    assert [d.message for d in dead.messages] == ["a", close_and_fail]


# Asks.


def test_an_ask_is_answered(runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]) -> None:
    """Pykka's own references work on these mailboxes."""
    answer = spawn(mailbox(), lambda: Probe(notes)).actor_ref.ask("hello", block=False)
    runtime.run_until_idle()
    assert answer.get(timeout=0) == "hello"


def test_an_ask_on_a_closed_mailbox_is_answered_with_an_error(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Asked before or after the end: nobody waits for ever, and the error is the one Pykka's callers know."""
    box = mailbox()
    ref = spawn(box, lambda: Unlisted(notes)).actor_ref
    before = ref.ask("before", block=False)
    box.close()
    after = ref.ask("after", block=False)
    for answer in (before, after):
        with pytest.raises(pykka.ActorDeadError, match="probe: its address is closed"):
            answer.get(timeout=0)
    assert ref.stop() is False


def test_an_ask_in_hand_of_a_turn_that_is_given_up_is_answered_with_an_error(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept
) -> None:
    """The message goes to no other incarnation; what the hung turn returns is too late."""
    box = mailbox()
    actor = spawn(box, lambda: Probe(notes))
    seen: list[Any] = []

    def hang(probe: Probe) -> str:
        assert actor.give_up()
        with pytest.raises(pykka.ActorDeadError):
            answer.get(timeout=0)
        seen.append("answered")
        return "too late"

    answer = actor.actor_ref.ask(hang, block=False)
    runtime.run_until_idle()
    assert seen == ["answered"]
    assert keeper.reports == [("probe", 1, "a turn that did not end")]


@pytest.mark.usefixtures("hasty")
def test_no_ask_hangs_when_the_mailbox_is_closed_under_several_threads(pool: Pool, mailbox: MakeMailbox) -> None:
    """Every ask that races with the end is answered, with a value or an error."""
    askers_n, each = 4, 500
    answers: list[pykka.Future[Any]] = []
    underway = threading.Event()
    box = mailbox(on=pool)
    ref = spawn(box, lambda: Unlisted([])).actor_ref

    def ask() -> None:
        for number in range(each):
            answers.append(ref.ask("hello", block=False))
            if number == each // 10:
                underway.set()

    askers = [threading.Thread(target=ask) for _ in range(askers_n)]
    for asker in askers:
        asker.start()
    assert underway.wait(WAIT_S)
    box.close()
    for asker in askers:
        asker.join(WAIT_S)
    assert len(answers) == askers_n * each
    assert {_answered(answer) for answer in answers} <= {"hello", "dead"}


def _answered(answer: "pykka.Future[Any]") -> Any:
    try:
        return answer.get(timeout=WAIT_S)
    except pykka.ActorDeadError:
        return "dead"


# Senders.


@pytest.mark.usefixtures("hasty")
def test_racing_senders_lose_no_letter(pool: Pool, mailbox: MakeMailbox) -> None:
    """Two threads tell the same address: all of it arrives, each sender's letters in its order."""
    each = 5_000
    read: list[tuple[int, int]] = []
    done = threading.Event()

    class Reader(Unlisted):
        def on_receive(self, message: Any) -> None:
            read.append(message)
            if len(read) == 2 * each:
                done.set()

    box = mailbox(on=pool)
    spawn(box, lambda: Reader([]))
    go = threading.Barrier(2)

    def send(sender: int) -> None:
        go.wait(WAIT_S)
        for number in range(each):
            box.tell((sender, number))

    senders = [threading.Thread(target=send, args=(n,)) for n in (0, 1)]
    for sender in senders:
        sender.start()
    assert done.wait(WAIT_S)
    for n in (0, 1):
        assert [number for sender, number in read if sender == n] == list(range(each))


# Callers.


def test_a_caller_is_told_a_value_or_an_error() -> None:
    """A future outside is an address like any other."""
    value: Future[str] = Future()
    error: Future[str] = Future()
    Caller(value).tell("yes")
    Caller(error).tell(ValueError("no"))
    assert value.result(0) == "yes"
    with pytest.raises(ValueError, match="no"):
        error.result(0)


def test_a_caller_is_told_once() -> None:
    """A second answer changes nothing."""
    future: Future[str] = Future()
    Caller(future).tell("first")
    Caller(future).tell("second")
    assert future.result(0) == "first"


def test_a_caller_who_goes_away_at_the_last_moment_is_no_error() -> None:
    """An event loop may cancel the future between the look at it and the answer."""

    class GoesAway(Future[str]):
        def done(self) -> bool:
            looked = super().done()
            self.cancel()
            return looked

        def set_result(self, result: str) -> None:
            self.cancel()
            super().set_result(result)

    future = GoesAway()
    Caller(future).tell("too late")
    with pytest.raises(CancelledError):
        future.result(0)


# The rest.


def test_an_empty_mailbox_is_still_a_mailbox(mailbox: MakeMailbox) -> None:
    """`if mailbox` asks whether there is one."""
    box = mailbox("orders")
    assert box
    assert len(box) == 0
    assert repr(box) == "Mailbox('orders')"


def test_a_mailbox_without_a_keeper_reports_to_nobody(runtime: ManualRuntime, notes: list[str]) -> None:
    """An actor on its own just ends."""
    box = Mailbox("alone", runtime)
    spawn(box, lambda: Probe(notes))
    box.tell(fail)
    runtime.run_until_idle()
    assert box.actor is None


def test_a_failure_is_reported_after_its_letters_are_back(runtime: ManualRuntime, notes: list[str]) -> None:
    """Whoever starts the next incarnation when told finds everything where it belongs."""
    found: list[tuple[int, bool]] = []

    class Looks(Kept):
        def tell(self, message: object) -> None:
            assert isinstance(message, Failed)
            found.append((len(box), box.actor is None))

    box = Mailbox("probe", runtime, keeper=Looks())
    spawn(box, lambda: Probe(notes))
    box.tell("a")
    box.tell(fail)
    runtime.run_until_idle()
    assert found == [(2, True)]
