"""What a turn is, what a failed one leaves behind, and how an actor is born and named."""

import logging
import re
from concurrent.futures import Future

import pykka
import pytest

from amends.protocol.errors import AmendsError
from amends.supervisor.actor import ActorCrash, Failed, Kill, spawn
from amends.supervisor.mailbox import POISON_LIMIT
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualRuntime
from tests.supervisor.probe import SECRET, Hook, Kept, Once, Probe, Unlisted, exit_, fail, respawn

FRAMES = re.compile(r"(.+\.py:\d+ in \w+\n)*.+\.py:\d+ in \w+")


# Turns.


def test_a_turn_takes_no_more_messages_than_its_budget(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Whoever has much to read lets the others have their turns in between."""
    box, other = mailbox("busy"), mailbox("other")
    for text in "abcdefg":
        box.tell(text)
    spawn(box, lambda: Probe(notes))
    spawn(other, lambda: Probe(notes))
    other.tell("me too")
    runtime.run_until_idle()
    assert notes == [
        *("start", "a", "b", "c", "settle"),
        *("start", "me too", "settle"),
        *("d", "e", "f", "settle"),
        *("g", "settle"),
    ]


def test_nothing_told_in_a_turn_leaves_before_settle_has_returned(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], sink: Kept
) -> None:
    """What depends on a commit is sent after it, in the order in which it was told."""
    future: Future[str] = Future()
    seen: list[tuple[int, bool]] = []

    def tell(probe: Probe) -> None:
        probe.tell(sink, "first")
        probe.answer(future, "value")
        probe.tell(sink, "second")

    def look(probe: Probe) -> None:
        seen.append((len(sink.messages), future.done()))
        probe.tell(sink, "from settle")

    box = mailbox()
    box.tell(tell)
    box.tell("and more")
    spawn(box, lambda: Probe(notes, settle=look))
    runtime.run_until_idle()
    assert seen == [(0, False)]
    assert sink.messages == ["first", "second", "from settle"]
    assert future.result(0) == "value"


def test_what_is_told_while_starting_leaves_with_the_first_turn(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], sink: Kept
) -> None:
    """Starting is part of a turn."""
    spawn(mailbox(), lambda: Probe(notes, start=lambda p: p.tell(sink, "here"), settle=lambda p: notes.append("sent?")))
    runtime.run_until_idle()
    assert notes == ["start", "settle", "sent?"]
    assert sink.messages == ["here"]


@pytest.mark.parametrize("failing", [{"settle": fail}, {"boom": fail}, {"settle": exit_}, {"boom": exit_}])
def test_nothing_told_in_a_turn_that_fails_leaves(
    runtime: ManualRuntime,
    mailbox: MakeMailbox,
    notes: list[str],
    sink: Kept,
    keeper: Kept,
    failing: dict[str, Hook],
) -> None:
    """A turn that fails has happened to nobody, whether a handler fails or the commit."""
    future: Future[str] = Future()
    box = mailbox()
    box.tell(lambda probe: probe.tell(sink, "never"))
    box.tell(lambda probe: probe.answer(future, "never"))
    box.tell("boom")
    spawn(box, lambda: Probe(notes, **failing))
    runtime.run_until_idle()
    assert len(keeper.reports) == 1
    assert sink.messages == []
    assert not future.done()


# Messages that kill.


def test_the_next_incarnation_reads_what_the_failed_turn_had_read(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Nothing that was told is lost to a failure."""
    box = mailbox()
    for message in ("a", "b", Once(fail), "c"):
        box.tell(message)
    respawn(runtime, box, notes, times=2)
    assert notes == ["start", "a", "b", "let go", "start", "a", "settle", "b", "settle", "c", "settle"]


def test_a_message_that_killed_three_incarnations_becomes_a_dead_letter(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """It says why, and where in the code, but nothing of what the message or the error say."""
    box = mailbox()
    for message in ("before", fail, "behind"):
        box.tell(message)
    respawn(runtime, box, notes, times=POISON_LIMIT)
    assert POISON_LIMIT == 3
    [letter] = dead.messages
    assert (letter.address, letter.message) == ("probe", fail)
    assert letter.reason == "3 incarnations died of it, the last of ValueError"
    assert FRAMES.fullmatch(letter.traceback)
    assert letter.traceback.endswith("in fail")
    assert SECRET not in letter.traceback
    assert "raise" not in letter.traceback


def test_letters_around_a_killing_one_are_handled_and_not_blamed(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """Only the message in hand when an incarnation dies is counted against."""
    box = mailbox()
    for message in ("before", fail, "behind", fail, "last"):
        box.tell(message)
    respawn(runtime, box, notes, times=2 * POISON_LIMIT + 1)
    assert [d.message for d in dead.messages] == [fail, fail]
    assert [note for note in notes if note in ("behind", "last")][-2:] == ["behind", "last"]
    assert box.empty()


def test_what_is_read_again_after_a_failure_is_read_one_by_one(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """A message that fails again takes none of its neighbours' work with it a second time."""
    box = mailbox()
    for message in ("before", fail, "behind"):
        box.tell(message)
    respawn(runtime, box, notes, times=POISON_LIMIT + 1)
    assert notes.count("before") == 2
    assert notes.count("behind") == 1
    assert [d.message for d in dead.messages] == [fail]


def test_a_message_that_killed_two_incarnations_is_tried_again(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """What was wrong may pass; a third incarnation that can handle it ends the matter."""
    acts = iter([fail, fail, Probe.note_ok])

    def act(probe: Probe) -> None:
        next(acts)(probe)

    box = mailbox()
    box.tell(act)
    respawn(runtime, box, notes, times=3)
    assert notes[-2:] == ["ok", "settle"]
    assert dead.messages == []


def test_a_drill_is_not_delivered_again(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, dead: Kept
) -> None:
    """One order to die is one death; the letters around it are handled by the next incarnation."""
    box = mailbox()
    for message in ("a", Kill(), "b"):
        box.tell(message)
    respawn(runtime, box, notes, times=2)
    assert keeper.reports == [("probe", 1, "ActorCrash")]
    assert notes == ["start", "a", "let go", "start", "a", "b", "settle"]
    assert dead.messages == []


# Failures elsewhere than in a handler.

EVERYTHING_ELSE = ["start", "settle", "stop"]


@pytest.mark.parametrize("where", EVERYTHING_ELSE)
@pytest.mark.parametrize(("how", "error"), [(fail, "ValueError"), (exit_, "SystemExit")])
def test_a_failure_outside_of_a_handler_is_reported_to_the_keeper(
    runtime: ManualRuntime,
    mailbox: MakeMailbox,
    notes: list[str],
    keeper: Kept,
    where: str,
    how: Hook,
    error: str,
) -> None:
    """Starting, settling and stopping may fail as a handler may, and with anything."""
    box = mailbox()
    spawn(box, lambda: Probe(notes, **{where: how})).actor_ref.tell(pykka.messages._ActorStop())
    runtime.run_until_idle()
    [failed] = keeper.messages
    assert isinstance(failed, Failed)
    assert (failed.name, failed.incarnation, failed.error) == ("probe", 1, error)
    assert FRAMES.fullmatch(failed.traceback)
    assert SECRET not in failed.traceback
    assert box.actor is None


def test_a_failing_start_is_not_blamed_on_what_killed_the_last_incarnation(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, dead: Kept
) -> None:
    """Each incarnation dies its own death."""
    box = mailbox()
    for message in ("a", Once(fail), Once(fail)):
        box.tell(message)
    respawn(runtime, box, [])
    for _ in range(POISON_LIMIT):
        spawn(box, lambda: Probe([], start=fail))
        runtime.run_until_idle()
    respawn(runtime, box, [])
    respawn(runtime, box, notes)
    assert notes[-1] == "settle"
    assert box.empty()
    assert len(keeper.reports) == POISON_LIMIT + 2
    assert dead.messages == []


@pytest.mark.parametrize("how", [fail, exit_])
def test_a_failing_start_reads_nothing_and_blames_no_message(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept, how: Hook
) -> None:
    """A letter may wait through any number of incarnations that never came to read it."""
    box = mailbox()
    box.tell("patient")
    for _ in range(POISON_LIMIT + 2):
        spawn(box, lambda: Probe([], start=how))
        runtime.run_until_idle()
    respawn(runtime, box, notes)
    assert notes == ["start", "patient", "settle"]
    assert dead.messages == []


def test_a_failing_settle_returns_the_turns_letters_and_blames_none(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """A full disk is no message's fault."""
    box = mailbox()
    box.tell("a")
    box.tell("b")
    for _ in range(POISON_LIMIT + 2):
        spawn(box, lambda: Probe([], settle=fail))
        runtime.run_until_idle()
    respawn(runtime, box, notes)
    assert notes == ["start", "a", "b", "settle"]
    assert dead.messages == []


def test_a_failing_stop_does_not_undo_the_turn_before_it(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], sink: Kept
) -> None:
    """What has settled and was sent is not handled again."""
    box = mailbox()
    actor = spawn(box, lambda: Probe(notes, stop=fail))
    box.tell("a")
    box.tell(lambda probe: probe.tell(sink, "sent"))
    actor.stop()
    runtime.run_until_idle()
    assert notes == ["start", "a", "settle", "stop", "let go"]
    assert sink.messages == ["sent"]
    assert box.empty()


def test_a_failure_while_failing_is_reported_too(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept
) -> None:
    """Pykka's hook for failures may fail itself, with anything."""

    class Worse(Probe):
        def on_failure(self, *facts: object) -> None:
            raise SystemExit

    box = mailbox()
    box.tell(fail)
    spawn(box, lambda: Worse(notes))
    runtime.run_until_idle()
    assert keeper.reports == [("probe", 1, "SystemExit")]


def test_what_a_failed_actor_can_not_give_back_is_logged_and_no_more(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that can't be closed must not keep the next incarnation from starting."""
    box = mailbox()
    box.tell(Once(fail))
    spawn(box, lambda: Probe([], **{"let go": exit_}))
    runtime.run_until_idle()
    assert keeper.reports == [("probe", 1, "ValueError")]
    assert '"error": "SystemExit"' in caplog.text
    assert SECRET not in caplog.text


# What is no Exception.


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_is_the_failure_of_one_actor_only(
    runtime: ManualRuntime,
    mailbox: MakeMailbox,
    notes: list[str],
    keeper: Kept,
    error: type[BaseException],
) -> None:
    """Pykka would stop every actor."""

    def leave(probe: Probe) -> None:
        raise error

    box, other = mailbox("leaving"), mailbox("other")
    neighbour = spawn(other, lambda: Probe(notes))
    spawn(box, lambda: Probe([]))
    box.tell(leave)
    other.tell("still here")
    runtime.run_until_idle()
    assert keeper.reports == [("leaving", 1, "ActorCrash")]
    assert keeper.messages[0].traceback.endswith("in leave")
    assert notes == ["start", "still here", "settle"]
    assert pykka.ActorRegistry.get_all() == [neighbour.actor_ref]


# Asks.


@pytest.mark.parametrize(("how", "error"), [(fail, ValueError), (exit_, ActorCrash)])
def test_a_failing_ask_is_answered_with_the_error_and_leaves_the_actor_alive(
    runtime: ManualRuntime,
    mailbox: MakeMailbox,
    notes: list[str],
    keeper: Kept,
    how: Hook,
    error: type[Exception],
) -> None:
    """Who asks gets to hear it, so nobody else has to."""
    box = mailbox()
    answer = spawn(box, lambda: Probe(notes)).actor_ref.ask(how, block=False)
    box.tell("goes on")
    runtime.run_until_idle()
    with pytest.raises(error):
        answer.get(timeout=0)
    assert notes == ["start", "goes on", "settle"]
    assert keeper.messages == []


# Birth and names.


def test_an_actor_is_only_born_into_a_mailbox(mailbox: MakeMailbox, notes: list[str]) -> None:
    """Pykka's way to start one is closed, also after a birth that went wrong."""

    def never_born() -> Probe:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        spawn(mailbox(), never_born)
    with pytest.raises(AmendsError, match=r"Probe: .* by its supervisor"):
        Probe(notes)
    with pytest.raises(AmendsError, match=r"by its supervisor"):
        Probe.start(notes)


def test_a_constructor_that_fails_leaves_the_mailbox_to_the_next(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Whoever spawned it hears of it at once."""

    class Broken(Probe):
        def __init__(self) -> None:
            super().__init__(notes)
            raise ValueError("half made")

    box = mailbox()
    box.tell("waiting")
    with pytest.raises(ValueError, match="half made"):
        spawn(box, Broken)
    assert box.actor is None
    respawn(runtime, box, notes)
    assert notes == ["start", "waiting", "settle"]


def test_an_actor_is_listed_from_its_birth_to_its_end(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Pykka's registry knows who lives, by a name made from the address."""
    actor = spawn(mailbox("orders"), lambda: Probe(notes))
    assert pykka.ActorRegistry.get_by_urn("urn:amends:orders") is actor.actor_ref
    actor.stop()
    runtime.run_until_idle()
    assert pykka.ActorRegistry.get_all() == []


def test_numerous_actors_may_stay_out_of_the_registry(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """The registry is a list, and is searched from its start."""
    actor = spawn(mailbox(), lambda: Unlisted(notes))
    assert pykka.ActorRegistry.get_all() == []
    actor.stop()
    runtime.run_until_idle()
    assert notes == ["start", "settle", "stop"]


def test_an_actor_knows_its_address_and_its_clock(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Time comes from whoever gives the turns."""
    box = mailbox()
    actor = spawn(box, lambda: Probe(notes))
    assert actor.address is box
    assert actor.clock is runtime.clock
    assert actor.actor_ref is actor.actor_ref


def test_an_actor_that_wants_to_be_woken_gets_a_turn_without_a_message(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """At the time it names, not before, and once; None takes the wish back."""

    def wake_once(probe: Probe) -> None:
        probe.wakes_at_s = 1005.0 if runtime.clock.now_s() < 1005.0 else None

    spawn(mailbox(), lambda: Probe(notes, settle=wake_once))
    runtime.advance(4.9)
    assert notes == ["start", "settle"]
    runtime.advance(0.1)
    assert notes == ["start", "settle", "settle"]
    runtime.advance(100.0)
    assert notes == ["start", "settle", "settle"]


def test_a_failed_actors_alarm_wakes_nobody(runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]) -> None:
    """The wish dies with the incarnation that had it."""

    def wake(probe: Probe) -> None:
        probe.wakes_at_s = 1005.0

    box = mailbox()
    spawn(box, lambda: Probe([], settle=wake))
    runtime.run_until_idle()
    box.tell(Kill())
    runtime.run_until_idle()
    respawn(runtime, box, notes)
    runtime.advance(10.0)
    assert notes == ["start", "settle"]


def test_pykka_is_kept_from_logging_what_an_error_says(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An error's text may quote a message, and Pykka's own report would print it."""
    box = mailbox()
    box.tell(fail)
    with caplog.at_level(logging.DEBUG):
        respawn(runtime, box, notes)
    assert SECRET not in caplog.text
