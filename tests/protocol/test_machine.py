"""The life of an instance where services answer: forward, the decision, and the way back."""

from typing import Any

import msgspec
import pytest

from amends.protocol.events import DeadlinePassed, Replied, RetryDue, TimedOut, Wake
from amends.protocol.messages import CANCELLED, Done, Never, Refused, Reply, SagaId, Undone
from amends.protocol.records import (
    Decided,
    Direction,
    Ended,
    Started,
    StepDone,
    StepRefused,
    StepUndone,
)
from amends.protocol.saga import Results, Saga, pivot, retriable, step
from tests.protocol.driven import START, TIMEOUT_S, Act, Chain, Diamond, Driven, Pivoted, started

ONE = msgspec.Raw(b"1")


class Tail(Saga, name="tail"):
    """Nothing to decide: both steps must succeed in the end."""

    input: int

    @retriable(to="north")
    def r(self, value: int, done: Results) -> Act:
        return Act("r")

    @retriable(to="north", after=[r])
    def s(self, value: int, done: Results) -> Act:
        return Act("s")


def test_an_instance_begins_with_started_and_the_steps_that_need_nothing() -> None:
    """The first decision records that it exists, sends what is ready and waits for answers."""
    one = Driven(Chain)
    assert one.last.records == (started(Chain),)
    assert one.sent == ["do a"]
    assert one.last.wakes == (Wake(START + TIMEOUT_S, TimedOut("a", "do", 1)),)


def test_a_send_names_the_service_and_carries_the_command() -> None:
    """What leaves is the command the step's method made, for the service the step names."""
    [send] = Driven(Chain).last.sends
    assert (send.to, send.command) == ("north", Act("a"))


def test_an_instance_with_a_deadline_asks_to_be_woken_when_it_must_turn_back() -> None:
    """The part reserved for undoing is taken off the deadline."""
    assert Wake(START + 80.0, DeadlinePassed()) in Driven(Pivoted).last.wakes


def test_a_step_is_sent_once_those_it_needs_are_done() -> None:
    """The order is the plan's: b waits for a."""
    one = Driven(Chain)
    one.answers("a", Done(ONE))
    assert one.last.records == (StepDone("a", ONE),)
    assert one.sent == ["do b"]


def one_of_nine(self: Saga, value: int, done: Results) -> Act:
    """The method of all steps but the last."""
    return Act("one")


class Nine(Saga, name="nine"):
    """Eight results, and a step that makes its command of them as they come."""

    input: int
    a, b, c, d, e, f, g, h = (step(to="north")(one_of_nine) for _ in range(8))

    @step(to="north", after=[a, b, c, d, e, f, g, h])
    def last(self, value: int, done: Results) -> Act:
        return Act(" ".join(done))


def test_results_come_in_the_order_of_the_plan() -> None:
    """A method that goes through them makes the same command in every process, whatever it hashes strings with."""
    [send] = Driven(Nine).done(*"abcdefgh").sends
    assert send.command == Act("a b c d e f g h")


def test_independent_steps_are_sent_together() -> None:
    """Between left and right is no arrow, so neither waits for the other."""
    assert Driven(Diamond).done("top").sends[0].step == "left"
    assert [send.step for send in Driven(Diamond).done("top").sends] == ["left", "right"]


def test_a_step_with_two_needs_waits_for_both() -> None:
    """One of two is not enough."""
    one = Driven(Diamond)
    assert not one.done("top", "left").sends
    one.done("right")
    assert one.sent == ["do bottom"]


def test_the_pivot_waits_for_every_compensatable_step() -> None:
    """It need not say so: whatever can be undone comes before the point of no return."""
    one = Driven(Pivoted)
    one.done("a")
    assert one.sent == ["do b"]
    one.done("b")
    assert one.sent == ["do p"]


def test_without_a_pivot_the_last_compensatable_step_decides() -> None:
    """Once all that can fail is done, the instance goes forward, durably, before anything retriable leaves."""
    one = Driven(Chain)
    decision = one.done("a", "b", "c")
    assert decision.records == (StepDone("c", ONE), Decided(Direction.FORWARD))
    assert decision.forced
    assert one.sent == ["do r"]


def test_the_pivots_answer_decides() -> None:
    """Done is forward."""
    one = Driven(Pivoted)
    decision = one.done("a", "b", "p")
    assert Decided(Direction.FORWARD) in decision.records
    assert one.sent == ["do r"]


def test_a_plan_of_retriable_steps_is_decided_at_once() -> None:
    """Where nothing can fail there is nothing to wait for; the decision is in the first batch."""
    one = Driven(Tail)
    assert one.last.records == (started(Tail), Decided(Direction.FORWARD))
    assert one.sent == ["do r"]


def test_an_instance_ends_completed_when_the_last_step_is_done() -> None:
    """Completed means every step, retriable ones included."""
    one = Driven(Chain)
    one.done("a", "b", "c", "r")
    assert one.state.ended is None
    assert one.done("s").records == (StepDone("s", ONE), Ended(completed=True))


def test_a_refusal_turns_the_instance_back() -> None:
    """A business no is never tried again: the direction is fixed durably and the undo leaves after it."""
    one = Driven(Chain)
    one.done("a")
    decision = one.answers("b", Refused("sold out"))
    assert decision.records == (StepRefused("b", "sold out"), Decided(Direction.BACK, "b", "sold out"))
    assert decision.forced
    assert one.sent == ["undo a"]


def test_a_refused_pivot_turns_the_instance_back() -> None:
    """It did nothing, so only what came before it is undone."""
    one = Driven(Pivoted)
    one.done("a", "b")
    one.answers("p", Refused("declined"))
    assert one.sent == ["undo b"]


def test_an_undo_carries_no_command() -> None:
    """How a step is undone is the service's business; it kept the command."""
    one = Driven(Chain)
    one.done("a")
    assert one.answers("b", Refused("no")).sends[0].command is None


def test_undos_go_in_reverse_of_the_dependencies() -> None:
    """Newest first: a waits until b, which depends on it, is undone."""
    one = Driven(Chain)
    one.done("a", "b")
    one.answers("c", Refused("no"))
    assert one.sent == ["undo b"]
    one.answers("b", Undone())
    assert one.sent == ["undo a"]


def test_independent_steps_are_undone_together() -> None:
    """Left and right don't wait for each other; top waits for both."""
    one = Driven(Diamond)
    one.done("top", "left", "right")
    one.answers("bottom", Refused("no"))
    assert one.sent == ["undo left", "undo right"]
    assert not one.answers("right", Undone()).sends
    one.answers("left", Undone())
    assert one.sent == ["undo top"]


def test_a_step_still_under_way_is_undone_too() -> None:
    """Nobody knows whether right happened; the undo makes sure that it has not and won't."""
    one = Driven(Diamond)
    one.done("top")
    one.answers("left", Refused("no"))
    assert one.sent == ["undo right"]


def test_an_instance_ends_compensated_when_the_last_effect_is_undone() -> None:
    """The end says which step it was, and why."""
    one = Driven(Chain)
    one.done("a")
    one.answers("b", Refused("no"))
    assert one.answers("a", Undone()).records == (StepUndone("a"), Ended(False, "b", "no"))


def test_with_nothing_to_undo_the_decision_is_the_end() -> None:
    """The first step's refusal leaves nothing behind."""
    one = Driven(Chain)
    decision = one.answers("a", Refused("no"))
    assert decision.records == (StepRefused("a", "no"), Decided(Direction.BACK, "a", "no"), Ended(False, "a", "no"))


def test_a_step_that_was_never_sent_is_not_undone() -> None:
    """Without a crash behind it a waiting step has surely done nothing."""
    one = Driven(Chain)
    one.done("a")
    one.answers("b", Refused("no"))
    one.answers("a", Undone())
    assert not any(isinstance(record, StepUndone) and record.step == "c" for record in one.history)


@pytest.mark.parametrize(
    "event",
    [
        Replied(Reply(SagaId("i-1"), "a", "do", 1, Done(ONE))),
        Replied(Reply(SagaId("i-1"), "a", "do", 1, Refused("no"))),
        TimedOut("a", "do", 1),
        RetryDue("a", "do", 1),
        DeadlinePassed(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_follows_after_the_end(event: Any) -> None:
    """Late answers and old timers find a closed book."""
    one = Driven(Chain)
    one.answers("a", Refused("no"))
    ended = one.state
    decision = one.happens(event)
    assert (decision.state, decision.records, decision.sends, decision.wakes) == (ended, (), (), ())


@pytest.mark.parametrize(
    ("step_name", "answer"),
    [
        ("a", Done(msgspec.Raw(b"2"))),
        ("a", Refused(CANCELLED)),
        ("a", Never()),
        ("a", Undone()),
        ("b", Undone()),
        ("b", Never()),
        ("c", Done(ONE)),
        ("z", Done(ONE)),
    ],
    ids=str,
)
def test_an_answer_nobody_asked_for_changes_nothing(step_name: str, answer: Any) -> None:
    """A is done and b under way: duplicates, answers to other questions and unknown steps are ignored."""
    one = Driven(Chain)
    one.done("a")
    decision = one.answers(step_name, answer, phase="do")
    assert (decision.records, decision.sends, decision.wakes) == ((), (), ())


def test_an_undos_answer_is_not_taken_for_a_dos() -> None:
    """Done in the undo phase is no answer to anything."""
    one = Driven(Chain)
    assert not one.answers("a", Done(ONE), phase="undo").records


class Seeing(Saga, name="seeing"):
    """Each command says which results its method saw."""

    input: int

    @step(to="north")
    def a(self, value: int, done: Results) -> Act:
        return Act(f"{value}{sorted(done)}")

    @step(to="north", after=[a])
    def b(self, value: int, done: Results) -> Act:
        return Act(f"{done.of('a', int)}{sorted(done)}")

    @step(to="north")
    def beside(self, value: int, done: Results) -> Act:
        return Act(str(sorted(done)))

    @pivot(to="north")
    def p(self, value: int, done: Results) -> Act:
        return Act(str(sorted(done)))

    @retriable(to="north")
    def r(self, value: int, done: Results) -> Act:
        return Act(str(sorted(done)))


def test_a_method_sees_the_input_and_the_results_certain_to_be_there() -> None:
    """All it builds from is the same after a crash: what it needs, or all before the decision for a retriable."""
    one = Driven(Seeing)
    assert [send.command for send in one.last.sends] == [Act("7[]"), Act("[]")]
    assert one.done("beside", "a").sends[0].command == Act("1['a']")
    assert one.done("b").sends[0].command == Act("['a', 'b', 'beside']")
    assert one.done("p").sends[0].command == Act("['a', 'b', 'beside', 'p']")


def test_started_is_part_of_the_first_batch_only() -> None:
    """A history has one beginning."""
    one = Driven(Chain)
    one.done("a", "b", "c", "r", "s")
    assert [isinstance(record, Started) for record in one.history].count(True) == 1
