"""Attempts: when a step is tried again, when its service is asked what became of it, and which answers still count."""

import msgspec
import pytest

from amends.protocol.events import RetryDue, TimedOut, Wake
from amends.protocol.messages import CANCELLED, Done, Never, Refused, Unavailable, Undone
from amends.protocol.records import (
    Decided,
    Direction,
    Ended,
    StepDone,
    StepNever,
    StepRefused,
    StepResolving,
    StepRetried,
)
from tests.protocol.driven import DEADLINE, START, TIMEOUT_S, Chain, Diamond, Driven, Pivoted

ONE = msgspec.Raw(b"1")


def test_a_silent_attempt_is_tried_again_after_the_backoff() -> None:
    """The wait is on record, so that it outlives a crash; the message leaves when it is over."""
    one = Driven(Chain)
    one.at += TIMEOUT_S
    decision = one.times_out("a")
    due_at = START + TIMEOUT_S + 0.5
    assert decision.records == (StepRetried("a", 2, due_at, "no answer in time"),)
    assert decision.wakes == (Wake(due_at, RetryDue("a", "do", 2)),)
    assert not decision.sends


def test_an_unavailable_service_is_tried_again() -> None:
    """Not now is no refusal; its reason is kept."""
    one = Driven(Chain)
    decision = one.answers("a", Unavailable("down for a moment"))
    assert decision.records == (StepRetried("a", 2, START + 0.5, "down for a moment"),)


def test_a_due_retry_leaves_with_its_own_number_and_timer() -> None:
    """Each attempt can be told from the one before."""
    one = Driven(Chain)
    one.times_out("a")
    one.at = START + 0.5
    decision = one.happens(RetryDue("a", "do", 2))
    assert one.sent == ["do a again (2)"]
    assert decision.wakes == (Wake(START + 0.5 + TIMEOUT_S, TimedOut("a", "do", 2)),)
    assert not decision.records


def test_a_retry_without_a_wait_leaves_at_once() -> None:
    """Full jitter may draw zero."""
    one = Driven(Chain)
    one.happens(TimedOut("a", "do", 1), chance=0.0)
    assert one.sent == ["do a again (2)"]


def test_the_wait_grows_with_the_random_number() -> None:
    """The number only spreads the retries."""
    waits = []
    for chance in (0.25, 0.75):
        one = Driven(Chain)
        waits.append(one.happens(TimedOut("a", "do", 1), chance).wakes[0].at - START)
    assert waits == [0.25, 0.75]


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_timer_of_another_attempt_is_ignored(attempt: int) -> None:
    """Attempt 2 is under way: the timers of others have nothing to say."""
    one = Driven(Chain)
    one.happens(TimedOut("a", "do", 1), chance=0.0)
    for event in (TimedOut("a", "do", attempt), RetryDue("a", "do", attempt)):
        decision = one.happens(event)
        assert (decision.records, decision.sends, decision.wakes) == ((), (), ())


def test_a_late_unavailable_is_ignored() -> None:
    """It speaks of an attempt that was already given up."""
    one = Driven(Chain)
    one.happens(TimedOut("a", "do", 1), chance=0.0)
    assert not one.answers("a", Unavailable("late"), attempt=1).records


def test_an_unavailable_of_another_phase_is_ignored() -> None:
    """While its service is asked what became of a step, the old attempt's excuse is of no interest."""
    one = Driven(Chain)
    one.gives_up("a")
    assert not one.answers("a", Unavailable("late"), phase="do", attempt=1).records


@pytest.mark.parametrize("answer", [Done(ONE), Refused("no")], ids=str)
def test_a_late_fact_counts(answer: Done[msgspec.Raw] | Refused) -> None:
    """What is true stays true: the answer to a given-up attempt is used, not thrown away."""
    one = Driven(Chain)
    one.happens(TimedOut("a", "do", 1), chance=0.0)
    fact = StepDone("a", ONE) if isinstance(answer, Done) else StepRefused("a", "no")
    assert one.answers("a", answer, attempt=1).records[0] == fact


def test_after_the_last_attempt_the_service_is_asked_what_became_of_the_step() -> None:
    """Out of attempts the outcome is unknown, and a question turns unknown into known."""
    one = Driven(Chain)
    decision = one.gives_up("a")
    assert decision.records == (StepResolving("a", "no answer in time"),)
    assert one.sent == ["resolve a"]
    assert decision.wakes == (Wake(one.at + TIMEOUT_S, TimedOut("a", "resolve", 1)),)


def test_a_resolved_step_that_was_done_goes_on() -> None:
    """Only the answers had been lost."""
    one = Driven(Chain)
    one.gives_up("a")
    assert one.done("a").records == (StepDone("a", ONE),)
    assert one.sent == ["do b"]


def test_a_resolved_step_that_never_was_turns_the_instance_back() -> None:
    """Its service has a tombstone now, so nothing of it is left to undo; the cause is what made it unknown."""
    one = Driven(Chain)
    one.done("a")
    one.gives_up("b")
    decision = one.answers("b", Never())
    assert decision.records == (StepNever("b"), Decided(Direction.BACK, "b", "no answer in time"))
    assert one.sent == ["undo a"]


def test_a_resolved_step_that_was_refused_turns_the_instance_back() -> None:
    """The recorded no comes back as it was."""
    one = Driven(Chain)
    one.gives_up("a")
    assert one.answers("a", Refused("sold out")).records[0] == StepRefused("a", "sold out")


def test_a_late_done_answers_the_question_too() -> None:
    """The reply of the step itself may come before the answer to the question."""
    one = Driven(Chain)
    one.gives_up("a")
    one.answers("a", Done(ONE), phase="do", attempt=1)
    assert one.sent == ["do b"]


def test_a_late_do_that_meets_its_tombstone_was_not_done() -> None:
    """The fence refuses it, and a refusal has no effect."""
    one = Driven(Chain)
    one.gives_up("a")
    assert one.answers("a", Refused(CANCELLED), phase="do", attempt=2).records[-1] == Ended(False, "a", CANCELLED)


def test_when_the_question_stays_unanswered_the_instance_goes_back_and_undoes_the_step() -> None:
    """Without a pivot in doubt unknown is no reason to wait: the undo works for done and for never."""
    one = Driven(Chain)
    one.done("a")
    one.gives_up("b")
    decision = one.gives_up("b")
    assert decision.records == (Decided(Direction.BACK, "b", "no answer in time"),)
    assert one.sent == ["undo b"]


def test_an_undo_is_tried_again() -> None:
    """With the same backoff."""
    one = Driven(Chain)
    one.done("a")
    one.answers("b", Refused("no"))
    one.times_out("a")
    one.happens(RetryDue("a", "undo", 2))
    assert one.sent == ["undo a again (2)"]


def test_a_done_that_comes_after_its_undo_left_is_ignored() -> None:
    """The undo takes care of it, whichever came first at the service."""
    one = Driven(Diamond)
    one.done("top")
    one.answers("left", Refused("no"))
    assert not one.answers("right", Done(ONE), phase="do").records


def test_a_late_undone_counts() -> None:
    """The first undo's answer may come after the second one left."""
    one = Driven(Chain)
    one.done("a")
    one.answers("b", Refused("no"))
    one.happens(TimedOut("a", "undo", 1), chance=0.0)
    assert one.answers("a", Undone(), attempt=1).records[-1] == Ended(False, "b", "no")


def test_a_retry_that_can_not_leave_before_the_deadline_is_not_waited_for() -> None:
    """The time left is for finding out and undoing."""
    one = Driven(Pivoted)
    one.at = DEADLINE - 0.5
    assert one.times_out("a").records == (StepResolving("a", "no answer in time"),)


def test_a_retry_that_can_leave_before_the_deadline_is_made() -> None:
    """A moment is enough."""
    one = Driven(Pivoted)
    one.at = DEADLINE - 0.6
    assert one.times_out("a").records == (StepRetried("a", 2, one.at + 0.5, "no answer in time"),)


def test_a_question_that_can_not_leave_again_before_the_deadline_turns_the_instance_back() -> None:
    """The same for the question what became of a step."""
    one = Driven(Pivoted)
    one.gives_up("a")
    one.at = DEADLINE - 0.5
    assert one.times_out("a").records == (Decided(Direction.BACK, "a", "no answer in time"),)


def test_after_the_decision_the_deadline_limits_no_retry() -> None:
    """What must succeed in the end is tried however late it is."""
    one = Driven(Pivoted)
    one.done("a", "b", "p")
    one.at = DEADLINE + 1000.0
    assert one.times_out("r").records == (StepRetried("r", 2, one.at + 0.5, "no answer in time"),)
