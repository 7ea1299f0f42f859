"""Stuck: what may not fail keeps failing; it is tried on slowly, keeps nobody else waiting, and a person may act."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from amends.protocol.events import Intervention, RetryDue, RetryNow, Skip, SupplyResult, TimedOut, Wake
from amends.protocol.messages import CANCELLED, Done, Never, Refused, Unavailable, Undone
from amends.protocol.records import Decided, Direction, Ended, Intervened, StepDone, StepStuck, StepUndone
from amends.protocol.retry import Retry
from amends.protocol.saga import Results, Saga, retriable, step
from tests.protocol.driven import START, Act, Chain, Diamond, Driven, Pivoted

ONE = msgspec.Raw(b"1")
SLOW_S = 60.0


@pytest.fixture
def stuck_step() -> Driven:
    """An instance that is decided forward and whose step r is stuck."""
    one = Driven(Chain)
    one.done("a", "b", "c")
    one.gives_up("r")
    assert one.state.stuck == ("r",)
    return one


@pytest.fixture
def stuck_undo() -> Driven:
    """A diamond on its way back whose undo of left is stuck."""
    one = Driven(Diamond)
    one.done("top", "left", "right")
    one.answers("bottom", Refused("no"))
    one.gives_up("left")
    assert one.state.stuck == ("left",)
    return one


@pytest.fixture
def stuck_pivot() -> Driven:
    """An instance whose pivot is in doubt and out of reach."""
    one = Driven(Pivoted)
    one.done("a", "b")
    one.gives_up("p")
    one.gives_up("p")
    assert one.state.stuck == ("p",)
    return one


def test_a_retriable_step_out_of_attempts_is_stuck() -> None:
    """It must succeed in the end, so it is tried on, slowly."""
    one = Driven(Chain)
    one.done("a", "b", "c")
    decision = one.gives_up("r")
    due_at = one.at + SLOW_S
    assert decision.records == (StepStuck("r", 3, due_at, "no answer in time"),)
    assert decision.wakes == (Wake(due_at, RetryDue("r", "do", 3)),)
    assert not decision.sends


def test_a_stuck_step_is_tried_at_the_slow_pace(stuck_step: Driven) -> None:
    """Each further failure waits as long as the one before."""
    stuck_step.at += SLOW_S
    stuck_step.happens(RetryDue("r", "do", 3))
    assert stuck_step.sent == ["do r again (3)"]
    decision = stuck_step.answers("r", Unavailable("still down"))
    assert decision.records == (StepStuck("r", 4, stuck_step.at + SLOW_S, "still down"),)


def test_a_stuck_step_that_succeeds_is_stuck_no_more(stuck_step: Driven) -> None:
    """Nobody needed to look."""
    stuck_step.done("r")
    assert stuck_step.state.stuck == ()
    assert stuck_step.sent == ["do s"]


def test_a_refusal_after_the_decision_makes_the_step_stuck() -> None:
    """Nothing turns the instance round: a person has to see how a step that must succeed can be refused."""
    one = Driven(Chain)
    one.done("a", "b", "c")
    decision = one.answers("r", Refused("no such account"))
    assert decision.records == (StepStuck("r", 2, START + SLOW_S, "refused after the decision: no such account"),)
    assert one.state.direction is Direction.FORWARD


def test_an_undo_out_of_attempts_is_stuck() -> None:
    """An effect may be left, so it is tried on, slowly."""
    one = Driven(Chain)
    one.done("a")
    one.answers("b", Refused("no"))
    decision = one.gives_up("a")
    assert decision.records == (StepStuck("a", 3, one.at + SLOW_S, "no answer in time"),)
    assert one.state.ended is None


def test_a_stuck_undo_keeps_no_other_from_running(stuck_undo: Driven) -> None:
    """Top would wait for left; a failing undo is no reason to leave more undone."""
    stuck_undo.answers("right", Undone())
    assert stuck_undo.sent == ["undo top"]


def test_an_instance_with_a_stuck_undo_has_not_ended(stuck_undo: Driven) -> None:
    """Everything else is undone, and still it says so only when all is."""
    stuck_undo.answers("right", Undone())
    assert not any(isinstance(record, Ended) for record in stuck_undo.answers("top", Undone()).records)
    stuck_undo.at += SLOW_S
    stuck_undo.happens(RetryDue("left", "undo", 2))
    assert stuck_undo.answers("left", Undone()).records == (StepUndone("left"), Ended(False, "bottom", "no"))


def test_a_stuck_step_stays_stuck_over_a_crash(stuck_step: Driven) -> None:
    """It waits for the same moment."""
    decision = stuck_step.crashes()
    assert stuck_step.state.stuck == ("r",)
    assert decision.wakes == (Wake(stuck_step.at + SLOW_S, RetryDue("r", "do", 3)),)


# A person tries again


def test_a_person_may_have_a_stuck_step_tried_at_once(stuck_step: Driven) -> None:
    """It leaves with a number of its own, and who wanted it is on record."""
    decision = stuck_step.happens(RetryNow("r", "ann", "the service is back"))
    assert decision.answer is None
    assert decision.records == (Intervened("r", "retry", "ann", "the service is back"),)
    assert decision.forced
    assert stuck_step.sent == ["do r again (4)"]


def test_the_slow_retry_gives_way_to_the_persons(stuck_step: Driven) -> None:
    """The timer that was set for it finds its attempt gone."""
    stuck_step.happens(RetryNow("r", "ann", "why"))
    assert not stuck_step.happens(RetryDue("r", "do", 3)).sends


def test_a_person_may_have_a_stuck_undo_tried_at_once(stuck_undo: Driven) -> None:
    """In the phase it is in."""
    stuck_undo.happens(RetryNow("left", "ann", "why"))
    assert stuck_undo.sent == ["undo left again (3)"]


def test_a_persons_retry_that_fails_leaves_it_stuck(stuck_step: Driven) -> None:
    """The slow pace goes on from there."""
    stuck_step.happens(RetryNow("r", "ann", "why"))
    decision = stuck_step.happens(TimedOut("r", "do", 4))
    assert decision.records == (StepStuck("r", 5, stuck_step.at + SLOW_S, "no answer in time"),)


# A person supplies the result


def test_a_person_may_supply_a_stuck_steps_result(stuck_step: Driven) -> None:
    """It counts as done, and later steps see what was supplied."""
    decision = stuck_step.happens(SupplyResult("r", "ann", "done by phone", msgspec.Raw(b'{"by":"phone"}')))
    assert decision.answer is None
    assert decision.records == (Intervened("r", "supply", "ann", "done by phone", msgspec.Raw(b'{"by":"phone"}')),)
    assert stuck_step.sent == ["do s"]
    assert stuck_step.done("s").records[-1] == Ended(completed=True)


def test_a_supplied_pivot_decides_forward(stuck_pivot: Driven) -> None:
    """The person found out that it happened."""
    decision = stuck_pivot.happens(SupplyResult("p", "ann", "asked by phone", ONE))
    assert decision.records[-1] == Decided(Direction.FORWARD)
    assert stuck_pivot.sent == ["do r"]


def test_an_undo_has_no_result_to_supply(stuck_undo: Driven) -> None:
    """The answer says what can be done instead."""
    decision = stuck_undo.happens(SupplyResult("left", "ann", "why", ONE))
    assert decision.answer == "step 'left' is being undone: an undo has no result; retry or skip it"
    assert not decision.records


def test_a_supplied_result_that_is_no_json_is_not_taken(stuck_step: Driven) -> None:
    """It would make the history unreadable."""
    decision = stuck_step.happens(SupplyResult("r", "ann", "why", msgspec.Raw(b"done")))
    assert (decision.answer or "").startswith("step 'r': result: $: ")
    assert not decision.records


# A person skips


def test_a_person_may_skip_a_stuck_step_nobody_comes_after() -> None:
    """The instance completes without it."""
    one = Driven(Pivoted)
    one.done("a", "b", "p")
    one.gives_up("r")
    decision = one.happens(Skip("r", "ann", "not needed"))
    assert decision.answer is None
    assert decision.records == (Intervened("r", "skip", "ann", "not needed"), Ended(completed=True))


def test_a_step_others_come_after_can_not_be_skipped(stuck_step: Driven) -> None:
    """They may use its result; the answer names them."""
    decision = stuck_step.happens(Skip("r", "ann", "why"))
    assert decision.answer == "step 'r' can't be skipped: ['s'] may use its result; supply one"
    assert not decision.records


def test_a_person_may_skip_a_stuck_undo(stuck_undo: Driven) -> None:
    """The effect may stay, and the instance ends without undoing it."""
    stuck_undo.answers("right", Undone())
    stuck_undo.answers("top", Undone())
    decision = stuck_undo.happens(Skip("left", "ann", "kept on purpose"))
    assert decision.records == (Intervened("left", "skip", "ann", "kept on purpose"), Ended(False, "bottom", "no"))


def test_skipping_the_question_to_a_pivot_says_that_it_did_not_happen(stuck_pivot: Driven) -> None:
    """The instance goes back."""
    decision = stuck_pivot.happens(Skip("p", "ann", "it never came"))
    assert Decided(Direction.BACK, "p", "it never came") in decision.records
    assert stuck_pivot.sent == ["undo b"]


def test_a_question_can_not_be_skipped_on_the_way_forward() -> None:
    """The pivot is done, so the step before it is too: skipping would leave the instance without an end."""
    one = Driven(Pivoted)
    one.crashes()
    one.gives_up("a")
    one.gives_up("a")
    one.done("p")
    one.times_out("a")
    assert one.state.stuck == ("a",)
    decision = one.happens(Skip("a", "ann", "why"))
    assert decision.answer == "step 'a' can't be skipped: ['b', 'p', 'r'] may use its result; supply one"
    one.happens(SupplyResult("a", "ann", "looked it up", ONE))
    assert one.sent == ["do b"]


# What is not taken


INTERVENTIONS = [
    lambda step_name: RetryNow(step_name, "ann", "why"),
    lambda step_name: SupplyResult(step_name, "ann", "why", ONE),
    lambda step_name: Skip(step_name, "ann", "why"),
]
ALL_THREE = pytest.mark.parametrize("made", INTERVENTIONS, ids=["retry", "supply", "skip"])


@ALL_THREE
def test_only_a_stuck_step_can_be_acted_on(made: Callable[[str], Intervention], stuck_step: Driven) -> None:
    """The answer says where the step is instead."""
    decision = stuck_step.happens(made("a"))
    assert decision.answer == "step 'a' is done and not stuck; wanted a stuck step"
    assert not decision.records


@ALL_THREE
def test_only_a_step_of_the_plan_can_be_acted_on(made: Callable[[str], Intervention], stuck_step: Driven) -> None:
    """The answer lists those there are."""
    decision = stuck_step.happens(made("z"))
    assert decision.answer == "step is 'z', wanted one of ['a', 'b', 'c', 'r', 's']"
    assert not decision.records


@ALL_THREE
def test_after_the_end_nobody_can_act(made: Callable[[str], Intervention]) -> None:
    """And is told so."""
    one = Driven(Chain)
    one.answers("a", Refused("no"))
    assert one.happens(made("a")).answer == "the instance has ended"


def test_late_facts_about_a_supplied_step_change_nothing(stuck_step: Driven) -> None:
    """The person's word stands."""
    stuck_step.happens(SupplyResult("r", "ann", "why", msgspec.Raw(b"2")))
    for answer in (Done(ONE), Refused(CANCELLED), Never()):
        assert not stuck_step.answers("r", answer, phase="do").records


# Methods that raise


broken: set[str] = set()


def built(name: str) -> Act:
    """The command of `name`, or a method's mistake."""
    if name in broken:
        raise ValueError("card 4111 is not a number")
    return Act(name)


class Fragile(Saga, name="fragile"):
    """Every method of it may raise."""

    input: int

    @step(to="north")
    def a(self, value: int, done: Results) -> Act:
        return built("a")

    @step(to="north", after=[a])
    def b(self, value: int, done: Results) -> Act:
        return built("b")

    @retriable(to="north")
    def r(self, value: int, done: Results) -> Act:
        return built("r")

    @retriable(to="north", retry=Retry(slow_s=0.001))
    def s(self, value: int, done: Results) -> Act:
        return built("s")


@pytest.fixture(autouse=True)
def repaired() -> Iterator[None]:
    """What one test breaks is whole for the next."""
    yield
    broken.clear()


def test_a_method_that_raises_before_the_decision_turns_the_instance_back() -> None:
    """It would raise again, so there is no point in trying; nothing of the step left, and its undo makes sure."""
    broken.add("b")
    one = Driven(Fragile)
    decision = one.done("a")
    assert decision.records[-1] == Decided(Direction.BACK, "b", "its method raised ValueError")
    assert one.sent == ["undo b"]
    one.answers("b", Undone())
    assert one.sent == ["undo a"]


def test_a_first_method_that_raises_turns_the_instance_back_at_its_beginning() -> None:
    """Started and the decision are in one batch."""
    broken.add("a")
    one = Driven(Fragile)
    assert one.history[1:] == [Decided(Direction.BACK, "a", "its method raised ValueError")]
    assert one.sent == ["undo a"]


def test_a_method_that_raises_after_the_decision_is_stuck() -> None:
    """It is tried on slowly, for a repaired program may be deployed; the other steps go on."""
    broken.add("r")
    one = Driven(Fragile)
    decision = one.done("a", "b")
    assert decision.records[-1] == StepStuck("r", 2, START + SLOW_S, "its method raised ValueError")
    assert one.sent == ["do s"]
    assert Wake(START + SLOW_S, RetryDue("r", "do", 2)) in decision.wakes
    broken.clear()
    one.happens(RetryDue("r", "do", 2))
    assert one.sent == ["do r again (2)"]


def test_a_method_that_raises_without_a_slow_pace_waits_for_its_timer() -> None:
    """Even if the wait is the shortest there is."""
    broken.add("s")
    one = Driven(Fragile)
    decision = one.done("a", "b")
    assert one.sent == ["do r"]
    assert Wake(START + 0.001, RetryDue("s", "do", 2)) in decision.wakes


def test_of_a_method_that_raises_only_the_errors_class_is_kept() -> None:
    """Its text may quote the input, and a journal is no place for that."""
    broken.add("b")
    one = Driven(Fragile)
    one.done("a")
    assert "4111" not in repr(one.history)


def test_a_result_no_method_asked_for_an_after_is_a_mistake_of_the_method() -> None:
    """Reading a result that is not certain to be there is found by the first instance, not by a rare crash."""

    class Careless(Saga, name="careless"):
        input: int

        @step(to="north")
        def a(self, value: int, done: Results) -> Act:
            return Act("a")

        @retriable(to="north")
        def r(self, value: int, done: Results) -> Act:
            return Act("r")

        @retriable(to="north")
        def s(self, value: int, done: Results) -> Act:
            return Act(done.of("r", str))

    one = Driven(Careless)
    one.done("a")
    assert StepStuck("s", 2, START + SLOW_S, "its method raised PlanError") in one.history
    assert StepDone("a", ONE) in one.history
