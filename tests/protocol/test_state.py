"""State is the fold of the records: what a history says, and how it ends."""

from collections.abc import Callable

import msgspec
import pytest

from amends.protocol.errors import AmendsError, InputError
from amends.protocol.events import CancelAsked
from amends.protocol.messages import Refused, Undone
from amends.protocol.records import Decided, Direction, Record, StepDone
from amends.protocol.state import Compensated, Completed, apply, outcome, replay
from tests.protocol.driven import Chain, Diamond, Driven, Pivoted, started

ONE = msgspec.Raw(b"1")


def completed() -> Driven:
    """An instance that went straight to its end."""
    one = Driven(Pivoted)
    one.done("a", "b", "p", "r")
    return one


def compensated() -> Driven:
    """An instance that met a crash, a refusal and a stuck undo."""
    one = Driven(Diamond)
    one.crashes()
    one.done("top", "left", "right")
    one.answers("bottom", Refused("no"))
    one.gives_up("right")
    for name in ("left", "right", "top"):
        one.answers(name, Undone())
    return one


@pytest.mark.parametrize("made", [completed, compensated])
def test_a_history_replays_to_the_state_that_wrote_it(made: Callable[[], Driven]) -> None:
    """Nothing else is remembered."""
    one = made()
    assert one.state.ended is not None
    assert replay(one.plan, one.history) == one.state


@pytest.mark.parametrize("made", [completed, compensated])
def test_a_prefix_and_the_rest_give_the_same_as_the_whole(made: Callable[[], Driven]) -> None:
    """A state can be carried on from wherever its records were cut."""
    one = made()
    for length in range(1, len(one.history)):
        state = replay(one.plan, one.history[:length])
        for record in one.history[length:]:
            state = apply(one.plan, state, record)
        assert state == one.state


def test_a_state_counts_its_records() -> None:
    """Its length is the number of the next one."""
    one = completed()
    assert one.state.length == len(one.history)


def test_the_input_is_decoded() -> None:
    """Methods get the type the saga declares."""
    assert Driven(Chain).state.input == 7


def test_an_input_of_another_type_is_found_at_the_first_record() -> None:
    """The error names the saga and what was found."""
    with pytest.raises(InputError, match=r"^saga 'chain': \$: Expected `int`, got `str`$"):
        replay(Chain.plan, [started(Chain, b'"seven"')])


@pytest.mark.parametrize(
    ("history", "found"), [([], "None"), ([StepDone("a", ONE)], r"StepDone\(.*\)")], ids=["empty", "headless"]
)
def test_a_history_begins_with_started(history: list[Record], found: str) -> None:
    """Anything else is a history of nothing; the error says what was found."""
    with pytest.raises(AmendsError, match=f"^a history of saga 'chain' begins with {found}, wanted Started$"):
        replay(Chain.plan, history)


def test_a_second_started_is_no_history() -> None:
    """The error names the instance."""
    with pytest.raises(AmendsError, match=r"^instance i-1: a second Started in its history$"):
        replay(Chain.plan, [started(Chain), started(Chain)])


def test_a_state_knows_its_key_and_its_direction() -> None:
    """What the coordinator and the console ask for."""
    state = replay(Chain.plan, [started(Chain), Decided(Direction.BACK, "a", "no")])
    assert (state.saga_id, state.key, state.direction) == ("i-1", "key-1", Direction.BACK)
    assert state.cause == ("a", "no")


def test_a_completed_instance_has_the_results_of_all_its_steps() -> None:
    """What the caller gets."""
    one = completed()
    came_out = outcome(one.plan, one.state)
    assert isinstance(came_out, Completed)
    assert {name: came_out.results.of(name, int) for name in came_out.results} == dict.fromkeys("abpr", 1)


def test_a_compensated_instance_says_why() -> None:
    """The step that was refused, and its reason."""
    one = compensated()
    assert outcome(one.plan, one.state) == Compensated("bottom", "no")


def test_a_cancelled_instance_blames_no_step() -> None:
    """It was somebody's wish."""
    one = Driven(Chain)
    one.happens(CancelAsked())
    one.answers("a", Undone())
    assert outcome(one.plan, one.state) == Compensated(None, "cancelled by the caller")


def test_an_open_instance_has_no_outcome() -> None:
    """Asking for one is an error that names the instance."""
    with pytest.raises(AmendsError, match=r"^instance i-1: is still open and has no outcome$"):
        outcome(Chain.plan, Driven(Chain).state)
