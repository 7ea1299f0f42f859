"""Every checker can fail: the shortest story that breaks each, and that none of the others sees."""

# ruff: noqa: D103 - the name of a story is all there is to say of it

from collections.abc import Callable

import msgspec
import pytest

from amends.protocol.events import CancelAnswer
from amends.protocol.messages import Answer, Do, Done, Message, Never, Refused, Reply, SagaId, Unavailable, Undo, Undone
from amends.protocol.records import BACK, FORWARD, Decided, Ended, Record, Started, StepDone, StepRetried, StepUndone
from amends.protocol.state import Compensated
from amends.testing import Schedule
from amends.testing.checkers import CHECKERS, Checker, effects, journal, promises
from amends.testing.facts import Answered, Effect, Fell, Sent, Spawned, Told
from amends.testing.world import World
from tests.actors.trip import SERVICES, BookTrip

SAGA = SagaId("1")
ONE = msgspec.Raw(b"1")


class Story:
    """A world in which a test says what happens to one trip."""

    def __init__(self, *checkers: type[Checker]) -> None:
        plan = BookTrip.plan
        self.world = World(Schedule(), {(plan.name, plan.version): plan}, SERVICES)
        self.world.watch(checkers)
        self.seq = 0

    def begins(self) -> None:
        """It is on disk."""
        self.records(Started(SAGA, "book-trip", 1, "ann", msgspec.Raw(b'{"name":"ann"}'), 1.0))

    def records(self, *records: Record) -> None:
        for record in records:
            self.world.on_disk(SAGA, self.seq, record)
            self.seq += 1

    def sends(self, message: Message) -> None:
        self.world.see(Sent(0.0, "ann", message))

    def does(self, step: str, kind: str = "do", token: int = 1) -> None:
        self.world.see(Effect(0.0, "ann", SAGA, step, f"{step}s", "work", kind, token))

    def answers(self, step: str, answer: Answer, phase: str = "do") -> None:
        self.world.see(Answered(0.0, "ann", f"{step}s", Reply(SAGA, step, phase, 1, answer)))

    def tells(self, what: str, value: object) -> None:
        self.world.see(Told(0.0, "ann", SAGA, what, value))

    def happens(self, *steps: str) -> None:
        """These steps are done, answered and recorded."""
        for step in steps:
            self.does(step)
            self.answers(step, Done(ONE))
            self.records(StepDone(step, ONE))


def do(step: str, payload: bytes = b"{}") -> Do:
    return Do(
        service=f"{step}s", saga_id=SAGA, step=step, attempt=1, token=1, command="X", payload=payload, expires_at=9.0
    )


def undo(step: str) -> Undo:
    return Undo(service=f"{step}s", saga_id=SAGA, step=step, attempt=1, token=1)


def done_for_nobody(story: Story) -> None:
    story.does("seat")


def done_twice(story: Story) -> None:
    story.begins()
    story.does("seat")
    story.does("seat")


def undone_twice(story: Story) -> None:
    story.begins()
    story.does("seat")
    story.does("seat", "undo")
    story.does("seat", "undo")


def undone_but_never_done(story: Story) -> None:
    story.begins()
    story.does("seat", "undo")


def done_too_early(story: Story) -> None:
    story.begins()
    story.does("fare")


def retriable_done_too_early(story: Story) -> None:
    story.begins()
    story.does("seat")
    story.does("ticket")


def undone_in_order(story: Story) -> None:
    story.begins()
    story.happens("seat", "fare")
    story.does("seat", "undo")


def completed_without_all(story: Story) -> None:
    story.begins()
    story.happens("seat", "fare")
    story.records(Decided(FORWARD), Ended(completed=True))


def compensated_with_something_left(story: Story) -> None:
    story.begins()
    story.happens("seat")
    story.records(Decided(BACK, "fare", "no"), Ended(completed=False, step="fare", reason="no"))


def said_done_and_is_not(story: Story) -> None:
    story.begins()
    story.answers("seat", Done(ONE))


def said_undone_and_is_not(story: Story) -> None:
    story.begins()
    story.does("seat")
    story.answers("seat", Undone(), "undo")


def said_never_and_did_it(story: Story) -> None:
    story.begins()
    story.answers("seat", Never(), "resolve")
    story.does("seat")


def refused_and_did_it(story: Story) -> None:
    story.begins()
    story.does("seat")
    story.answers("seat", Refused("full"))


def another_payload(story: Story) -> None:
    story.begins()
    story.sends(do("seat", b"{}"))
    story.sends(do("seat", b'{"x":1}'))


def an_older_token(story: Story) -> None:
    story.begins()
    story.does("seat", token=2)
    story.does("seat", "undo", token=1)


def sent_before_started(story: Story) -> None:
    story.sends(do("seat"))


def undone_before_decided(story: Story) -> None:
    story.begins()
    story.sends(undo("seat"))


def retriable_before_decided(story: Story) -> None:
    story.begins()
    story.sends(do("ticket"))


def sent_after_the_end(story: Story) -> None:
    story.begins()
    story.records(Decided(BACK, "seat", "no"), Ended(completed=False, step="seat", reason="no"))
    story.sends(do("seat"))


def done_after_the_end(story: Story) -> None:
    story.begins()
    story.records(Decided(BACK, "seat", "no"), Ended(completed=False, step="seat", reason="no"))
    story.does("seat")


def turned_round(story: Story) -> None:
    story.begins()
    story.sends(undo("seat"))
    story.sends(do("ticket"))


def decided_twice(story: Story) -> None:
    story.begins()
    story.records(Decided(BACK, "seat", "no"), Decided(FORWARD))


def ended_undecided(story: Story) -> None:
    story.begins()
    story.records(Ended(completed=True))


def undone_undecided(story: Story) -> None:
    story.begins()
    story.records(StepUndone("seat"))


def recorded_after_the_end(story: Story) -> None:
    story.begins()
    story.records(Decided(BACK, "seat", "no"), Ended(completed=False, step="seat", reason="no"), Decided(BACK))


def a_gap(story: Story) -> None:
    story.begins()
    story.seq += 1
    story.records(Decided(BACK, "seat", "no"))


def a_result_of_nobody(story: Story) -> None:
    story.begins()
    story.does("seat")
    story.answers("seat", Done(ONE))
    story.records(StepDone("seat", msgspec.Raw(b"2")))


def told_accepted_too_early(story: Story) -> None:
    story.tells("accepted", SAGA)


def told_an_outcome_too_early(story: Story) -> None:
    story.begins()
    story.tells("outcome", Compensated("seat", "no"))


def told_cancelled_too_early(story: Story) -> None:
    story.begins()
    story.tells("cancel", CancelAnswer.ACCEPTED)


def told_ended_and_is_open(story: Story) -> None:
    story.begins()
    story.tells("cancel", CancelAnswer.ALREADY_ENDED)


def told_taken_too_early(story: Story) -> None:
    story.begins()
    story.tells("retrynow", None)


def told_two_outcomes(story: Story) -> None:
    story.begins()
    story.records(Decided(BACK, "seat", "no"), Ended(completed=False, step="seat", reason="no"))
    story.tells("outcome", Compensated("seat", "no"))
    story.tells("outcome", Compensated("seat", "maybe"))


def cancelled_and_completed(story: Story) -> None:
    story.begins()
    story.tells("cancel", CancelAnswer.ACCEPTED)
    story.happens("seat", "fare")
    story.records(Decided(FORWARD))
    story.happens("ticket")
    story.records(Ended(completed=True))


def never_ended(story: Story) -> None:
    story.begins()


def accepted_and_forgotten(story: Story) -> None:
    story.tells("accepted", SAGA)


def cancelled_and_never_answered(story: Story) -> None:
    story.world.asked("cancel", "ann")


def restarted_for_ever(story: Story) -> None:
    for incarnation in range(1, 30):
        story.world.see(Spawned(incarnation * 0.1, "ann", incarnation))
        story.world.see(Fell(incarnation * 0.1, "ann", incarnation, "ActorCrash", ""))


def a_service_restarted_for_ever(story: Story) -> None:
    for incarnation in range(1, 200):
        story.world.see(Spawned(incarnation * 0.1, "seats", incarnation))


def failed_by_itself(story: Story) -> None:
    story.begins()
    story.world.see(Fell(1.0, "ann", 1, "KeyError", ""))


def failed_by_an_older_answer(story: Story) -> None:
    story.begins()
    story.answers("seat", Unavailable("busy"))
    story.records(StepRetried("seat", 2, 1.0, "busy"), StepRetried("seat", 3, 2.0, "busy"))


BROKEN: dict[Callable[[Story], None], set[type[Checker]]] = {
    done_for_nobody: {effects.NoEffectWithoutASaga},
    done_twice: {effects.NoEffectTwice},
    undone_twice: {effects.NoEffectTwice},
    undone_but_never_done: {effects.NoEffectAfterItsUndo},
    done_too_early: {effects.DoneAfterItsNeeds},
    retriable_done_too_early: {effects.DoneAfterItsNeeds},
    undone_in_order: {effects.UndoneInReverse},
    completed_without_all: {effects.AllOrNothing},
    compensated_with_something_left: {effects.AllOrNothing},
    said_done_and_is_not: {effects.AnswersAreTrue},
    said_undone_and_is_not: {effects.AnswersAreTrue},
    said_never_and_did_it: {effects.AnswersAreTrue},
    refused_and_did_it: {effects.AnswersAreTrue},
    another_payload: {effects.SameCommand},
    an_older_token: {effects.NoOlderToken},
    sent_before_started: {journal.WriteAhead},
    undone_before_decided: {journal.WriteAhead},
    retriable_before_decided: {journal.WriteAhead},
    sent_after_the_end: {journal.NothingAfterTheEnd},
    done_after_the_end: {journal.NothingAfterTheEnd, effects.AllOrNothing},
    turned_round: {journal.NoTurningRound, journal.WriteAhead},
    decided_twice: {journal.JournalGrammar},
    ended_undecided: {journal.JournalGrammar, effects.AllOrNothing},
    undone_undecided: {journal.JournalGrammar},
    recorded_after_the_end: {journal.JournalGrammar},
    a_gap: {journal.JournalGrammar},
    a_result_of_nobody: {journal.ResultsAreTheServices},
    told_accepted_too_early: {promises.ToldWhenDurable, promises.NothingAcceptedIsLost},
    told_an_outcome_too_early: {promises.ToldWhenDurable},
    told_cancelled_too_early: {promises.ToldWhenDurable},
    told_ended_and_is_open: {promises.ToldWhenDurable},
    told_taken_too_early: {promises.ToldWhenDurable},
    told_two_outcomes: {promises.ToldWhenDurable, promises.ToldStaysTrue},
    cancelled_and_completed: {promises.ToldWhenDurable, promises.ToldStaysTrue},
    never_ended: {promises.NothingAcceptedIsLost},
    accepted_and_forgotten: {promises.ToldWhenDurable, promises.NothingAcceptedIsLost},
    cancelled_and_never_answered: {promises.EverybodyIsAnswered},
    restarted_for_ever: {promises.RestartIntensity},
    a_service_restarted_for_ever: {promises.RestartIntensity},
    failed_by_itself: {promises.NobodyFailsByItself},
    failed_by_an_older_answer: {journal.FailsByItsOwnAnswer},
}
UNFINISHED = {promises.NothingAcceptedIsLost}
"""What also notices, when all is over, that a story stops in the middle."""


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_every_checker_can_fail(checker: type[Checker]) -> None:
    """For each there is a story here that breaks it."""
    assert any(checker in broken for broken in BROKEN.values())


@pytest.mark.parametrize("told", BROKEN, ids=lambda told: told.__name__)
def test_the_story_is_noticed(told: Callable[[Story], None]) -> None:
    """By those checkers whose invariant it breaks, and by no other."""
    noticed = set()
    for checker in CHECKERS:
        story = Story(checker)
        told(story)
        story.world.at_rest()
        if story.world.problem is not None:
            noticed.add(checker)
    assert BROKEN[told] <= noticed <= BROKEN[told] | UNFINISHED


def test_a_good_story_is_noticed_by_nobody() -> None:
    """Started, three steps and a decision, the end, and then it is told."""
    story = Story(*CHECKERS)
    story.begins()
    story.tells("accepted", SAGA)
    for step in ("seat", "fare"):
        story.sends(do(step))
        story.happens(step)
    story.records(Decided(FORWARD))
    story.sends(do("ticket"))
    story.happens("ticket")
    story.records(Ended(completed=True))
    story.world.at_rest()
    assert story.world.problem is None
