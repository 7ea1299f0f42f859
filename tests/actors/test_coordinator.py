"""The coordinator between a journal and sagas that the test plays."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from amends import AmendsError, BrokerUnavailable, JournalUnavailable, KeyConflict, Overloaded, SystemStopped
from amends.actors.callers import AskStatus, AwaitIdle, Callers, Drain, Submit, ToInstance
from amends.actors.coordinator import Coordinator
from amends.actors.instances import INTENSITY, SLOW_S
from amends.actors.journal.messages import (
    Adopted,
    Append,
    History,
    Known,
    ListOpen,
    NotOpened,
    Open,
    Opened,
    OpenPage,
    Quarantine,
    ReadBack,
    Relay,
    Relayed,
    Watch,
)
from amends.actors.journal.store import Grant, Instance
from amends.actors.saga import Cancel, InstanceEnded, InstanceStuck, InstanceUnreadable, Surroundings
from amends.actors.timers import After
from amends.actors.transport.in_process import InProcess
from amends.protocol.events import CancelAnswer, CancelAsked, Skip
from amends.protocol.messages import Do, SagaId
from amends.protocol.records import Decided, Direction, Ended, Started
from amends.protocol.state import Compensated
from amends.supervisor.actor import Kill, spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.telemetry import Counters
from tests.actors.trip import BookTrip
from tests.actors.world import OneThread, Probe

PLAN = BookTrip.plan
TOKEN = 7


class Front:
    """A coordinator, with probes for all that stands around it."""

    def __init__(self, max_open: int = 100) -> None:
        self.runtime = OneThread()
        self.journal, self.timers, self.dead, self.keeper = (Probe(n) for n in ("journal", "timers", "dead", "keeper"))
        self.seats = Probe("seats")
        self.sagas: dict[SagaId, Mailbox] = {}
        self.callers = Callers()
        self.counters = Counters()
        self.mailbox = Mailbox("coordinator", self.runtime, keeper=self.keeper)
        plans = {(PLAN.name, PLAN.version): PLAN}
        transport = self.transport = InProcess({"seats": self.seats}, self.sagas)

        around = Surroundings(plans, self.journal, self.mailbox, self.timers, transport, self.counters, expiry_s=3600.0)

        self._make = lambda: Coordinator(plans, around, self.sagas, self.callers, self.runtime, self.dead, max_open)
        self.start()

    def start(self) -> None:
        spawn(self.mailbox, self._make)
        self.runtime.run()

    def tell(self, *messages: object) -> list[Any]:
        """One turn with these messages, and what the journal was told."""
        for message in messages:
            self.mailbox.tell(message)
        self.runtime.run()
        return self.journal.take()

    def ready(self, *open_ids: str) -> list[Any]:
        """The journal's first word: these instances are open."""
        grants = [Grant(saga_id, TOKEN) for saga_id in open_ids]
        return self.tell(OpenPage(self.incarnation, grants, {"open": len(grants), "completed": 3}, last=True))

    @property
    def incarnation(self) -> int:
        return self.mailbox.incarnation

    def status(self) -> Any:
        future: Future[Any] = Future()
        self.tell(AskStatus(future))
        return future.result(0)

    def stop(self) -> None:
        if self.mailbox.actor is not None:
            self.mailbox.actor.retire()


@pytest.fixture
def front(nobody_left: None) -> Iterator[Front]:
    """A coordinator that has not heard from its journal yet."""
    front = Front()
    yield front
    front.stop()


class Asking:
    """A start, as its caller sees it."""

    def __init__(self, saga_id: str = "a", key: str | None = None, data: bytes = b'{"name":"x","seats":1}') -> None:
        self.accepted: Future[Any] = Future()
        self.outcome: Future[Any] = Future()
        self.submit = Submit(SagaId(saga_id), PLAN, key, data, self.accepted, self.outcome)


def started(front: Front, saga_id: str = "a") -> Asking:
    """An instance that runs."""
    asking = Asking(saga_id)
    front.tell(asking.submit)
    front.tell(Opened(SagaId(saga_id), TOKEN))
    return asking


def known(asked: str, state: str, records: tuple[Any, ...]) -> Known:
    """The journal's word that the key belongs to the instance `first`."""
    return Known(SagaId(asked), Instance("first", PLAN.name, 1, "k", state, 1.0, 2.0), records)


def records_of(opening: Open) -> tuple[Any, ...]:
    """The history of `first`, which was started as this opening asks."""
    return (msgspec.structs.replace(opening.started, saga_id=SagaId("first")),)


def test_asks_for_what_is_open(front: Front) -> None:
    """Its first word is to the journal: which instances are open?"""
    (asked,) = front.journal.take()
    assert isinstance(asked, ListOpen)


def test_accepted_only_when_on_disk(front: Front) -> None:
    """A start is accepted, and its first command leaves, when the journal says so, and not before."""
    front.ready()
    asking = Asking()
    (opening,) = front.tell(asking.submit)
    assert isinstance(opening, Open)
    assert (asking.accepted.done(), front.seats.told) == (False, [])
    front.tell(Opened(SagaId("a"), TOKEN))
    assert asking.accepted.result(0) == "a"
    assert [type(message) for message in front.seats.take()] == [Do]


def test_commands_carry_the_token_that_was_granted(front: Front) -> None:
    """That of the opening, or of the adoption, also after a restart of the instance."""
    front.ready()
    started(front)
    (command,) = front.seats.take()
    assert command.token == TOKEN
    front.tell(Adopted([Grant("b", TOKEN + 1)]))
    for _ in range(2):
        front.timers.take()
        front.sagas[SagaId("b")].tell(Kill())
        front.runtime.run()
        (after,) = front.timers.take()
        front.tell(after.message)
        history = Started(SagaId("b"), PLAN.name, 1, "b", msgspec.Raw(b'{"name":"x"}'), 5.0)
        front.sagas[SagaId("b")].tell(History(SagaId("b"), None, (history,), ""))
        front.runtime.run()
        assert {message.token for message in front.seats.take()} == {TOKEN + 1}


def test_opened_before_the_journals_first_page(front: Front) -> None:
    """It was perhaps another incarnation's word, so the instance is run under the token that the page has for it."""
    asking = started(front)
    assert (asking.accepted.result(0), front.seats.told, front.sagas) == ("a", [], {})
    assert front.tell(OpenPage(1, [Grant("a", TOKEN + 1)], {}, last=True)) == []
    (command,) = front.seats.take()
    assert (list(front.sagas), command.token) == (["a"], TOKEN + 1)


def test_page_that_an_earlier_coordinator_had_asked_for(front: Front) -> None:
    """It comes from a journal that is gone perhaps, with tokens that are worth nothing any more."""
    front.tell(Kill())
    front.start()
    front.tell(OpenPage(1, [Grant("a", TOKEN)], {}, last=True), Adopted([Grant("b", TOKEN)]))
    assert front.sagas == {}
    front.ready("a")
    assert list(front.sagas) == ["a"]


def test_known_key_from_before_all_is_recovered(front: Front) -> None:
    """Nobody knows yet whose the instance is; when it turns out to be ours it is run once."""
    asking = Asking("b", "k")
    *_, opening = front.tell(asking.submit)
    assert front.tell(known("b", "open", records_of(opening))) == []
    (asked,) = front.ready("first")
    assert isinstance(asked, ReadBack)


def test_known_key_of_another_nodes_instance(front: Front) -> None:
    """It is not run here; whoever waits is told its outcome once it has ended there."""
    front.ready()
    asking = Asking("b", "k")
    (opening,) = front.tell(asking.submit)
    (watch,) = front.tell(known("b", "open", records_of(opening)))
    assert (type(watch), watch.saga_id, front.sagas) == (Watch, "first", {})
    ended = (*records_of(opening), Decided(Direction.BACK, None, "x"), Ended(completed=False, reason="x"))
    front.tell(History(SagaId("first"), Instance("first", PLAN.name, 1, "k", "compensated", 1.0, 2.0), ended, ""))
    assert (asking.accepted.result(0), asking.outcome.result(0)) == ("first", Compensated(None, "x"))


def test_known_key_of_another_nodes_instance_that_is_adopted(front: Front) -> None:
    """From then on it is run here, and its end is told here."""
    front.ready()
    asking = Asking("b", "k")
    (opening,) = front.tell(asking.submit)
    front.tell(known("b", "open", records_of(opening)))
    (asked,) = front.tell(Adopted([Grant("first", TOKEN + 1)]))
    assert (type(asked), list(front.sagas)) == (ReadBack, ["first"])
    front.tell(InstanceEnded(SagaId("first"), Compensated(None, "x")))
    assert asking.outcome.result(0) == Compensated(None, "x")


def test_adopted_instance_that_runs_here_already(front: Front) -> None:
    """It goes on: an adoption that was in doubt is told with all that was ours before."""
    front.ready("a")
    before = front.sagas[SagaId("a")].actor
    told = front.tell(Adopted([Grant("a", TOKEN), Grant("b", TOKEN + 1)]))
    assert [(type(m), m.saga_id) for m in told] == [(ReadBack, "b")]
    assert front.sagas[SagaId("a")].actor is before


def test_instance_that_was_adopted_by_others(front: Front) -> None:
    """A journal that has lost its lease comes back without it; its callers hear of its end all the same."""
    front.ready("a")
    asking = started(front, "b")
    front.tell(Kill())
    front.start()
    front.journal.take()
    told = front.ready()
    assert [(type(m), m.saga_id) for m in told] == [(Watch, "b")]
    assert (front.sagas, asking.outcome.done()) == ({}, False)


def test_one_instance_for_a_start_that_is_read_twice(front: Front) -> None:
    """A coordinator that fails in the turn of a start makes one instance of it all the same."""
    front.ready()
    asking = Asking()
    front.journal.take()
    front.tell(asking.submit, Kill())
    front.start()
    openings = [message for message in front.journal.take() if isinstance(message, Open)]
    assert [opening.started.saga_id for opening in openings] == ["a"]


def test_accepted_is_told_though_the_turn_failed(front: Front) -> None:
    """A coordinator that fails as it tells "accepted" tells it in the next incarnation."""
    front.ready()
    asking = Asking()
    front.tell(asking.submit)
    front.tell(Opened(SagaId("a"), TOKEN), Kill())
    assert not asking.accepted.done()
    front.start()
    assert asking.accepted.result(0) == "a"


def test_outcome_is_told_though_the_turn_failed(front: Front) -> None:
    """So is an outcome."""
    front.ready()
    asking = started(front)
    front.tell(InstanceEnded(SagaId("a"), Compensated(None, "x")), Kill())
    assert not asking.outcome.done()
    front.start()
    assert asking.outcome.result(0) == Compensated(None, "x")


def test_refusal_is_told_though_the_turn_failed(front: Front) -> None:
    """So is what the journal can't take."""
    front.ready()
    asking = Asking()
    front.tell(asking.submit)
    front.tell(NotOpened(SagaId("a"), "disk full"), Kill())
    front.start()
    with pytest.raises(JournalUnavailable, match="disk full"):
        asking.accepted.result(0)


def test_open_instances_are_run_again(front: Front) -> None:
    """Every page of open instances is read back and run, and then it says that all are."""
    front.journal.take()
    page = [Grant(f"i{n}", TOKEN) for n in range(3)]
    (asked,) = [m for m in front.tell(OpenPage(1, page, {}, last=False)) if isinstance(m, ListOpen)]
    assert (asked.after, front.status().recovered) == ("i2", False)
    front.tell(OpenPage(1, [Grant("i9", TOKEN)], None, last=True))
    assert (front.status().recovered, sorted(front.sagas)) == (True, ["i0", "i1", "i2", "i9"])


def test_known_key_of_an_ended_instance(front: Front) -> None:
    """It is not run again; its outcome, or a conflict if the input is another, is told at once."""
    front.ready()
    same, other = Asking("b", "k"), Asking("c", "k", b'{"name":"y","seats":1}')
    (opening, _) = front.tell(same.submit, other.submit)
    ended = (*records_of(opening), Decided(Direction.BACK, None, "x"), Ended(completed=False, reason="x"))
    front.tell(known("b", "compensated", ended), known("c", "compensated", ended))
    assert same.outcome.result(0) == Compensated(None, "x")
    with pytest.raises(KeyConflict):
        other.accepted.result(0)


def test_limit_counts_starts_that_are_not_answered(front: Front, nobody_left: None) -> None:
    """Admission counts what runs and what is about to."""
    small = Front(max_open=2)
    small.ready()
    askings = [Asking(name) for name in "abc"]
    small.tell(*(asking.submit for asking in askings))
    with pytest.raises(Overloaded):
        askings[2].accepted.result(0)
    small.tell(NotOpened(SagaId("a"), "full"))
    again = Asking("d")
    assert len(small.tell(again.submit)) == 1
    small.stop()


def test_new_instance_is_refused_while_the_transport_takes_no_more(front: Front) -> None:
    """The journal is asked to open it only if its key is known; so a known one is found, and its input compared."""
    front.ready()
    front.transport.full = "5 wait"
    new, same, other = Asking("a"), Asking("b", "k"), Asking("c", "k", b'{"name":"y","seats":1}')
    opens = front.tell(new.submit, same.submit, other.submit)
    assert [opening.closed for opening in opens] == ["5 wait"] * 3
    history = records_of(opens[1])
    front.tell(NotOpened(SagaId("a"), "5 wait", closed=True), known("b", "open", history), known("c", "open", history))
    with pytest.raises(BrokerUnavailable, match="5 wait"):
        new.accepted.result(0)
    assert same.accepted.result(0) == "first"
    with pytest.raises(KeyConflict):
        other.accepted.result(0)
    front.transport.full = ""
    (opening,) = front.tell(Asking("d").submit)
    assert opening.closed == ""


def test_drain(front: Front) -> None:
    """Starts are refused from then on, and it is answered when the last instance has ended."""
    front.ready()
    started(front)
    drained: Future[Any] = Future()
    late = Asking("b")
    front.tell(Drain(drained), late.submit)
    with pytest.raises(SystemStopped):
        late.accepted.result(0)
    assert not drained.done()
    front.tell(InstanceEnded(SagaId("a"), Compensated(None, "x")))
    assert drained.done()


def test_drain_outlives_the_coordinator(front: Front) -> None:
    """One that fails meanwhile has not forgotten who waits, and still takes nothing new."""
    front.ready()
    drained: Future[Any] = Future()
    started(front)
    front.tell(Drain(drained))
    front.tell(Kill())
    front.start()
    late = Asking("b")
    front.ready("a")
    front.tell(late.submit)
    assert (late.accepted.done(), drained.done()) == (True, False)
    front.tell(InstanceEnded(SagaId("a"), Compensated(None, "x")))
    assert drained.done()


def test_await_idle(front: Front) -> None:
    """New starts are taken meanwhile and waited for, too; it is answered when none is open, and asked for anew."""
    started(front)
    idle: Future[Any] = Future()
    front.tell(AwaitIdle(idle))
    front.ready("a", "b")
    started(front, "c")
    for saga_id in "abc":
        assert not idle.done()
        front.tell(InstanceEnded(SagaId(saga_id), Compensated(None, "x")))
    assert idle.done()
    started(front, "d")
    again: Future[Any] = Future()
    front.tell(AwaitIdle(again))
    assert not again.done()
    front.tell(InstanceEnded(SagaId("d"), Compensated(None, "x")))
    assert again.done()


def test_await_idle_before_the_recovery(front: Front) -> None:
    """Before the journal has told of all that is open nobody is told that nothing is."""
    idle: Future[Any] = Future()
    front.tell(AwaitIdle(idle))
    assert not idle.done()
    front.ready()
    assert idle.done()


def test_await_idle_outlives_the_coordinator(front: Front) -> None:
    """One that fails meanwhile has not forgotten who waits, and goes on taking what is new."""
    front.ready()
    started(front)
    idle: Future[Any] = Future()
    front.tell(AwaitIdle(idle))
    front.tell(InstanceEnded(SagaId("a"), Compensated(None, "x")), Kill())
    assert not idle.done()
    front.start()
    late = started(front, "b")
    front.ready("b")
    assert (late.accepted.done(), idle.done()) == (True, False)
    front.tell(InstanceEnded(SagaId("b"), Compensated(None, "x")))
    assert idle.done()


def test_cancel_outlives_the_coordinator(front: Front) -> None:
    """Who waits for an answer that got lost is told that it is not known."""
    front.ready()
    started(front)
    answer: Future[Any] = Future()
    front.tell(ToInstance(SagaId("a"), Cancel(answer), answer))
    assert not answer.done()
    front.tell(Kill())
    front.start()
    with pytest.raises(AmendsError, match="instance a"):
        answer.result(0)


def test_cancel_of_what_is_not_open(front: Front) -> None:
    """Before all is recovered it waits; then the journal knows whether another node runs it."""
    answer: Future[Any] = Future()
    front.tell(ToInstance(SagaId("a"), Cancel(answer), answer))
    assert not answer.done()
    (relay,) = front.ready()
    assert (type(relay), relay.saga_id, relay.event, relay.future) == (Relay, "a", CancelAsked(), answer)


def test_asked_by_another_node(front: Front) -> None:
    """What a caller there wants of an instance here it hears, and answers, as if the caller were here."""
    front.ready()
    started(front)
    answers: list[Future[Any]] = [Future(), Future()]
    front.tell(Relayed(SagaId("a"), Skip("seat", "me", "why"), answers[0]))
    (append,) = front.tell(Relayed(SagaId("a"), CancelAsked(), answers[1]))
    assert "not stuck" in answers[0].result(0)
    assert isinstance(append, Append)
    for address, message in append.then:
        address.tell(message)
    assert answers[1].result(0) is CancelAnswer.ACCEPTED


def test_failed_instance_is_restarted(front: Front) -> None:
    """After a wait that grows; the first restart is at once."""
    front.ready()
    started(front)
    front.timers.take()
    front.sagas[SagaId("a")].tell(Kill())
    front.runtime.run()
    (after,) = front.timers.take()
    assert isinstance(after, After)
    assert after.at == front.runtime.clock.now_at()
    (asked,) = front.tell(after.message)
    assert isinstance(asked, ReadBack)
    assert front.counters.restarts == 1


def test_instance_that_keeps_failing_is_stuck(front: Front) -> None:
    """It is shown and tried slowly; the coordinator and its other instances never notice."""
    front.ready()
    started(front)
    started(front, "b")
    for _ in range(INTENSITY + 1):
        assert front.status().stuck == {}
        front.timers.take()
        front.sagas[SagaId("a")].tell(Kill())
        front.runtime.run()
        (after,) = front.timers.take()
        if not front.status().stuck:
            front.tell(after.message)
    assert list(front.status().stuck) == ["a"]
    assert after.at == front.runtime.clock.now_at() + SLOW_S
    assert (sorted(front.sagas), front.keeper.told) == (["a", "b"], [])


def test_stuck_and_no_longer(front: Front) -> None:
    """What an instance says of its stuck steps is shown as long as it says so."""
    front.ready()
    started(front)
    front.tell(InstanceStuck(SagaId("a"), {"ticket": "no paper"}))
    assert front.status().stuck == {"a": {"ticket": "no paper"}}
    front.tell(InstanceStuck(SagaId("a"), {}))
    assert front.status().stuck == {}


@pytest.mark.parametrize("corrupt", [True, False])
def test_unreadable_instance(front: Front, corrupt: bool) -> None:
    """It is put aside and reported to who waits; only a damaged one is quarantined in the journal."""
    front.ready()
    asking = started(front)
    told = front.tell(InstanceUnreadable(SagaId("a"), "checksum", corrupt=corrupt))
    assert [type(message) for message in told] == [Quarantine] * corrupt
    with pytest.raises(AmendsError, match="checksum"):
        asking.outcome.result(0)
    assert front.status().unreadable == {"a": "checksum"}


def test_cancel_of_an_unreadable_instance(front: Front) -> None:
    """It has not ended, so the answer is neither an answer to the cancel nor that it came too late."""
    front.ready()
    started(front)
    front.tell(InstanceUnreadable(SagaId("a"), "checksum", corrupt=True))
    answer: Future[Any] = Future()
    front.tell(ToInstance(SagaId("a"), Cancel(answer), answer))
    with pytest.raises(AmendsError, match="checksum"):
        answer.result(0)


def test_counts_come_from_the_journal(front: Front) -> None:
    """A status waits for the journal's first word, and counts on from there."""
    status: Future[Any] = Future()
    front.tell(AskStatus(status))
    assert not status.done()
    front.ready()
    assert status.result(0).ended == {"completed": 3, "compensated": 0, "quarantined": 0}
    started(front)
    front.tell(InstanceEnded(SagaId("a"), Compensated(None, "x")))
    assert front.status().ended["compensated"] == 1


def test_message_nobody_knows(front: Front) -> None:
    """It fails the coordinator's turn with the message's name, as a poison message does."""
    front.tell("hello")
    (failed,) = front.keeper.told
    assert failed.error == "AmendsError"
