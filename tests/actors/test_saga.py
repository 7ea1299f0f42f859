"""One instance's actor between a journal and services that the test plays."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from amends.actors.journal.messages import Append, AppendRefused, History, ReadBack
from amends.actors.saga import (
    Alarm,
    Cancel,
    Durable,
    InstanceEnded,
    InstanceStuck,
    InstanceUnreadable,
    Intervene,
    SagaActor,
    Surroundings,
)
from amends.actors.timers import After
from amends.actors.transport.in_process import InProcess
from amends.protocol.events import CancelAnswer, RetryNow
from amends.protocol.machine import begin
from amends.protocol.messages import Answer, Do, Done, Refused, Reply, Unavailable, Undo, Undone
from amends.protocol.records import Decided, Direction, Ended, Record, Resumed, Started, StepDone
from amends.protocol.state import Compensated, Completed
from amends.supervisor.actor import Kill, spawn
from amends.supervisor.mailbox import Caller, Mailbox
from amends.supervisor.telemetry import Counters
from tests.actors.trip import BookTrip
from tests.actors.world import SAGA, OneThread, Probe

PLAN = BookTrip.plan
SEAT = Done(msgspec.Raw(b'"seat"'))
FARE = Done(msgspec.Raw(b"7"))


TOKEN = 3


class Instance:
    """A trip's actor; `journal` and `services` are told, and the test answers."""

    def __init__(self) -> None:
        self.runtime = OneThread()
        self.journal, self.coordinator, self.timers, self.keeper = (Probe(n) for n in "jctk")
        self.services = Probe("services")
        self.sagas: dict[Any, Any] = {}
        self.started = Started(SAGA, PLAN.name, 1, "k", msgspec.Raw(b'{"name":"x"}'), self.runtime.clock.now_at())
        self.mailbox = Mailbox(SAGA, self.runtime, keeper=self.keeper)
        self.around = Surroundings(
            {(PLAN.name, 1): PLAN},
            self.journal,
            self.coordinator,
            self.timers,
            InProcess(dict.fromkeys(("seats", "fares", "tickets"), self.services), self.sagas),
            Counters(),
            expiry_s=3600.0,
        )

    def open(self) -> None:
        spawn(self.mailbox, lambda: SagaActor(SAGA, TOKEN, self.around, (PLAN, begin(PLAN, self.started))))
        self.runtime.run()

    def recover(self, *records: Record, problem: str = "") -> None:
        """As after a crash, with this history."""
        spawn(self.mailbox, lambda: SagaActor(SAGA, TOKEN, self.around, None))
        self.runtime.run()
        (asked,) = self.journal.take()
        assert isinstance(asked, ReadBack)
        self.tell(History(SAGA, None, records, problem))

    def tell(self, *messages: object) -> None:
        for message in messages:
            self.mailbox.tell(message)
        self.runtime.run()

    def reply(self, step: str, answer: Answer, phase: str = "do", attempt: int = 1) -> None:
        self.tell(Reply(SAGA, step, phase, attempt, answer))

    def appended(self) -> list[Append]:
        return [message for message in self.journal.take() if isinstance(message, Append)]

    def sent(self) -> list[str]:
        return [f"{type(message).__name__} {message.step}" for message in self.services.take()]

    def stop(self) -> None:
        if self.mailbox.actor is not None:
            self.mailbox.actor.retire()


@pytest.fixture
def instance(nobody_left: None) -> Iterator[Instance]:
    """One instance that has not begun."""
    instance = Instance()
    yield instance
    instance.stop()


def then_of(append: Append) -> list[str]:
    """What the journal is to tell once the records are on disk."""
    return [getattr(message, "step", type(message).__name__) for _, message in append.then]


def test_first_command(instance: Instance) -> None:
    """What is on disk already is not appended again, and the first command leaves with token and expiry."""
    instance.open()
    (command,) = instance.services.take()
    assert isinstance(command, Do)
    assert (command.step, command.token, command.payload) == ("seat", 3, b'{"name":"x"}')
    assert command.expires_at == instance.runtime.clock.now_at() + 3600.0
    assert instance.appended() == []


def test_results_are_lazy(instance: Instance) -> None:
    """A step's result keeps the next command waiting for no disk."""
    instance.open()
    instance.sent()
    instance.reply("seat", SEAT)
    assert instance.sent() == ["Do fare"]
    assert not any(append.forced for append in instance.appended())


def test_nothing_leaves_before_the_decision_is_on_disk(instance: Instance) -> None:
    """The first command after the decision leaves with the journal's leave, and so does all that comes later."""
    instance.open()
    instance.reply("seat", SEAT)
    instance.appended()
    instance.sent()
    instance.reply("fare", FARE)
    (append,) = instance.appended()
    assert append.forced
    assert isinstance(append.records[-1], Decided)
    assert then_of(append) == ["ticket"]
    assert instance.sent() == []


def test_what_comes_before_the_decision_is_known_to_be_on_disk_waits_behind_it(instance: Instance) -> None:
    """A retry that falls due meanwhile is sent by the journal, too, and a late answer from before changes nothing."""
    decide_forward(instance)
    instance.reply("seat", SEAT)
    assert retried(instance) == ([], ["ticket"])


def test_an_answer_to_what_follows_a_decision_says_that_it_is_on_disk(instance: Instance) -> None:
    """It was asked for after that; so the journal need not say so."""
    decide_forward(instance)
    instance.reply("ticket", Unavailable("no paper"))
    assert retried(instance) == (["Do ticket"], [])


def test_an_answer_does_not_tell_that_an_intervention_is_on_disk(instance: Instance) -> None:
    """It may be to what was asked before; only the journal knows."""
    decide_forward(instance)
    attempts = 0
    while not instance.coordinator.take():
        attempts += 1
        instance.reply("ticket", Unavailable("no paper"), attempt=attempts)
        instance.runtime.time.s += 3600
        instance.tell(Alarm())
    instance.appended()
    instance.sent()
    instance.tell(Intervene(RetryNow("ticket", "ada", "look again"), Future()))
    (append,) = instance.appended()
    assert "Durable" in then_of(append)
    instance.reply("ticket", Unavailable("no paper"), attempt=attempts)
    assert retried(instance) == ([], ["ticket"])


def decide_forward(instance: Instance) -> None:
    """Everything before the decision is done, and the journal has the decision to write."""
    instance.open()
    instance.reply("seat", SEAT)
    instance.reply("fare", FARE)
    instance.appended()
    instance.sent()


def retried(instance: Instance) -> tuple[list[str], list[str]]:
    """What the instance sends, and has the journal send, once an attempt is over and the next one is due."""
    for _ in range(2):
        instance.runtime.time.s += 6
        instance.tell(Alarm())
    return instance.sent(), [step for append in instance.appended() for step in then_of(append)]


def test_records_are_numbered(instance: Instance) -> None:
    """Each append continues the one before."""
    instance.open()
    for step, answer in (("seat", SEAT), ("fare", FARE), ("ticket", SEAT)):
        instance.reply(step, answer)
    numbers: list[int] = []
    for append in instance.appended():
        numbers += range(append.first, append.first + len(append.records))
    assert numbers == list(range(1, len(numbers) + 1))


def test_end_is_told_once_it_is_on_disk(instance: Instance) -> None:
    """The coordinator hears of the end from the journal, with the outcome."""
    instance.open()
    for step, answer in (("seat", SEAT), ("fare", FARE), ("ticket", SEAT)):
        instance.reply(step, answer)
    *_, last = instance.appended()
    assert isinstance(last.records[-1], Ended)
    ((address, ended),) = last.then
    assert address is instance.coordinator
    assert isinstance(ended, InstanceEnded)
    assert isinstance(ended.outcome, Completed)
    assert instance.coordinator.told == []


def test_refusal_undoes(instance: Instance) -> None:
    """The undo leaves once the decision is on disk."""
    instance.open()
    instance.reply("seat", SEAT)
    instance.appended()
    instance.sent()
    instance.reply("fare", Refused("no money"))
    (append,) = instance.appended()
    (undo,) = (message for _, message in append.then)
    assert isinstance(undo, Undo)
    instance.reply("seat", Undone(), phase="undo")
    (last,) = instance.appended()
    (ended,) = (message for _, message in last.then)
    assert isinstance(ended, InstanceEnded)
    assert ended.outcome == Compensated("fare", "no money")


def test_cancel_is_answered_once_it_is_on_disk(instance: Instance) -> None:
    """An answer waits for what it speaks of: ACCEPTED for its decision, a later TOO_LATE for the same one."""
    instance.open()
    for wanted in (CancelAnswer.ACCEPTED, CancelAnswer.TOO_LATE):
        future: Future[Any] = Future()
        instance.tell(Cancel(future))
        assert not future.done()
        (append,) = instance.appended()
        for address, message in append.then:
            if isinstance(address, Caller):
                address.tell(message)
        assert future.result(0) is wanted
    instance.tell(Durable(append.first + len(append.records)))
    later: Future[Any] = Future()
    instance.tell(Cancel(later))
    assert later.result(0) is CancelAnswer.TOO_LATE


def test_an_answer_whose_wait_ends_in_the_same_turn(instance: Instance) -> None:
    """What it waits for is on disk by the time the turn settles, so it is told without another record."""
    instance.open()
    first: Future[Any] = Future()
    instance.tell(Cancel(first))
    (append,) = instance.appended()
    second: Future[Any] = Future()
    instance.tell(Cancel(second), Durable(append.first + len(append.records)))
    assert second.result(0) is CancelAnswer.TOO_LATE


def test_asked_while_the_history_is_read(instance: Instance) -> None:
    """What was put aside is answered also if the history can't be read, and so is what comes after."""
    spawn(instance.mailbox, lambda: SagaActor(SAGA, TOKEN, instance.around, None))
    early, late = Future[Any](), Future[Any]()
    instance.tell(Cancel(early))
    instance.tell(History(SAGA, None, (), "torn"), Cancel(late))
    for future in (early, late):
        assert "torn" in str(future.exception(0))


def test_killed_while_the_history_is_read(instance: Instance) -> None:
    """The next incarnation answers what the one before had put aside."""
    spawn(instance.mailbox, lambda: SagaActor(SAGA, TOKEN, instance.around, None))
    future = Future[Any]()
    instance.tell(Cancel(future))
    ended = (instance.started, Decided(Direction.BACK, None, "x"), Ended(completed=False, reason="x"))
    # At once before the history comes, and in the very turn in which it has come.
    for messages in ((Kill(),), (History(SAGA, None, ended, ""), Kill())):
        instance.tell(*messages)
        assert not future.done()
        spawn(instance.mailbox, lambda: SagaActor(SAGA, TOKEN, instance.around, None))
    instance.tell(History(SAGA, None, ended, ""))
    assert future.result(0) is CancelAnswer.ALREADY_ENDED


def test_act_on_what_is_not_stuck(instance: Instance) -> None:
    """A person is told why at once."""
    instance.open()
    answer: Future[Any] = Future()
    instance.tell(Intervene(RetryNow("seat", "ann", ""), answer))
    assert "not stuck" in answer.result(0)


def test_recovered_instance_sends_again(instance: Instance) -> None:
    """After a crash the history is read back, the crash is journalled and what was under way is sent again."""
    instance.recover(instance.started, StepDone("seat", msgspec.Raw(b'"seat"')))
    assert instance.sent() == ["Do fare"]
    (append,) = instance.appended()
    assert (append.first, append.records) == (2, (Resumed(),))


def test_what_comes_before_the_history_is_put_aside(instance: Instance) -> None:
    """Messages that arrive while the history is being read are handled after it, in order."""
    spawn(instance.mailbox, lambda: SagaActor(SAGA, TOKEN, instance.around, None))
    instance.reply("seat", SEAT)
    instance.reply("fare", Refused("no money"))
    instance.tell(History(SAGA, None, (instance.started,), ""))
    instance.sent()
    records = [record for append in instance.appended() for record in append.records]
    assert Decided(Direction.BACK, "fare", "no money") in records


def test_recovered_instance_that_had_ended(instance: Instance) -> None:
    """The end is told again, and nothing is sent or written."""
    ended = (instance.started, Decided(Direction.BACK, None, "x"), Ended(completed=False, reason="x"))
    instance.recover(*ended)
    (told,) = instance.coordinator.take()
    assert told.outcome == Compensated(None, "x")
    assert (instance.sent(), instance.appended()) == ([], [])


@pytest.mark.parametrize(("problem", "corrupt"), [("record 1: checksum", True), ("", False)])
def test_history_that_can_not_be_continued(instance: Instance, problem: str, corrupt: bool) -> None:
    """Damage and a plan nobody knows are told to the coordinator, apart; nothing is sent or written."""
    started = msgspec.structs.replace(instance.started, version=99)
    instance.recover(*(() if problem else (started,)), problem=problem)
    (told,) = instance.coordinator.take()
    assert isinstance(told, InstanceUnreadable)
    assert told.corrupt is corrupt
    assert problem or "version 99" in told.reason
    assert (instance.sent(), instance.appended()) == ([], [])


def test_append_that_was_refused(instance: Instance) -> None:
    """Somebody else has written to its history: it fails, and the next incarnation reads that."""
    instance.open()
    instance.tell(AppendRefused(1, 2))
    (failed,) = instance.keeper.told
    assert failed.error == "AmendsError"


def test_wakes_go_to_the_timers(instance: Instance) -> None:
    """One alarm is set at a time, for the earliest moment; without an answer the step is tried again."""
    instance.open()
    (after,) = instance.timers.take()
    assert isinstance(after, After)
    assert after.at == instance.runtime.clock.now_at() + 5.0
    instance.sent()
    instance.runtime.time.s += 5.0
    instance.tell(after.message)
    instance.runtime.time.s += 1.0
    for again in instance.timers.take():
        instance.tell(again.message)
    assert instance.sent() == ["Do seat"]
    assert instance.around.counters.retries == 1


def test_stuck_is_told(instance: Instance) -> None:
    """The coordinator hears which steps a person should look at, and when that is over."""
    instance.open()
    instance.reply("seat", SEAT)
    instance.reply("fare", FARE)
    instance.reply("ticket", Refused("no such trip"))
    (stuck,) = instance.coordinator.take()
    assert isinstance(stuck, InstanceStuck)
    assert list(stuck.reasons) == ["ticket"]
    instance.reply("ticket", SEAT, attempt=2)
    (stuck,) = instance.coordinator.take()
    assert stuck.reasons == {}
