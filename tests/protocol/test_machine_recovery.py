"""After a crash: what was under way is sent again, and what may have been sent is treated as if it was."""

from collections.abc import Iterator

import msgspec
import pytest

from amends.protocol.events import CancelAnswer, CancelAsked, DeadlinePassed, RetryDue, TimedOut, Wake
from amends.protocol.messages import Done, Never, Refused, Undone
from amends.protocol.records import Decided, Direction, Ended, Resumed, StepDone, StepResolving
from amends.protocol.saga import Results, Saga, pivot, step
from tests.protocol.driven import DEADLINE, START, TIMEOUT_S, Act, Chain, Diamond, Driven, Pivoted

ONE = msgspec.Raw(b"1")


def test_whatever_was_under_way_is_sent_again() -> None:
    """The fence makes the repeat harmless; the timers are set anew."""
    one = Driven(Diamond)
    one.done("top")
    decision = one.crashes()
    assert decision.records == (Resumed(),)
    assert one.sent == ["do left", "do right"]
    assert decision.wakes == (
        Wake(START + TIMEOUT_S, TimedOut("left", "do", 1)),
        Wake(START + TIMEOUT_S, TimedOut("right", "do", 1)),
    )


def test_a_lost_result_is_asked_for_again() -> None:
    """Only Started was durable: the first step is sent again, and its recorded reply comes back."""
    one = Driven(Chain)
    one.done("a", "b")
    one.crashes(keeping=1)
    assert one.sent == ["do a"]


def test_the_wait_before_a_retry_outlives_a_crash() -> None:
    """It leaves when it was due, not at once."""
    one = Driven(Chain)
    one.times_out("a")
    decision = one.crashes()
    assert not decision.sends
    assert decision.wakes == (Wake(START + 0.5, RetryDue("a", "do", 2)),)


def test_a_wait_that_is_over_by_then_is_over() -> None:
    """The attempt leaves with its number."""
    one = Driven(Chain)
    one.times_out("a")
    one.at = START + 60.0
    one.crashes()
    assert one.sent == ["do a again (2)"]


def test_an_undecided_instance_asks_for_its_deadline_again() -> None:
    """Timers die with the process."""
    assert Wake(DEADLINE, DeadlinePassed()) in Driven(Pivoted).crashes().wakes


def test_a_decided_instance_needs_no_deadline() -> None:
    """It would change nothing."""
    one = Driven(Pivoted)
    one.done("a", "b", "p")
    assert [type(wake.event) for wake in one.crashes().wakes] == [TimedOut]


def test_an_ended_instance_stays_ended() -> None:
    """There is nothing to resume."""
    one = Driven(Chain)
    one.answers("a", Refused("no"))
    decision = one.crashes()
    assert (decision.records, decision.sends, decision.wakes) == ((), (), ())


@pytest.mark.parametrize("lost", ["nothing", "the decision"])
def test_a_crash_around_the_decision_forward_ends_in_forward(lost: str) -> None:
    """Whether or not it had reached the disk, the same facts lead to the same decision."""
    one = Driven(Chain)
    one.done("a", "b", "c")
    one.crashes(keeping=4 if lost == "the decision" else None)
    assert one.state.direction is Direction.FORWARD
    assert one.sent == ["do r"]


def test_a_crash_on_the_way_back_goes_on_undoing() -> None:
    """Durable BACK is never forgotten, and what waited when it was decided had surely not been sent."""
    one = Driven(Chain)
    one.done("a")
    one.answers("b", Refused("no"))
    one.crashes()
    assert one.sent == ["undo a"]
    assert one.answers("a", Undone()).records[-1] == Ended(False, "b", "no")


def test_on_the_way_back_only_undos_are_sent_again() -> None:
    """A waits for b's undo; asking for a once more would only make more to undo."""
    one = Driven(Chain)
    one.crashes()
    one.happens(CancelAsked())
    one.answers("c", Undone())
    assert one.sent == ["undo b"]
    one.crashes()
    assert one.sent == ["undo b"]


def test_on_the_way_back_an_old_timer_makes_no_step_try_again() -> None:
    """Neither does it make one stuck that was never asked to be undone."""
    one = Driven(Chain)
    one.crashes()
    one.happens(CancelAsked())
    decision = one.happens(TimedOut("a", "do", 1))
    assert (decision.records, decision.sends) == ((), ())


def test_after_a_crash_waiting_steps_get_tombstones() -> None:
    """B may have been sent in the records that were lost, so it is undone like one that was, newest first."""
    one = Driven(Chain)
    one.done("a")
    one.crashes(keeping=1)
    one.answers("a", Refused("no"))
    assert one.sent == ["undo c"]
    one.answers("c", Undone())
    assert one.sent == ["undo b"]
    one.answers("b", Undone())
    assert one.history[-1] == Ended(False, "a", "no")


def test_after_a_crash_a_waiting_pivot_is_in_doubt() -> None:
    """It may have been sent in the records that were lost, so its service is asked before anything is undone."""
    one = Driven(Pivoted)
    one.crashes()
    decision = one.answers("a", Refused("no"))
    assert decision.records[-1] == StepResolving("p", "no", "a", "no")
    assert one.sent == ["resolve p"]
    assert one.answers("p", Never()).records[-1] == Decided(Direction.BACK, "a", "no")


def test_after_a_crash_a_cancel_of_a_plan_with_a_pivot_is_too_late() -> None:
    """Only the pivot's answer may turn it back, and a promise can't wait for that."""
    one = Driven(Pivoted)
    one.crashes()
    assert one.happens(CancelAsked()).answer is CancelAnswer.TOO_LATE


def test_after_a_crash_a_cancel_of_a_plan_without_a_pivot_is_accepted() -> None:
    """Everything that may have happened can be undone."""
    one = Driven(Chain)
    one.crashes()
    assert one.happens(CancelAsked()).answer is CancelAnswer.ACCEPTED


def test_a_crash_alone_turns_nothing_round() -> None:
    """The steps answer again, the pivot again, and the instance completes."""
    one = Driven(Pivoted)
    one.done("a", "b", "p")
    one.crashes(keeping=1)
    one.done("a", "b", "p", "r")
    assert one.history[-1] == Ended(completed=True)


def test_a_pivot_under_question_is_asked_again() -> None:
    """The question outlives the crash, and so does why it was asked."""
    one = Driven(Pivoted)
    one.done("a", "b")
    one.happens(DeadlinePassed())
    one.crashes()
    assert one.sent == ["resolve p"]
    assert one.answers("p", Never()).records[-1] == Decided(Direction.BACK, None, "deadline")


def test_a_second_crash_is_on_the_record_too() -> None:
    """Each resumption is a fact."""
    one = Driven(Chain)
    one.crashes()
    one.crashes()
    assert one.history[1:] == [Resumed(), Resumed()]


RAISED = "its method raised ValueError"
broken: set[str] = set()


class Fragile(Saga, name="fragile"):
    """A step whose method may raise, before a pivot."""

    input: int

    @step(to="north")
    def a(self, value: int, done: Results) -> Act:
        return Act("a")

    @step(to="north", after=[a])
    def b(self, value: int, done: Results) -> Act:
        if "b" in broken:
            raise ValueError("secret")
        return Act("b")

    @pivot(to="south")
    def p(self, value: int, done: Results) -> Act:
        return Act("p")


@pytest.fixture
def b_raises() -> Iterator[None]:
    """From the first instance on, b's method raises."""
    broken.add("b")
    yield
    broken.clear()


@pytest.mark.usefixtures("b_raises")
def test_after_a_crash_a_method_that_raises_leaves_it_to_the_pivot() -> None:
    """The pivot may have been sent before the crash; until it answers the step is left alone."""
    one = Driven(Fragile)
    one.crashes()
    decision = one.done("a")
    assert decision.records[-1] == StepResolving("p", RAISED, "b", RAISED)
    assert one.sent == ["resolve p"]
    assert one.crashes().sends[0].step == "p"
    assert one.answers("p", Never()).records[0] == one.history[-2]
    assert one.history[-1] == Decided(Direction.BACK, "b", RAISED)
    assert one.sent == ["undo b"]


@pytest.mark.usefixtures("b_raises")
def test_a_method_that_raises_after_its_pivot_turned_out_done_is_stuck() -> None:
    """Forward needs it, so a person has to see why it raises now."""
    one = Driven(Fragile)
    one.crashes()
    one.done("a")
    assert one.done("p").records[:2] == (StepDone("p", ONE), Decided(Direction.FORWARD))
    assert one.state.stuck == ("b",)
    broken.clear()
    one.at += 60.0
    one.happens(one.last.wakes[0].event)
    assert one.sent == ["do b again (2)"]
    assert one.answers("b", Done(ONE)).records[-1] == Ended(completed=True)
