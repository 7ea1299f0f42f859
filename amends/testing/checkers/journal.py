"""Checkers of what is on disk when, and of what follows from it."""

from amends.protocol.messages import Do, Done, Resolve, SagaId, Unavailable, Undo
from amends.protocol.records import (
    BACK,
    FORWARD,
    Decided,
    Direction,
    Ended,
    Intervened,
    Started,
    StepDone,
    StepResolving,
    StepRetried,
    StepUndone,
)
from amends.protocol.saga import RETRIABLE
from amends.testing.checkers.base import Checker
from amends.testing.facts import Answered, Effect, Recorded, Sent
from amends.testing.world import Known, World

_Attempt = tuple[SagaId, str, str, int]

_NO_ANSWER = "no answer in time"


class WriteAhead(Checker):
    """Nothing leaves an instance before what it depends on is on disk."""

    def sent(self, fact: Sent) -> None:
        message = fact.message
        known = self.world.instances.get(message.saga_id)
        assert known is not None, f"write ahead: {fact}, and no Started on disk"
        assert known.state is not None
        wanted = _needed(known, message)
        assert wanted is None or known.state.direction is wanted, (
            f"write ahead: {fact}, and on disk the direction is {known.state.direction or 'open'}, wanted {wanted}"
        )


class NothingAfterTheEnd(Checker):
    """An instance that has ended begins nothing, and nothing is done for it any more.

    What waited for the same commit as the end may still leave if it is a repetition, or a question.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._sent: set[tuple[SagaId, str, type]] = set()

    def sent(self, fact: Sent) -> None:
        message = fact.message
        sent = (message.saga_id, message.step, type(message))
        question = isinstance(message, Resolve)
        assert question or sent in self._sent or not self._ended(message.saga_id), f"nothing after the end: {fact}"
        self._sent.add(sent)

    def effect(self, fact: Effect) -> None:
        assert not self._ended(fact.saga_id), f"nothing after the end: {fact}"

    def _ended(self, saga_id: SagaId) -> bool:
        known = self.world.instances.get(saga_id)
        return known is not None and known.state is not None and known.state.ended is not None


class NoTurningRound(Checker):
    """An instance that has acted on one decision never acts on the other, whatever was lost in between."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._acted: dict[SagaId, Direction] = {}

    def sent(self, fact: Sent) -> None:
        known = self.world.instances.get(fact.message.saga_id)
        wanted = None if known is None else _needed(known, fact.message)
        if wanted is not None:
            acted = self._acted.setdefault(fact.message.saga_id, wanted)
            assert acted is wanted, f"no turning round: {fact}, after it went {acted}"


class JournalGrammar(Checker):
    """Started first, one decision at most, Ended last; what only a decision allows comes after it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._next: dict[SagaId, int] = {}
        self._directions: dict[SagaId, Direction] = {}
        self._ended: set[SagaId] = set()

    def recorded(self, fact: Recorded) -> None:
        wanted = self._next.get(fact.saga_id, 0)
        assert fact.seq == wanted, f"journal grammar: {fact} is number {fact.seq}, wanted {wanted}"
        self._next[fact.saga_id] = wanted + 1
        assert isinstance(fact.record, Started) == (wanted == 0), f"journal grammar: {fact} as number {wanted}"
        assert fact.saga_id not in self._ended, f"journal grammar: {fact} after the end"
        self._follow(fact, self._directions.get(fact.saga_id))

    def _follow(self, fact: Recorded, direction: Direction | None) -> None:
        plan = self.world.instances[fact.saga_id].plan
        match fact.record:
            case Decided() as decided:
                assert direction is None, f"journal grammar: {fact}, after it was decided {direction}"
                self._directions[fact.saga_id] = decided.direction
            case Ended(completed):
                assert direction is (FORWARD if completed else BACK), f"journal grammar: {fact}, decided {direction}"
                self._ended.add(fact.saga_id)
            case StepDone(step) if plan.steps[step].kind is RETRIABLE:
                assert direction is FORWARD, f"journal grammar: {fact}, decided {direction}"
            case StepUndone():
                assert direction is BACK, f"journal grammar: {fact}, decided {direction}"


class ResultsAreTheServices(Checker):
    """A result in the journal is what the service answered, or what a person supplied."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._results: dict[tuple[SagaId, str], bytes] = {}
        self._supplied: set[tuple[SagaId, str]] = set()

    def answered(self, fact: Answered) -> None:
        if isinstance(fact.reply.answer, Done):
            self._results[fact.reply.saga_id, fact.reply.step] = bytes(fact.reply.answer.result)

    def recorded(self, fact: Recorded) -> None:
        record = fact.record
        if isinstance(record, Intervened):
            self._supplied.add((fact.saga_id, record.step))
        elif isinstance(record, StepDone) and (fact.saga_id, record.step) not in self._supplied:
            answered = self._results.get((fact.saga_id, record.step))
            assert answered == bytes(record.result), f"results are the services': {fact}, and nobody answered that"


class FailsByItsOwnAnswer(Checker):
    """An attempt fails because time is over, or by an 'unavailable' that answers that very attempt."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._not_now: set[_Attempt] = set()
        # Of each step, as its records tell it: what is asked for, and which attempt is under way.
        self._phases: dict[tuple[SagaId, str], str] = {}
        self._attempts: dict[tuple[SagaId, str], int] = {}
        self._back: set[SagaId] = set()

    def answered(self, fact: Answered) -> None:
        r = fact.reply
        if isinstance(r.answer, Unavailable):
            self._not_now.add((r.saga_id, r.step, r.phase, r.attempt))

    def recorded(self, fact: Recorded) -> None:
        record = fact.record
        if isinstance(record, Decided) and record.direction is BACK:
            self._back.add(fact.saga_id)
        elif isinstance(record, StepRetried):
            self._failed(fact, record, record.attempt - 1)
            self._attempts[fact.saga_id, record.step] = record.attempt
        elif isinstance(record, StepResolving):
            step = (fact.saga_id, record.step)
            if record.cause_reason is None:
                self._failed(fact, record, self._attempts.get(step, 1))
            self._phases[step], self._attempts[step] = "resolve", 1

    def _failed(self, fact: Recorded, record: StepRetried | StepResolving, attempt: int) -> None:
        phase = "undo" if fact.saga_id in self._back else self._phases.get((fact.saga_id, record.step), "do")
        answered = (fact.saga_id, record.step, phase, attempt) in self._not_now
        assert answered or record.reason == _NO_ANSWER, (
            f"fails by its own answer: {fact}, and nobody has answered attempt {attempt} to {phase} it"
        )


def _needed(known: Known, message: object) -> Direction | None:
    """The decision that must be made before this message may leave."""
    if isinstance(message, Undo):
        return BACK
    if isinstance(message, Do) and known.plan.steps[message.step].kind is RETRIABLE:
        return FORWARD
    return None


ALL = (
    WriteAhead,
    NothingAfterTheEnd,
    NoTurningRound,
    JournalGrammar,
    ResultsAreTheServices,
    FailsByItsOwnAnswer,
)
