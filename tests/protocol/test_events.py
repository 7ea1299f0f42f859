"""What a decision tells the one who carries it out."""

import msgspec
import pytest

from amends.protocol.events import CancelAnswer, Decision
from amends.protocol.records import (
    Decided,
    Direction,
    Ended,
    Intervened,
    Record,
    Resumed,
    StepDone,
    StepNever,
    StepRefused,
    StepResolving,
    StepRetried,
    StepStuck,
    StepUndone,
)
from tests.protocol.driven import START, Chain, Driven, started

ONE = msgspec.Raw(b"1")

FORCED: list[tuple[Record, bool]] = [
    (started(Chain), True),
    (Decided(Direction.BACK, "a", "no"), True),
    (Intervened("a", "retry", "ann", "why"), True),
    (Ended(completed=True), True),
    (StepDone("a", ONE), False),
    (StepRefused("a", "no"), False),
    (StepRetried("a", 2, START, "no"), False),
    (StepResolving("a", "no"), False),
    (StepNever("a"), False),
    (StepUndone("a"), False),
    (StepStuck("a", 2, START, "no"), False),
    (Resumed(), False),
]


@pytest.mark.parametrize(("record", "forced"), FORCED, ids=[type(record).__name__ for record, _ in FORCED])
def test_what_no_fence_can_give_back_is_forced(record: Record, forced: bool) -> None:
    """The start, the decision, the end and what a person did must be on disk before anything follows from them."""
    assert Decision(Driven(Chain).state, (record,)).forced is forced


def test_one_forced_record_forces_the_whole_decision() -> None:
    """They are written together."""
    assert Decision(Driven(Chain).state, (StepDone("c", ONE), Decided(Direction.FORWARD))).forced


def test_a_decision_without_records_is_not_forced() -> None:
    """There is nothing to write."""
    assert not Decision(Driven(Chain).state).forced


def test_a_cancels_answers_read_as_the_words_they_mean() -> None:
    """Consoles print them, and callers compare them."""
    assert [str(answer) for answer in CancelAnswer] == ["accepted", "too late", "already ended"]
