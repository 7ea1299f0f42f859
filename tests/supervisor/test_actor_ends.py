"""How an actor ends: asked to, retired, or given up in a turn that does not end."""

import re
import threading
from typing import Any

import pykka
import pytest

from amends.supervisor.actor import Exited, spawn
from amends.supervisor.mailbox import POISON_LIMIT, Mailbox
from amends.supervisor.runtimes.pool import Pool
from tests.supervisor.conftest import MakeMailbox
from tests.supervisor.manual import ManualClock, ManualRuntime
from tests.supervisor.probe import WAIT_S, Kept, Once, Probe, Unlisted, fail, respawn

FRAMES = re.compile(r"(.+\.py:\d+ in \w+\n)*.+\.py:\d+ in \w+")


# Ends.


def test_a_stopped_actor_settles_sends_and_reports_its_exit(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, sink: Kept
) -> None:
    """Stopping is no failure; what it has not read waits at its address."""
    box = mailbox()
    actor = spawn(box, lambda: Probe(notes, stop=lambda probe: probe.tell(sink, "goodbye")))
    box.tell(lambda probe: probe.tell(sink, "work"))
    actor.stop()
    box.tell("for the next one")
    runtime.run_until_idle()
    assert notes == ["start", "settle", "stop"]
    assert sink.messages == ["work", "goodbye"]
    [exited] = keeper.messages
    assert isinstance(exited, Exited)
    assert (exited.name, exited.incarnation) == ("probe", 1)
    assert pykka.ActorRegistry.get_all() == []
    respawn(runtime, box, notes)
    assert notes[3:] == ["start", "for the next one", "settle"]


def test_whoever_asks_an_actor_to_stop_hears_when_it_has(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept
) -> None:
    """Pykka's own `stop` works."""
    ref = spawn(mailbox(), lambda: Probe(notes)).actor_ref
    stopped = ref.stop(block=False)
    runtime.run_until_idle()
    assert stopped.get(timeout=0) is True
    assert ref.stop() is False
    assert keeper.reports == [("probe", 1, "exited")]


def test_a_retired_actor_takes_no_more_turns_and_leaves_its_letters(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept
) -> None:
    """Who retires it knows, so nobody is told."""
    box = mailbox()
    actor = spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    box.tell("for the next one")
    actor.retire()
    runtime.run_until_idle()
    assert notes == ["start", "settle", "let go"]
    assert keeper.messages == []
    assert runtime.replaced == []
    respawn(runtime, box, notes)
    assert notes[3:] == ["start", "for the next one", "settle"]


def test_an_actor_retired_as_its_turn_begins_takes_none(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str]
) -> None:
    """Another thread may come in between; not even its start is its own any more."""
    box = mailbox()
    box.tell("for the next one")
    actor = spawn(box, lambda: Probe(notes))

    class Meanwhile(ManualClock):
        """Whoever asks for the time finds the actor retired when they have it."""

        def now_s(self) -> float:
            if not actor.actor_stopped.is_set():
                actor.retire()
            return super().now_s()

    runtime.clock = Meanwhile()
    runtime.run_until_idle()
    assert notes == ["let go, hung"]
    respawn(runtime, box, notes)
    assert notes[1:] == ["start", "for the next one", "settle"]


def test_an_actor_retired_in_its_turn_has_done_nothing(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, sink: Kept, dead: Kept
) -> None:
    """Its letters come back, unblamed, what it told goes nowhere, and its thread has to be replaced."""
    box = mailbox()

    def retire(probe: Probe) -> None:
        probe.tell(sink, "never")
        probe.retire()
        probe.tell(sink, "never")

    for message in ("a", Once(retire), "b"):
        box.tell(message)
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert notes == ["start", "a", "let go, hung"]
    assert runtime.replaced == [box]
    respawn(runtime, box, notes)
    assert notes[3:] == ["start", "a", "b", "settle"] or notes[3:] == ["start", "a", "settle", "b", "settle"]
    assert sink.messages == []
    assert keeper.messages == []
    assert dead.messages == []


def test_an_actor_retired_just_when_its_turn_ends_has_settled_what_it_sends(
    pool: Pool, keeper: Kept, sink: Kept
) -> None:
    """The turn wins, so it does all that belongs to it: nothing leaves that did not settle."""
    handling, ended = threading.Event(), threading.Event()
    go = threading.Event()
    me = threading.current_thread()
    notes: list[str] = []

    class Raced(Mailbox):
        """The turn ends in the very moment in which another thread is about to end it."""

        __slots__ = ()

        def close_turn(self, actor: Any) -> bool:
            if threading.current_thread() is me:
                go.set()
                assert ended.wait(WAIT_S)
                return super().close_turn(actor)
            closed = super().close_turn(actor)
            ended.set()
            return closed

    def wait(probe: Probe) -> None:
        probe.tell(sink, "depends on the settling")
        handling.set()
        go.wait(WAIT_S)

    box = Raced("probe", pool, keeper=keeper)
    box.tell(wait)
    box.tell("last of the turn")
    actor = spawn(box, lambda: Unlisted(notes))
    assert handling.wait(WAIT_S)
    actor.retire()
    assert pool.stop(WAIT_S)
    assert notes[:3] == ["start", "last of the turn", "settle"]
    assert sink.messages == ["depends on the settling"]


# Turns that do not end.


def test_a_turn_that_is_given_up_has_done_nothing(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, sink: Kept
) -> None:
    """Its letters come back, its keeper is told, and what it tells before or after goes nowhere."""
    box = mailbox()

    def hang(probe: Probe) -> None:
        probe.tell(sink, "never")
        assert probe.give_up()
        assert pykka.ActorRegistry.get_all() == []
        assert keeper.reports == [("probe", 1, "a turn that did not end")]
        assert runtime.replaced == [box]
        probe.tell(sink, "never")
        probe.notes.append("ends after all")

    for message in ("a", Once(hang), "b"):
        box.tell(message)
    spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert notes == ["start", "a", "let go, hung", "ends after all"]
    respawn(runtime, box, notes)
    assert [note for note in notes[4:] if note != "settle"] == ["start", "a", "b"]
    assert sink.messages == []


def test_a_message_whose_turn_is_given_up_three_times_becomes_a_dead_letter(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], dead: Kept
) -> None:
    """A message that makes its readers hang is as bad as one that kills them."""

    def hang(probe: Probe) -> None:
        probe.give_up()

    box = mailbox()
    for message in ("before", hang, "behind"):
        box.tell(message)
    respawn(runtime, box, notes, times=POISON_LIMIT + 1)
    assert [(d.message, d.reason) for d in dead.messages] == [
        (hang, "3 incarnations died of it, the last of a turn that did not end")
    ]
    assert [note for note in notes if note == "behind"] == ["behind"]


@pytest.mark.parametrize("how", ["give_up", "retire"])
def test_a_turn_that_was_taken_away_frees_in_its_own_thread_what_nobody_else_could(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, how: str
) -> None:
    """Once, when it is back; a turn that ends by itself has nothing to come back to."""

    class Holding(Probe):
        def came_back(self) -> None:
            self.notes.append("came back")
            raise SystemExit  # which is logged, and no more

    def hang(probe: Probe) -> None:
        getattr(probe, how)()
        probe.notes.append("ends after all")

    box = mailbox()
    spawn(box, lambda: Holding(notes))
    box.tell(Once(hang))
    runtime.run_until_idle()
    assert notes == ["start", "let go, hung", "ends after all", "came back"]
    assert len(keeper.messages) == (1 if how == "give_up" else 0)
    spawn(box, lambda: Holding(notes))
    box.tell(fail)
    runtime.run_until_idle()
    assert notes[4:] == ["start", "let go"]


def test_a_turn_that_just_ended_can_not_be_given_up(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept
) -> None:
    """The watch may come a moment too late; then nothing happens."""
    box = mailbox()
    actor = spawn(box, lambda: Probe(notes))
    runtime.run_until_idle()
    assert not actor.give_up()
    box.tell("goes on")
    runtime.run_until_idle()
    assert notes == ["start", "settle", "goes on", "settle"]
    assert keeper.messages == []


def test_giving_up_an_incarnation_leaves_the_turn_of_its_successor_alone(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, sink: Kept
) -> None:
    """A watch that looked before the restart speaks of an actor that has no turn any more."""
    box = mailbox()
    old = spawn(box, lambda: Probe([], start=fail))
    runtime.run_until_idle()
    gave_up: list[bool] = []

    def work(probe: Probe) -> None:
        probe.tell(sink, "done")
        gave_up.append(old.give_up())

    box.tell(work)
    respawn(runtime, box, notes)
    assert gave_up == [False]
    assert sink.messages == ["done"]
    assert keeper.reports == [("probe", 1, "ValueError")]


def test_a_hung_turn_that_ends_in_its_successors_turn_ends_nothing(
    pool: Pool, mailbox: MakeMailbox, keeper: Kept, sink: Kept
) -> None:
    """What it told goes nowhere, and its successor's turn is its successor's to end."""
    box = mailbox(on=pool)
    first_go, second_go = threading.Event(), threading.Event()
    in_hand = Kept()

    def hang(probe: Probe) -> None:
        probe.tell(sink, f"told by {probe.incarnation}")
        in_hand.tell(threading.current_thread())
        (first_go if probe.incarnation == 1 else second_go).wait(WAIT_S)

    first = spawn(box, lambda: Unlisted([]))
    box.tell(hang)
    hung = in_hand.take()
    assert first.give_up()
    spawn(box, lambda: Unlisted([]))
    in_hand.take()
    first_go.set()
    hung.join(WAIT_S)
    assert not hung.is_alive()
    assert sink.messages == []
    second_go.set()
    assert sink.take() == "told by 2"
    assert keeper.reports == [("probe", 1, "a turn that did not end")]


def test_a_turn_given_up_while_it_settles_to_stop_sends_nothing(
    runtime: ManualRuntime, mailbox: MakeMailbox, notes: list[str], keeper: Kept, sink: Kept
) -> None:
    """Stopping is no way around the rule."""

    def hang(probe: Probe) -> None:
        probe.give_up()
        probe.tell(sink, "never")

    actor = spawn(mailbox(), lambda: Probe(notes, settle=hang))
    actor.stop()
    runtime.run_until_idle()
    assert sink.messages == []
    assert notes == ["start", "settle", "let go, hung"]
    assert keeper.reports == [("probe", 1, "a turn that did not end")]
