"""A small model world around the machine: one instance, its journal, the network, the timers, and people.

It does with a decision exactly what the design promises: append the records, make everything
appended so far durable if one of them is forced, and only then let the messages go. Everything
that may go wrong is a method that a test calls: messages are lost, doubled and delivered in any
order, services are down, timers fire in any order, and a crash forgets the state and every record
that was not yet durable. Nothing here is random; the test chooses.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from amends.protocol import codec
from amends.protocol.events import (
    CancelAnswer,
    CancelAsked,
    Decision,
    Event,
    Intervention,
    Recovered,
    Replied,
    RetryNow,
    Send,
    Skip,
    SupplyResult,
    Wake,
)
from amends.protocol.machine import begin, decide
from amends.protocol.messages import Answer, Done, Refused, Reply, SagaId, Unavailable, Undone
from amends.protocol.records import Decided, Direction, Ended, Intervened, Record, Started, StepStuck
from amends.protocol.saga import Kind
from amends.protocol.state import State, Status, replay
from tests.stateful.plans import PlanSpec, build
from tests.stateful.services import Fence

STARTED = Started(SagaId("i-1"), "drawn", 1, "key-1", msgspec.Raw(b"7"), 1000.0)
STEPS_UNTIL_QUIET = 3000


class CrashPoint(StrEnum):
    """When the process dies."""

    NOW = "between two decisions"
    UNWRITTEN = "after the next decision, before its records are on disk"
    UNSENT = "after its records are on disk, before its messages leave"


@dataclass(frozen=True)
class Departure:
    """A message that left, and what was safe on disk at that moment."""

    send: Send
    started: bool
    decided: Direction | None
    ended: bool


class World:
    """One instance and everything around it.

    Attributes:
        records: the history as its writer knows it; the first `durable` of them survive any crash.
        written: the state after each decision, with the number of records it stood on.
        in_flight: messages on their way, to a service (Send) or back (Reply).
        told: what callers and people were told, in order, which must stay true.
        directions: each decision that ever was durable.
        waived: steps a person said are not needed, or need not be undone.
    """

    def __init__(self, spec: PlanSpec, doomed: tuple[CrashPoint, int] | None = None) -> None:
        self.spec = spec
        self.broken = {step.name for step in spec.steps if step.raises}
        self.plan = build(spec, self.broken)
        self.fence = Fence(frozenset(step.name for step in spec.steps if step.refuses))
        self.at = STARTED.at
        self.records: list[Record] = []
        self.durable = 0
        self.written: list[tuple[int, State]] = []
        self.in_flight: list[Send | Reply] = []
        self.wakes: list[Wake] = []
        self.departures: list[Departure] = []
        self.down: set[str] = set()
        self.told: list[CancelAnswer | Ended | Intervened] = []
        self.directions: set[Direction] = set()
        self.ever_stuck: set[str] = set()
        self.waived: set[str] = set()
        self._doomed = doomed
        self._start()

    @property
    def state(self) -> State:
        return self.written[-1][1]

    @property
    def ended(self) -> Ended | None:
        return self.state.ended

    # The network

    def deliver(self, pick: int = 0, answers: bool = True) -> None:
        """One message arrives. Without `answers` a service does as it is told, but its answer is "unavailable"."""
        message = self.in_flight.pop(pick % len(self.in_flight))
        if isinstance(message, Reply):
            self._happens(Replied(message))
            return
        answer: Answer = Unavailable("it is down")
        if message.to not in self.down:
            answer = self.fence.handle(message)
            if not answers:
                answer = Unavailable("nobody knows")
        self.in_flight.append(Reply(STARTED.saga_id, message.step, message.phase, message.attempt, answer))

    def lose(self, pick: int) -> None:
        del self.in_flight[pick % len(self.in_flight)]

    def double(self, pick: int) -> None:
        self.in_flight.append(self.in_flight[pick % len(self.in_flight)])

    def toggle(self, service: str) -> None:
        """A service goes down, or comes back."""
        self.down ^= {service}

    # Time

    def fire(self, pick: int) -> None:
        """One timer fires; the others are late if they were due before."""
        wake = self.wakes.pop(pick % len(self.wakes))
        self.at = max(self.at, wake.at)
        self._happens(wake.event)

    # The process

    def crash(self, point: CrashPoint, lost: int) -> None:
        """The process dies at `point` and with it up to `lost` of the records that were not yet durable."""
        if point is CrashPoint.NOW:
            self._die(lost)
        else:
            self._doomed = (point, lost)

    # People

    def cancel(self) -> None:
        self._happens(CancelAsked())

    def retry_now(self, step: str) -> None:
        self._happens(RetryNow(step, "ann", "it should work again"))

    def supply(self, step: str) -> None:
        """A person does the step by other means, unless it is done, or can't be any more, or must not be yet."""
        if isinstance(self.fence.rows.get(step), Undone) or self.state.steps[step].status is Status.UNDOING:
            return
        if not all(isinstance(self.fence.rows.get(need), Done) for need in self.plan.steps[step].needs):
            return
        result = self.fence.do_by_hand(step)
        self._happens(SupplyResult(step, "ann", "done by phone", result))

    def skip(self, step: str) -> None:
        """A person says a step or its undo is not needed; a pivot in doubt only after seeing to it that it never is."""
        if self.plan.steps[step].kind is Kind.PIVOT:
            if isinstance(self.fence.rows.get(step), Done):
                return
            self.fence.rows[step] = Undone()
        decision = self._happens(Skip(step, "ann", "not needed"))
        if decision.answer is None:
            self.waived.add(step)

    # The end of all faults

    def settle(self) -> None:
        """Nothing goes wrong from here on, messages beat timers and people help: run until nothing moves."""
        self.down.clear()
        self.broken.clear()
        self._doomed = None
        for _ in range(STEPS_UNTIL_QUIET):
            forward = self.state.direction is Direction.FORWARD
            refused = [n for n in self.state.stuck if forward and isinstance(self.fence.rows.get(n), Refused)]
            if self.in_flight:
                self.deliver()
            elif refused:
                self.supply(refused[0])
            elif self.wakes:
                self.fire(min(range(len(self.wakes)), key=lambda n: self.wakes[n].at))
            else:
                return
        raise AssertionError(f"still moving after {STEPS_UNTIL_QUIET} steps: {self.state}")

    # Inside

    def _start(self) -> None:
        self._perform(begin(self.plan, STARTED))

    def _happens(self, event: Event) -> Decision:
        self.at += 0.001
        decision = decide(self.plan, self.state, event, self.at, self.spec.chance)
        self._perform(decision, event)
        return decision

    def _perform(self, decision: Decision, event: Event | None = None) -> None:
        """Record, then send, then tell and wait; a doomed process dies on the way."""
        doomed, self._doomed = self._doomed, None
        self.records += decision.records
        self.written.append((len(self.records), decision.state))
        self.ever_stuck.update(record.step for record in decision.records if isinstance(record, StepStuck))
        if doomed is not None and doomed[0] is CrashPoint.UNWRITTEN:
            self._die(doomed[1])
            return
        if decision.forced:
            self._on_disk(len(self.records))
        if doomed is not None:
            self._die(doomed[1])
            return
        safe = self.records[: self.durable]
        decided = next((record.direction for record in safe if isinstance(record, Decided)), None)
        ended = any(isinstance(record, Ended) for record in safe)
        self.departures += [Departure(send, bool(safe), decided, ended) for send in decision.sends]
        self.in_flight += decision.sends
        self.wakes += decision.wakes
        self._tell(decision, event)

    def _tell(self, decision: Decision, event: Event | None) -> None:
        self.told += [record for record in decision.records if isinstance(record, Ended)]
        if isinstance(event, CancelAsked):
            self.told.append(CancelAnswer(decision.answer or ""))
        if isinstance(event, Intervention) and decision.answer is None:
            self.told += [record for record in decision.records if isinstance(record, Intervened)]

    def _on_disk(self, length: int) -> None:
        """These records are found again after any crash."""
        self.durable = length
        self.directions.update(record.direction for record in self.records if isinstance(record, Decided))

    def _die(self, lost: int) -> None:
        """Forget the state and the timers, and read back what is left of the history, through its bytes."""
        kept = max(self.durable, len(self.records) - lost)
        bodies = [codec.encode(record) for record in self.records[:kept]]
        self.records = [codec.decode_record(STARTED.saga_id, seq, codec.SCHEMA, b) for seq, b in enumerate(bodies)]
        self._on_disk(kept)
        self.wakes = []
        self.written = [(length, state) for length, state in self.written if length <= kept]
        if not self.records:
            self._start()
            return
        self.written.append((kept, replay(self.plan, self.records)))
        self._happens(Recovered())
