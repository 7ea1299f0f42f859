"""Where the time goes: of histories whose every time is known."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from amends.console import journal
from amends.console.timings import OTHERS, REASONS_MAX, SagaTimings, Spread
from amends.protocol.records import (
    BACK,
    FORWARD,
    Decided,
    Ended,
    Intervened,
    Resumed,
    StepDone,
    StepNever,
    StepRefused,
    StepResolving,
    StepRetried,
    StepStuck,
    StepUndone,
)
from tests.actors.trip import BookTrip
from tests.console.histories import RESULT, START_AT, Step, started, write
from tests.console.meal import Meal

COMPLETED: list[Step] = [
    (1.0, StepDone("seat", RESULT)),
    (4.0, StepDone("fare", RESULT)),
    (4.5, Decided(FORWARD)),
    (5.0, StepDone("ticket", RESULT)),
    (6.0, Ended(completed=True)),
]


def times(where: Path, saga_id: str, *, exact: bool) -> dict[str, tuple[float | None, float | None]]:
    """How long each step and its undo took, by step."""
    told = journal.progress(where, saga_id=saga_id, sagas=[BookTrip, Meal] if exact else [])
    assert told is not None
    return {step.step: (step.time_s, step.undo_time_s) for step in told.steps}


def only_saga(where: Path) -> SagaTimings:
    """The timings of the one saga there is."""
    (saga,) = journal.timings(where, sagas=[BookTrip]).sagas
    return saga


# One instance.


@pytest.mark.parametrize("exact", [True, False])
def test_steps_in_a_row(tmp_path: Path, exact: bool) -> None:
    """Each is counted from the answer to the one before; what comes after the decision, from the decision."""
    write(tmp_path, "a", [started("a"), *COMPLETED])
    assert times(tmp_path, "a", exact=exact) == {"seat": (1.0, None), "fare": (3.0, None), "ticket": (0.5, None)}


def test_steps_side_by_side_are_exact_with_the_plan(tmp_path: Path) -> None:
    """Both are counted from when both could be sent."""
    history: list[Step] = [started("a", "meal"), (1.0, StepDone("soup", RESULT)), (3.0, StepDone("bread", RESULT))]
    write(tmp_path, "a", history)
    assert times(tmp_path, "a", exact=True) == {"soup": (1.0, None), "bread": (3.0, None), "sweet": (None, None)}


def test_steps_side_by_side_took_at_least_so_long_without_it(tmp_path: Path) -> None:
    """Then nobody knows whether the second one waited for the first."""
    history: list[Step] = [started("a", "meal"), (1.0, StepDone("soup", RESULT)), (3.0, StepDone("bread", RESULT))]
    write(tmp_path, "a", history)
    assert times(tmp_path, "a", exact=False) == {"soup": (1.0, None), "bread": (2.0, None)}


@pytest.mark.parametrize("exact", [True, False])
def test_retries_count_into_the_time_of_their_step(tmp_path: Path, exact: bool) -> None:
    """It could be sent before its first attempt failed, and a restart in between starts nothing anew."""
    history: list[Step] = [
        started("a"),
        (1.0, StepDone("seat", RESULT)),
        (2.0, StepRetried("fare", 2, START_AT + 3.0, "closed")),
        (5.0, Resumed()),
        (9.0, StepDone("fare", RESULT)),
    ]
    write(tmp_path, "a", history)
    assert times(tmp_path, "a", exact=exact)["fare"] == (8.0, None)


@pytest.mark.parametrize("exact", [True, False])
def test_a_restart_in_between_starts_no_step(tmp_path: Path, exact: bool) -> None:
    """What was sent before it may have been done before it."""
    history: list[Step] = [
        started("a"),
        (1.0, StepDone("seat", RESULT)),
        (5.0, Resumed()),
        (9.0, StepDone("fare", RESULT)),
    ]
    write(tmp_path, "a", history)
    assert times(tmp_path, "a", exact=exact)["fare"] == (8.0, None)


@pytest.mark.parametrize("exact", [True, False])
def test_an_undo_that_is_tried_again_is_counted_from_its_first_attempt(tmp_path: Path, exact: bool) -> None:
    """Though another undo was done meanwhile."""
    history: list[Step] = [
        started("a", "meal"),
        (1.0, StepDone("soup", RESULT)),
        (1.0, StepDone("bread", RESULT)),
        (1.5, Decided(BACK, None, "deadline")),
        (2.5, StepUndone("sweet")),
        (3.0, StepRetried("soup", 2, START_AT, "not now")),
        (3.5, StepUndone("bread")),
        (4.0, StepUndone("soup")),
    ]
    write(tmp_path, "a", history)
    assert times(tmp_path, "a", exact=exact)["soup"][1] == 1.5


@pytest.mark.parametrize("exact", [True, False])
def test_an_undo_is_counted_from_the_decision(tmp_path: Path, exact: bool) -> None:
    """And the step's own time ends with its answer, a no included."""
    history: list[Step] = [
        started("a"),
        (1.0, StepDone("seat", RESULT)),
        (3.0, StepRefused("fare", "no money")),
        (3.0, Decided(BACK, "fare", "no money")),
        (3.5, StepUndone("seat")),
        (3.5, Ended(completed=False, step="fare", reason="no money")),
    ]
    write(tmp_path, "a", history)
    told = times(tmp_path, "a", exact=exact)
    assert (told["seat"], told["fare"]) == ((1.0, 0.5), (2.0, None))


def test_undos_wait_for_those_that_depend_on_them(tmp_path: Path) -> None:
    """The first step's undo could be sent once the second's was done."""
    history: list[Step] = [
        started("a"),
        (1.0, StepDone("seat", RESULT)),
        (2.0, StepDone("fare", RESULT)),
        (2.5, Decided(BACK, None, "deadline")),
        (4.5, StepUndone("fare")),
        (5.0, StepUndone("seat")),
    ]
    write(tmp_path, "a", history)
    assert [undo for _, undo in times(tmp_path, "a", exact=True).values()] == [0.5, 2.0, None]


def test_a_clock_set_back_gives_no_time_below_zero(tmp_path: Path) -> None:
    """Records carry wall time."""
    write(tmp_path, "a", [started("a"), (-5.0, StepDone("seat", RESULT))])
    assert times(tmp_path, "a", exact=True)["seat"] == (0.0, None)


def test_a_step_that_was_asked_what_became_of_it(tmp_path: Path) -> None:
    """The last attempt's failure and the question's are told apart."""
    history: list[Step] = [
        started("a"),
        (1.0, StepResolving("seat", "no answer in time")),
        (2.0, StepRetried("seat", 2, START_AT, "still none")),
        (3.0, StepNever("seat")),
    ]
    write(tmp_path, "a", history)
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    (seat,) = told.steps
    assert [(f.phase, f.reason) for f in seat.failures] == [("do", "no answer in time"), ("resolve", "still none")]
    assert (seat.status, seat.attempts, seat.time_s) == ("never", 1, 3.0)


def test_a_pivot_that_is_asked_because_of_others_did_not_fail(tmp_path: Path) -> None:
    """What failed is another step; the pivot only has to say whether it happened."""
    write(tmp_path, "a", [started("a"), (1.0, StepResolving("seat", "deadline", None, "deadline"))])
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    assert [(step.status, step.failures) for step in told.steps] == [("resolving", ())]


def test_a_skipped_step_is_at_rest(tmp_path: Path) -> None:
    """It was stuck and is not any more; it has no time, for it was never answered."""
    history: list[Step] = [
        *[started("a"), *COMPLETED][:4],
        (5.0, StepStuck("ticket", 2, START_AT + 65.0, "no paper")),
        (9.0, Intervened("ticket", "skip", "ann", "not needed")),
    ]
    write(tmp_path, "a", history)
    told = journal.progress(tmp_path, key="a")
    assert told is not None
    ticket = told.steps[-1]
    assert (ticket.status, ticket.stuck, ticket.was_stuck, ticket.time_s) == ("skipped", None, True, None)


# A whole journal.


def test_steps_over_all_instances(tmp_path: Path) -> None:
    """How many answers, and how their times are spread."""
    for n in range(1, 101):
        write(tmp_path, f"{n:03}", [started(f"{n:03}"), (float(n), StepDone("seat", RESULT))])
    seat = only_saga(tmp_path).steps[0]
    assert (seat.step, seat.answered) == ("seat", Spread(100, 50.0, 99.0, 100.0))


def test_outcomes_and_total_times(tmp_path: Path) -> None:
    """Those that completed and those that were undone are counted and timed apart."""
    write(tmp_path, "a", [started("a"), *COMPLETED])
    write(tmp_path, "b", [started("b")])
    back: list[Step] = [(2.0, Decided(BACK, None, "deadline")), (3.0, Ended(completed=False, reason="deadline"))]
    write(tmp_path, "c", [started("c"), *back])
    saga = only_saga(tmp_path)
    assert saga.states == {"compensated": 1, "completed": 1, "open": 1}
    assert (saga.completed, saga.compensated) == (Spread(1, 6.0, 6.0, 6.0), Spread(1, 3.0, 3.0, 3.0))
    assert saga.reasons == {"deadline": 1}


def test_what_fails_and_why(tmp_path: Path) -> None:
    """Retries, failed attempts and refusals by reason, the most frequent first."""
    for saga_id, reason in (("a", "no money"), ("b", "blocked"), ("c", "no money")):
        refused: list[Step] = [
            (1.0, StepRetried("seat", 2, START_AT, "closed")),
            (2.0, StepRefused("seat", reason)),
            (2.0, Decided(BACK, "seat", reason)),
        ]
        write(tmp_path, saga_id, [started(saga_id), *refused])
    saga = only_saga(tmp_path)
    seat = saga.steps[0]
    assert (seat.retries, seat.failures) == (3, {"closed": 3})
    assert list(seat.refusals.items()) == [("no money", 2), ("blocked", 1)]
    assert saga.reasons == {"seat: no money": 2, "seat: blocked": 1}


def test_reasons_without_end_are_counted_together(tmp_path: Path) -> None:
    """A reason that names an id can't fill the memory."""
    for n in range(REASONS_MAX + 7):
        write(tmp_path, f"{n:03}", [started(f"{n:03}"), (1.0, StepRefused("seat", f"no seat for {n}"))])
    refusals = only_saga(tmp_path).steps[0].refusals
    assert (len(refusals), refusals[OTHERS]) == (REASONS_MAX + 1, 7)


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """One bad history spoils no other."""
    write(tmp_path, "a", [started("a"), *COMPLETED])
    write(tmp_path, "b", [started("b"), *COMPLETED], state="quarantined")
    told = journal.timings(tmp_path)
    assert (told.unreadable, told.sagas[0].completed.count) == (1, 1)
    assert told.sagas[0].states == {"completed": 1, "quarantined": 1}


@pytest.mark.parametrize(
    "damage",
    [
        "body = x'c3ff7b'",
        "body = cast(x'7bff' as text)",
        "body = '{'",
        "at = cast('x' as text)",
        "schema = cast('x' as text)",
    ],
)
def test_a_damaged_record_spoils_no_other_history(tmp_path: Path, damage: str) -> None:
    """Whatever types its values have now."""
    for saga_id in ("a", "b"):
        write(tmp_path, saga_id, [started(saga_id), *COMPLETED])
    with closing(apsw.Connection(str(tmp_path / "journal.db"))) as db:
        db.execute(f"update records set {damage} where saga_id = 'a' and seq = 1")
    told = journal.timings(tmp_path)
    assert (told.unreadable, told.sagas[0].completed.count) == (1, 1)


def test_a_person_who_asks_again_what_became_of_a_step_does_not_send_it_again(tmp_path: Path) -> None:
    """Its attempts are those of doing it."""
    asked: list[Step] = [(1.0, StepResolving("seat", "no answer")), (2.0, StepRetried("seat", 2, 3.0, "no answer"))]
    again: list[Step] = [
        (3.0, StepStuck("seat", 3, 4.0, "no answer")),
        (4.0, Intervened("seat", "retry", "ann", "it is back")),
    ]
    write(tmp_path, "a", [started("a"), *asked, *again])
    told = journal.progress(tmp_path, saga_id="a")
    assert told is not None
    assert [step.attempts for step in told.steps] == [1]


def test_nothing_has_ended_yet(tmp_path: Path) -> None:
    """Nothing to tell is no error."""
    write(tmp_path, "a", [started("a")])
    assert only_saga(tmp_path).completed == Spread()
