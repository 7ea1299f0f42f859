"""Checkers of what really happened at the services: all or nothing, once, in order."""

from amends.protocol.messages import CANCELLED, Do, Done, Never, Refused, SagaId, Undone
from amends.protocol.records import Intervened, StepStuck
from amends.protocol.saga import COMPENSATABLE, RETRIABLE
from amends.testing.checkers.base import Checker
from amends.testing.facts import Answered, Died, Effect, Fell, Recorded, Sent
from amends.testing.world import World

Step = tuple[SagaId, str]


class _Effects(Checker):
    """Keeps what has happened, and which steps a person said are not needed or were done by other means."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.did: dict[Step, list[str]] = {}
        self.waived: set[Step] = set()

    def effect(self, fact: Effect) -> None:
        self.check(fact)
        self.did.setdefault((fact.saga_id, fact.step), []).append(fact.kind)

    def check(self, fact: Effect) -> None:
        """One more effect; `did` has those before it."""

    def recorded(self, fact: Recorded) -> None:
        if isinstance(fact.record, Intervened) and fact.record.action != "retry":
            self.waived.add((fact.saga_id, fact.record.step))

    def kinds(self, saga_id: SagaId, step: str) -> list[str]:
        """What has happened of a step, in order."""
        return self.did.get((saga_id, step), [])


class NoEffectWithoutASaga(Checker):
    """Nothing is done for an instance that is not on disk."""

    def effect(self, fact: Effect) -> None:
        assert fact.saga_id in self.world.instances, f"no effect without a saga: {fact}, and no Started on disk"


class NoEffectTwice(_Effects):
    """A step is done at most once, and undone at most once."""

    def check(self, fact: Effect) -> None:
        assert fact.kind not in self.kinds(fact.saga_id, fact.step), f"no effect twice: again {fact}"


class NoEffectAfterItsUndo(_Effects):
    """What was undone stays undone, and what was not done is not undone."""

    def check(self, fact: Effect) -> None:
        kinds = self.kinds(fact.saga_id, fact.step)
        if fact.kind == "do":
            assert "undo" not in kinds, f"no effect after its undo: {fact}"
        else:
            assert "do" in kinds, f"no undo without an effect: {fact}"


class DoneAfterItsNeeds(_Effects):
    """A step is done after those it needs, and a retriable one after everything that can be undone."""

    def check(self, fact: Effect) -> None:
        known = self.world.instances.get(fact.saga_id)
        if known is None or fact.kind != "do":
            return
        planned = known.plan.steps[fact.step]
        before = set(planned.needs) | (set(known.plan.before_decision) if planned.kind is RETRIABLE else set())
        missing = [
            n for n in sorted(before) if not self.kinds(fact.saga_id, n) and (fact.saga_id, n) not in self.waived
        ]
        assert not missing, f"done after its needs: {fact}, before {missing}"


class UndoneInReverse(_Effects):
    """A step is undone after those that depend on it; only one that keeps failing keeps nobody waiting.

    That it has failed too often is written down a moment later, unless somebody fails in between: so it is judged at
    rest, and only where nobody did.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._early: dict[Step, str] = {}
        self._stuck: set[Step] = set()
        self._somebody_failed = False

    def check(self, fact: Effect) -> None:
        known = self.world.instances.get(fact.saga_id)
        if known is None or fact.kind != "undo":
            return
        for name in known.plan.steps[fact.step].dependents:
            step = (fact.saga_id, name)
            if self.kinds(*step) == ["do"] and step not in self.waived:
                self._early[step] = f"undone in reverse: {fact}, before {name!r}"

    def recorded(self, fact: Recorded) -> None:
        super().recorded(fact)
        if isinstance(fact.record, StepStuck):
            self._stuck.add((fact.saga_id, fact.record.step))

    def fell(self, fact: Fell) -> None:
        self._somebody_failed = True

    def died(self, fact: Died) -> None:
        self._somebody_failed = True

    def at_rest(self) -> None:
        early = [found for step, found in self._early.items() if step not in self._stuck]
        assert self._somebody_failed or not early, early[0]


class AllOrNothing(_Effects):
    """Completed: every step was done and none undone. Compensated: nothing is left of what was done."""

    def at_rest(self) -> None:
        for saga_id, known in self.world.instances.items():
            ended = None if known.state is None else known.state.ended
            if ended is None:
                continue
            for name, planned in known.plan.steps.items():
                kinds = self.kinds(saga_id, name)
                if (saga_id, name) in self.waived:
                    continue
                found = f"{known.who}, step {name!r}: {kinds or 'nothing'}"
                if ended.completed:
                    assert kinds == ["do"], f"all or nothing: completed, but {found}"
                elif planned.kind is COMPENSATABLE:
                    assert kinds in ([], ["do", "undo"]), f"all or nothing: compensated, but {found}"
                else:
                    assert not kinds, f"all or nothing: compensated, but {found}"


class AnswersAreTrue(_Effects):
    """What a service answers is so, and for good, when the answer leaves."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._never: set[Step] = set()

    def check(self, fact: Effect) -> None:
        step = (fact.saga_id, fact.step)
        assert fact.kind == "undo" or step not in self._never, f"answers are true: {fact}, after it said it never will"

    def answered(self, fact: Answered) -> None:
        reply = fact.reply
        kinds = self.kinds(reply.saga_id, reply.step)
        match reply.answer:
            case Done():
                assert "do" in kinds, f"answers are true: {fact}, and nothing is committed"
            case Undone():
                assert kinds in ([], ["do", "undo"]), f"answers are true: {fact}, and committed is {kinds}"
                self._never.add((reply.saga_id, reply.step))
            case Never():
                assert not kinds or "undo" in kinds, f"answers are true: {fact}, and committed is {kinds}"
                self._never.add((reply.saga_id, reply.step))
            case Refused(reason) if reason != CANCELLED:
                assert not kinds, f"answers are true: {fact}, and committed is {kinds}"
                self._never.add((reply.saga_id, reply.step))


class SameCommand(Checker):
    """A step that is sent again, also after a crash, is sent with the command it had."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._payloads: dict[Step, bytes] = {}

    def sent(self, fact: Sent) -> None:
        message = fact.message
        if isinstance(message, Do):
            first = self._payloads.setdefault((message.saga_id, message.step), message.payload)
            assert first == message.payload, (
                f"same command: step {message.step!r} of {fact.who} is sent again with another payload; its method "
                "must build it from the input and earlier results and from nothing else"
            )


class NoOlderToken(Checker):
    """What an earlier process sent is not obeyed once a later one has been heard."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._newest: dict[tuple[str, SagaId], int] = {}

    def effect(self, fact: Effect) -> None:
        if not fact.token:
            return  # a call outside, asked for by whoever waits
        place = (fact.service, fact.saga_id)
        newest = self._newest.get(place, 0)
        assert fact.token >= newest, f"no older token: {fact} with token {fact.token}, {newest} was obeyed before"
        self._newest[place] = fact.token


ALL = (
    NoEffectWithoutASaga,
    NoEffectTwice,
    NoEffectAfterItsUndo,
    DoneAfterItsNeeds,
    UndoneInReverse,
    AllOrNothing,
    AnswersAreTrue,
    SameCommand,
    NoOlderToken,
)
