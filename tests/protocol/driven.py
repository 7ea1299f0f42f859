"""An instance whose events a test brings about one by one, and the small plans to do it with."""

from collections.abc import Sequence

import msgspec

from amends.protocol.events import Decision, Event, Recovered, Replied, RetryDue, Send, TimedOut
from amends.protocol.machine import begin, decide
from amends.protocol.messages import Answer, Done, Reply, SagaId
from amends.protocol.records import Record, Started
from amends.protocol.retry import Retry
from amends.protocol.saga import Results, Saga, pivot, retriable, step
from amends.protocol.state import State, replay

START = 1000.0
TIMEOUT_S = 5.0
TWICE = Retry(attempts=2, base_s=1.0, cap_s=8.0, slow_s=60.0)
ONCE = Retry(attempts=1, base_s=1.0, cap_s=8.0, slow_s=60.0)


class Act(msgspec.Struct, frozen=True):
    """The command of every step here."""

    step: str


class Chain(Saga, name="chain"):
    """Three steps in a row, then two that only come after the decision."""

    input: int

    @step(to="north", retry=TWICE)
    def a(self, value: int, done: Results) -> Act:
        return Act("a")

    @step(to="north", after=[a], retry=TWICE)
    def b(self, value: int, done: Results) -> Act:
        return Act("b")

    @step(to="south", after=[b], retry=TWICE)
    def c(self, value: int, done: Results) -> Act:
        return Act("c")

    @retriable(to="north", retry=TWICE)
    def r(self, value: int, done: Results) -> Act:
        return Act("r")

    @retriable(to="south", after=[r], retry=TWICE)
    def s(self, value: int, done: Results) -> Act:
        return Act("s")


class Diamond(Saga, name="diamond"):
    """Two steps side by side between a first and a last one."""

    input: int

    @step(to="north", retry=ONCE)
    def top(self, value: int, done: Results) -> Act:
        return Act("top")

    @step(to="north", after=[top], retry=ONCE)
    def left(self, value: int, done: Results) -> Act:
        return Act("left")

    @step(to="south", after=[top], retry=ONCE)
    def right(self, value: int, done: Results) -> Act:
        return Act("right")

    @step(to="south", after=[left, right], retry=ONCE)
    def bottom(self, value: int, done: Results) -> Act:
        return Act("bottom")


class Pivoted(Saga, name="pivoted", deadline_s=100.0, undo_reserve_s=20.0):
    """Two steps in a row, the point of no return, and one after it; it must be decided at START + 80."""

    input: int

    @step(to="north", retry=TWICE)
    def a(self, value: int, done: Results) -> Act:
        return Act("a")

    @step(to="north", after=[a], retry=TWICE)
    def b(self, value: int, done: Results) -> Act:
        return Act("b")

    @pivot(to="south", retry=TWICE)
    def p(self, value: int, done: Results) -> Act:
        return Act("p")

    @retriable(to="north", after=[p], retry=TWICE)
    def r(self, value: int, done: Results) -> Act:
        return Act("r")


DEADLINE = START + 80.0


def started(saga: type[Saga], value: bytes = b"7") -> Started:
    """The first record of an instance of `saga`."""
    return Started(SagaId("i-1"), saga.plan.name, saga.plan.version, "key-1", msgspec.Raw(value), START)


def spoken(sends: Sequence[Send]) -> list[str]:
    """The messages in words: phase, step, and the attempt unless it is the first."""
    return [f"{s.phase} {s.step}" + (f" again ({s.attempt})" if s.attempt > 1 else "") for s in sends]


class Driven:
    """One instance and its history.

    Attributes:
        last: the decision that the latest event led to.
        history: every record so far.
    """

    def __init__(self, saga: type[Saga]) -> None:
        self.plan = saga.plan
        self.at = START
        self.history: list[Record] = []
        self.state: State
        self._attempts: dict[str, tuple[str, int]] = {}
        self._take(begin(self.plan, started(saga)))

    @property
    def sent(self) -> list[str]:
        """What the latest event made leave, in words."""
        return spoken(self.last.sends)

    def happens(self, event: Event, chance: float = 0.5) -> Decision:
        return self._take(decide(self.plan, self.state, event, self.at, chance))

    def answers(self, step: str, answer: Answer, phase: str | None = None, attempt: int | None = None) -> Decision:
        """The service of `step` answers: to the latest message, unless told to which."""
        latest_phase, latest_attempt = self._attempts.get(step, ("do", 1))
        return self.happens(
            Replied(Reply(self.state.saga_id, step, phase or latest_phase, attempt or latest_attempt, answer))
        )

    def done(self, *steps: str) -> Decision:
        """One after the other, these steps are done."""
        for name in steps:
            self.answers(name, Done(msgspec.Raw(b"1")))
        return self.last

    def times_out(self, step: str) -> Decision:
        """The latest message for `step` stays without an answer."""
        return self.happens(TimedOut(step, *self._attempts[step]))

    def gives_up(self, step: str) -> Decision:
        """Attempt after attempt for `step` fails, until something else is done about it."""
        for _ in range(10):
            self.at += TIMEOUT_S
            self.times_out(step)
            retries = [wake for wake in self.last.wakes if isinstance(wake.event, RetryDue) and wake.event.step == step]
            if not retries or step in self.state.stuck:
                return self.last
            self.at = max(self.at, retries[0].at)
            self.happens(retries[0].event)
        raise AssertionError(f"{step} is tried for ever: {self.history}")

    def crashes(self, keeping: int | None = None) -> Decision:
        """The process dies and reads back all of the history, or its first records only."""
        if keeping is not None:
            del self.history[keeping:]
        self.state = replay(self.plan, self.history)
        return self.happens(Recovered())

    def _take(self, decision: Decision) -> Decision:
        self.last = decision
        self.state = decision.state
        self.history += decision.records
        self._attempts.update({send.step: (send.phase, send.attempt) for send in decision.sends})
        return decision
