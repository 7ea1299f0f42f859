"""SagaActor: one instance, a thin shell around `protocol.machine`.

Decide, then record, then send: all that a turn decided is one append, and what depends on a
forced record leaves through the journal, once it is on disk. So does everything later, until the
journal, or an answer to what is asked only after a decision, says that the record is there. An
incarnation that replaces another reads its history back through the journal, after whatever its
predecessor had queued there, and puts what comes meanwhile aside.
"""

import heapq
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from amends.actors import told
from amends.actors.continuing import Plans, state_of
from amends.actors.journal.messages import Append, AppendRefused, History, ReadBack
from amends.actors.timers import After
from amends.actors.transport.port import Transport
from amends.protocol import codec
from amends.protocol.errors import AmendsError
from amends.protocol.events import CancelAsked, Decision, Event, Intervention, Recovered, Replied, Send, Wake
from amends.protocol.machine import decide, still_wanted
from amends.protocol.messages import Do, Message, Reply, Resolve, SagaId, Undo
from amends.protocol.records import (
    FORCED,
    Decided,
    Record,
    StepDone,
    StepRetried,
    StepStuck,
    StepUndone,
)
from amends.protocol.saga import RETRIABLE, Plan
from amends.protocol.state import Outcome, State, outcome
from amends.supervisor import telemetry
from amends.supervisor.actor import Actor
from amends.supervisor.mailbox import Address, Caller
from amends.supervisor.telemetry import Counters


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all instances of a system share.

    Attributes:
        plans: by name and version.
        expiry_s: how long after it is sent a command may still be begun, in seconds.
    """

    plans: Plans
    journal: Address
    coordinator: Address
    timers: Address
    transport: Transport
    counters: Counters
    expiry_s: float


class Alarm:
    """A wake may be due."""

    __slots__ = ()


class Durable:
    """The first `length` records of the instance are on disk."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


class Cancel:
    """Undo the instance if that is still possible; the future gets the CancelAnswer."""

    __slots__ = ("future",)

    def __init__(self, future: "Future[Any]") -> None:
        self.future = future


class Intervene:
    """A person acts on a stuck step; the future gets None, or why it was not taken."""

    __slots__ = ("event", "future")

    def __init__(self, event: Intervention, future: "Future[Any]") -> None:
        self.event = event
        self.future = future


class InstanceEnded:
    """Told to the coordinator once the end is on disk."""

    __slots__ = ("outcome", "saga_id")

    def __init__(self, saga_id: SagaId, outcome: Outcome) -> None:
        self.saga_id = saga_id
        self.outcome = outcome


class InstanceStuck:
    """Told to the coordinator when the steps a person should look at have changed."""

    __slots__ = ("reasons", "saga_id")

    def __init__(self, saga_id: SagaId, reasons: dict[str, str]) -> None:
        self.saga_id = saga_id
        self.reasons = reasons


class InstanceUnreadable:
    """Told to the coordinator: the history can't be trusted (`corrupt`), or this program can't continue it."""

    __slots__ = ("corrupt", "reason", "saga_id")

    def __init__(self, saga_id: SagaId, reason: str, *, corrupt: bool) -> None:
        self.saga_id = saga_id
        self.reason = reason
        self.corrupt = corrupt


_MESSAGES: dict[str, type[Undo] | type[Resolve]] = {"undo": Undo, "resolve": Resolve}


class SagaActor(Actor):
    """One incarnation of one instance.

    Args:
        token: of the grant under which it is run; it stands on commands and appends.
        opening: the first decision, whose records are on disk; None to read the history back.
    """

    registered = False
    turn_budget = 50

    def __init__(
        self, saga_id: SagaId, token: int, around: Surroundings, opening: tuple[Plan, Decision] | None
    ) -> None:
        super().__init__()
        self._saga_id = saga_id
        self._token = token
        self._around = around
        self._opening = opening
        self._plan: Plan
        self._state: State | None = None
        self._aside: list[object] = []
        self._over: AmendsError | None = None
        self._records: list[Record] = []
        # When each of them was decided: a result that waits for company keeps its own time.
        self._ats: list[float] = []
        self._sends: list[Send] = []
        self._wakes: list[tuple[float, int, Wake]] = []
        self._alarm_at: float | None = None
        self._wake_count = 0
        # The length of history that must be on disk before anything more may leave; 0 if it is.
        self._gate = 0
        # Whether the gate stands for a decision, so that an answer to what is asked only after one opens it.
        self._opens_with_answer = False
        # What callers are told once this turn's records are on disk.
        self._promises: list[tuple[Address, object]] = []
        self._is_stuck = False

    def on_start(self) -> None:
        if self._opening is None:
            self.tell(self._around.journal, ReadBack(self._saga_id, self.address))
            return
        self._plan, decision = self._opening
        self._opening = None
        self._take(decision)

    def on_receive(self, message: object) -> None:
        if self._state is None:
            self._on_message_before_history(message)
            return
        match message:
            case Reply():
                if self._opens_with_answer and self._follows_decision(message.step, message.phase):
                    self._on_durable(self._gate)
                self._decide(Replied(message))
            case Alarm():
                self._on_alarm()
            case Durable(length=length):
                self._on_durable(length)
            case Cancel(future=future):
                self._answer_after(future, self._decide(CancelAsked()))
            case Intervene(event=event, future=future):
                self._answer_after(future, self._decide(event))
            case AppendRefused(first=first, wanted=wanted):
                raise AmendsError(f"instance {self._saga_id}: record {first} was refused, the journal is at {wanted}")

    def settle(self) -> None:
        # Kept until here: if this turn fails, it has answered nobody.
        if self._state is not None or self._over is not None:
            self._aside.clear()
        if self._state is None:
            return
        deliveries = self._deliveries()
        records, ats = self._due_records(gated=bool(deliveries and self._gate))
        forced = FORCED.intersection(map(type, records))
        if forced:
            self._gate = self._state.length
            # The journal need not say that a decision is on disk: the answers to what follows it will.
            self._opens_with_answer = bool(deliveries) and forced == {Decided}
        if records or (self._gate and (deliveries or self._promises)):
            self._append(records, ats, deliveries, forced=bool(forced))
        elif self._promises:
            # What they waited for came to be on disk in this very turn.
            self._outbox += self._promises
            self._promises.clear()
        if not self._gate:
            for address, message in deliveries:
                self.tell(address, message)
        if records:
            self._tell_world(records)
        self._set_alarm()

    def _deliveries(self) -> list[tuple[Address, object]]:
        """What this turn has to say to services, and where to leave it."""
        assert self._state is not None
        deliveries: list[tuple[Address, object]] = []
        for send in self._sends:
            # One turn may time out of an attempt and get its answer: what was to be sent in between is sent to nobody.
            if still_wanted(self._state, send):
                deliveries += self._around.transport.to_service(self._message(send))
        self._sends.clear()
        return deliveries

    def _due_records(self, *, gated: bool) -> tuple[tuple[Record, ...], tuple[float, ...]]:
        """What is to be appended now, and when each of it was decided.

        A mere result waits for company: whether this actor or the journal loses it in a crash, the fence has it. But
        whoever looks after a stuck instance should see it.
        """
        awaited = gated or self._promises or self._is_stuck
        if not awaited and _WAITS.issuperset(map(type, self._records)):
            return (), ()
        due = tuple(self._records), tuple(self._ats)
        self._records, self._ats = [], []
        return due

    # Deciding.

    def _decide(self, event: Event) -> str | None:
        assert self._state is not None
        at = self.clock.now_at()
        decision = decide(self._plan, self._state, event, at, self.clock.chance())
        self._records += decision.records
        self._ats += [at] * len(decision.records)
        self._take(decision)
        return decision.answer

    def _take(self, decision: Decision) -> None:
        self._state = decision.state
        self._sends += decision.sends
        for wake in decision.wakes:
            self._wake_count += 1
            heapq.heappush(self._wakes, (wake.at, self._wake_count, wake))

    def let_go(self, *, hung: bool) -> None:
        # What was put aside is no letter any more, and the next incarnation has to read it all the same.
        aside, self._aside = self._aside, []
        for message in aside:
            self.address.tell(message)

    def _on_message_before_history(self, message: object) -> None:
        if not isinstance(message, History):
            self._aside.append(message)
            if self._over is not None:
                self._turn_all_away()
            return
        try:
            if message.problem:
                raise AmendsError(message.problem)
            self._plan, state = state_of(self._around.plans, message.records)
        except AmendsError as error:
            corrupt = bool(message.problem)
            self.tell(self._around.coordinator, InstanceUnreadable(self._saga_id, str(error), corrupt=corrupt))
            self._over = AmendsError(f"instance {self._saga_id} can't go on: {error}")
            self._turn_all_away()
            return
        self._state = state
        if state.ended is not None:
            self.tell(self._around.coordinator, InstanceEnded(self._saga_id, outcome(self._plan, state)))
        else:
            self._decide(Recovered())
        for put_aside in self._aside:
            self.on_receive(put_aside)

    def _turn_all_away(self) -> None:
        """It can't be read, so whoever asked something of it is told so."""
        for message in self._aside:
            if isinstance(message, Cancel | Intervene):
                self.answer(message.future, self._over)

    def _on_alarm(self) -> None:
        self._alarm_at = None
        now_at = self.clock.now_at()
        while self._wakes and self._wakes[0][0] <= now_at:
            self._decide(heapq.heappop(self._wakes)[2].event)

    def _set_alarm(self) -> None:
        if self._wakes and (self._alarm_at is None or self._wakes[0][0] < self._alarm_at):
            self._alarm_at = self._wakes[0][0]
            self.tell(self._around.timers, After(self._alarm_at, self.address, Alarm()))

    # Recording and sending.

    def _append(
        self,
        records: tuple[Record, ...],
        ats: tuple[float, ...],
        deliveries: list[tuple[Address, object]],
        *,
        forced: bool,
    ) -> None:
        assert self._state is not None
        then: list[tuple[Address, object]] = list(deliveries) if self._gate else []
        then += self._promises
        self._promises.clear()
        if self._state.ended is not None:
            then.append((self._around.coordinator, InstanceEnded(self._saga_id, outcome(self._plan, self._state))))
        elif forced and not self._opens_with_answer:
            then.append((self.address, Durable(self._state.length)))
        first = self._state.length - len(records)
        self.tell(
            self._around.journal,
            Append(
                self._saga_id,
                first,
                records,
                ats,
                token=self._token,
                forced=forced,
                then=tuple(then),
                sender=self.address,
            ),
        )

    def _message(self, send: Send) -> Message:
        token = self._token
        if send.phase != "do":
            kind = _MESSAGES[send.phase]
            return kind(service=send.to, saga_id=self._saga_id, step=send.step, attempt=send.attempt, token=token)
        return Do(
            service=send.to,
            saga_id=self._saga_id,
            step=send.step,
            attempt=send.attempt,
            token=token,
            command=type(send.command).__name__,
            payload=codec.encode(send.command),
            expires_at=self.clock.now_at() + self._around.expiry_s,
        )

    def _follows_decision(self, step: str, phase: str) -> bool:
        """Whether this is asked of a step only once a decision is on disk."""
        planned = self._plan.steps.get(step)
        return phase == "undo" or (planned is not None and planned.kind is RETRIABLE)

    def _on_durable(self, length: int) -> None:
        if length >= self._gate:
            self._gate = 0
            self._opens_with_answer = False

    def _answer_after(self, future: "Future[Any]", answer: str | None) -> None:
        """Answer a person now, or once what the answer promises is on disk: what follows now, or what went before."""
        if self._records or self._gate:
            self._promises.append((Caller(future), answer))
        else:
            self.answer(future, answer)

    # Telling the world.

    def _tell_world(self, records: tuple[Record, ...]) -> None:
        assert self._state is not None
        seen = telemetry.wants_info()
        for record in records:
            if isinstance(record, StepRetried):
                self._around.counters.retries += 1
            elif isinstance(record, StepUndone):
                self._around.counters.undone += 1
            if seen or isinstance(record, StepStuck):
                told.log(record, self._plan.name, self._saga_id, self._state.key)
        if self._state.stuck or self._is_stuck:
            self._is_stuck = bool(self._state.stuck)
            reasons = {name: self._state.steps[name].reason or "" for name in self._state.stuck}
            self.tell(self._around.coordinator, InstanceStuck(self._saga_id, reasons))


_WAITS = frozenset({StepDone, StepUndone})
