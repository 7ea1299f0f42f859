"""The point of no return in doubt, the deadline and the cancel: what may still turn an instance round, and what not."""

import msgspec
import pytest

from amends.protocol.events import CancelAnswer, CancelAsked, DeadlinePassed, RetryDue, TimedOut
from amends.protocol.messages import Never, Refused, Undone
from amends.protocol.records import Decided, Direction, Ended, StepDone, StepNever, StepResolving
from tests.protocol.driven import DEADLINE, Chain, Driven, Pivoted

ONE = msgspec.Raw(b"1")


@pytest.fixture
def in_doubt() -> Driven:
    """An instance whose pivot was sent."""
    one = Driven(Pivoted)
    one.done("a", "b")
    assert one.sent == ["do p"]
    return one


def test_the_deadline_before_the_pivot_was_sent_turns_the_instance_back() -> None:
    """Nobody is asked: nothing irrevocable can have happened."""
    one = Driven(Pivoted)
    one.done("a")
    one.at = DEADLINE
    decision = one.happens(DeadlinePassed())
    assert decision.records == (Decided(Direction.BACK, None, "deadline"),)
    assert one.sent == ["undo b"]


def test_the_deadline_without_a_pivot_turns_the_instance_back() -> None:
    """Everything can be undone."""
    one = Driven(Chain)
    one.happens(DeadlinePassed())
    assert one.sent == ["undo a"]


def test_the_deadline_after_the_pivot_was_sent_asks_what_became_of_it(in_doubt: Driven) -> None:
    """Its answer is the decision; a clock may not overrule it."""
    decision = in_doubt.happens(DeadlinePassed())
    assert decision.records == (StepResolving("p", "deadline", None, "deadline"),)
    assert in_doubt.sent == ["resolve p"]


def test_a_pivot_that_happened_wins_over_the_deadline(in_doubt: Driven) -> None:
    """It can't be undone, so the rest is done."""
    in_doubt.happens(DeadlinePassed())
    assert in_doubt.done("p").records == (StepDone("p", ONE), Decided(Direction.FORWARD))
    assert in_doubt.sent == ["do r"]


def test_a_pivot_that_never_happened_leaves_the_deadline_as_the_cause(in_doubt: Driven) -> None:
    """The caller hears why it was asked for, not how it was found out."""
    in_doubt.happens(DeadlinePassed())
    decision = in_doubt.answers("p", Never())
    assert decision.records == (StepNever("p"), Decided(Direction.BACK, None, "deadline"))
    assert in_doubt.sent == ["undo b"]


def test_a_late_refusal_of_the_pivot_leaves_the_deadline_as_the_cause(in_doubt: Driven) -> None:
    """Either no is a no."""
    in_doubt.happens(DeadlinePassed())
    assert Decided(Direction.BACK, None, "deadline") in in_doubt.answers("p", Refused("no"), phase="do").records


def test_the_deadline_after_the_decision_changes_nothing(in_doubt: Driven) -> None:
    """Nothing turns a decided instance round."""
    in_doubt.done("p")
    decision = in_doubt.happens(DeadlinePassed())
    assert (decision.records, decision.sends) == ((), ())


def test_a_second_reason_to_go_back_waits_for_the_same_answer(in_doubt: Driven) -> None:
    """The pivot is asked once, and the first reason is the cause."""
    in_doubt.gives_up("p")
    assert not in_doubt.happens(DeadlinePassed()).records
    assert Decided(Direction.BACK, "p", "no answer in time") in in_doubt.answers("p", Never()).records


def test_a_silent_pivot_is_asked_what_became_of_it(in_doubt: Driven) -> None:
    """Out of attempts nobody knows, and nobody guesses."""
    in_doubt.gives_up("p")
    assert in_doubt.sent == ["resolve p"]
    assert in_doubt.state.direction is None


def test_a_pivot_in_doubt_is_never_guessed(in_doubt: Driven) -> None:
    """When its service can't be reached the instance is stuck, and asks on at the slow pace."""
    in_doubt.gives_up("p")
    decision = in_doubt.gives_up("p")
    assert in_doubt.state.stuck == ("p",)
    assert in_doubt.state.direction is None
    assert decision.wakes[0].at == in_doubt.at + 60.0


def test_a_stuck_pivots_answer_still_decides(in_doubt: Driven) -> None:
    """Stuck is not an end."""
    in_doubt.gives_up("p")
    in_doubt.gives_up("p")
    in_doubt.at += 60.0
    in_doubt.happens(RetryDue("p", "resolve", 3))
    assert in_doubt.sent == ["resolve p again (3)"]
    in_doubt.done("p")
    assert in_doubt.sent == ["do r"]
    assert not in_doubt.state.stuck


def test_the_question_to_a_pivot_is_asked_past_the_deadline(in_doubt: Driven) -> None:
    """Its answer is needed either way."""
    in_doubt.at = DEADLINE
    in_doubt.happens(DeadlinePassed())
    in_doubt.happens(TimedOut("p", "resolve", 1), chance=0.0)
    assert in_doubt.sent == ["resolve p again (2)"]


def test_a_cancel_before_the_pivot_is_accepted() -> None:
    """Accepted is a promise: the decision to go back is forced together with the answer."""
    one = Driven(Pivoted)
    one.done("a")
    decision = one.happens(CancelAsked())
    assert decision.answer is CancelAnswer.ACCEPTED
    assert decision.records == (Decided(Direction.BACK, None, "cancelled by the caller"),)
    assert decision.forced
    assert one.sent == ["undo b"]


def test_a_cancel_without_a_pivot_is_accepted_until_the_decision() -> None:
    """Whatever is under way can be undone."""
    one = Driven(Chain)
    one.done("a", "b")
    assert one.happens(CancelAsked()).answer is CancelAnswer.ACCEPTED


def test_a_cancel_after_the_pivot_was_sent_is_too_late(in_doubt: Driven) -> None:
    """It may have happened, and then nothing could keep the promise."""
    decision = in_doubt.happens(CancelAsked())
    assert decision.answer is CancelAnswer.TOO_LATE
    assert (decision.records, decision.sends) == ((), ())


@pytest.mark.parametrize("saga", [Chain, Pivoted])
def test_a_cancel_after_the_decision_is_too_late(saga: type[Chain | Pivoted]) -> None:
    """Nothing turns a decided instance round."""
    one = Driven(saga)
    one.done(*saga.plan.before_decision)
    decision = one.happens(CancelAsked())
    assert decision.answer is CancelAnswer.TOO_LATE
    assert not decision.records


def test_a_cancel_on_the_way_back_is_too_late() -> None:
    """It was decided before, for another reason."""
    one = Driven(Chain)
    one.done("a")
    one.answers("b", Refused("no"))
    assert one.happens(CancelAsked()).answer is CancelAnswer.TOO_LATE


def test_a_cancel_after_the_end_is_told_so() -> None:
    """And changes nothing."""
    one = Driven(Chain)
    one.answers("a", Refused("no"))
    assert one.happens(CancelAsked()).answer is CancelAnswer.ALREADY_ENDED


def test_a_cancelled_instance_says_so_in_the_end() -> None:
    """No step is to blame."""
    one = Driven(Pivoted)
    one.happens(CancelAsked())
    assert one.answers("a", Undone()).records[-1] == Ended(False, None, "cancelled by the caller")


def test_while_the_pivot_is_asked_nothing_new_begins() -> None:
    """After a crash a pivot may be in doubt before its needs are known to be done; b waits for the answer."""
    one = Driven(Pivoted)
    one.crashes()
    one.happens(DeadlinePassed())
    assert one.sent == ["resolve p"]
    assert not one.done("a").sends


def test_once_the_pivot_turns_out_done_the_steps_before_it_are_finished() -> None:
    """It was sent after them, so they are done and only their answers were lost; retriable steps wait for those."""
    one = Driven(Pivoted)
    one.crashes()
    one.happens(DeadlinePassed())
    one.done("a", "p")
    assert one.history[-1] == Decided(Direction.FORWARD)
    assert one.sent == ["do b"]
    one.done("b")
    assert one.sent == ["do r"]
    one.done("r")
    assert one.state.ended == Ended(completed=True)


def test_a_step_given_up_while_the_pivot_was_asked_is_asked_for_again_once_that_is_done() -> None:
    """Forward needs every answer, so no step may be left with nothing on its way."""
    one = Driven(Pivoted)
    one.crashes()
    one.gives_up("a")
    one.gives_up("a")
    assert one.sent == ["resolve p"]
    one.done("p")
    assert one.history[-1] == Decided(Direction.FORWARD)
    assert one.sent == ["resolve a again (2)"]
