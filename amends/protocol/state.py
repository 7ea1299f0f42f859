"""What is known of an instance: nothing but the fold of its records.

`replay` of any prefix of a history gives the state that wrote it. Whatever is not in a record
(which messages are on their way) is derived here: a step whose needs are met counts as sent.
What to do about an event is `machine`'s business.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from amends.protocol import codec
from amends.protocol.errors import AmendsError
from amends.protocol.messages import SagaId
from amends.protocol.records import (
    BACK,
    FORWARD,
    Decided,
    Direction,
    Ended,
    Intervened,
    Record,
    Resumed,
    Started,
    StepDone,
    StepNever,
    StepRefused,
    StepResolving,
    StepRetried,
    StepStuck,
    StepUndone,
)
from amends.protocol.saga import RETRIABLE, Plan, Results


class Status(IntEnum):
    """Where a step is. SENT, RESOLVING and UNDOING are under way; all others are at rest."""

    WAITING = 0
    SENT = 1
    RESOLVING = 2
    DONE = 3
    REFUSED = 4
    NEVER = 5
    UNDOING = 6
    UNDONE = 7
    SKIPPED = 8


WAITING, SENT, RESOLVING, DONE, REFUSED, NEVER, UNDOING, UNDONE, SKIPPED = Status

PHASE = {SENT: "do", RESOLVING: "resolve", UNDOING: "undo"}
_NOTHING_LEFT = (REFUSED, NEVER, UNDONE, SKIPPED)


class Progress(msgspec.Struct, frozen=True, gc=False):
    """One step of one instance.

    Attributes:
        attempt: of the phase under way, from 1.
        due_at: the attempt may not leave before (unix seconds); None is at once.
        reason: why it was refused, is being resolved, or is stuck.
    """

    status: Status = WAITING
    attempt: int = 1
    due_at: float | None = None
    result: msgspec.Raw | None = None
    reason: str | None = None
    stuck: bool = False


_NOT_SENT = Progress()
_BEGUN = {SENT: Progress(SENT), UNDOING: Progress(UNDOING)}
_replace = msgspec.structs.replace


class State(msgspec.Struct, frozen=True):
    """One instance, as its records tell it.

    Attributes:
        input: the saga's input, decoded.
        length: how many records made it; the next one's number.
        cause: (step or None, reason) of going back, from the moment that is certain or depends only on the pivot.
        recovered: a crash lies behind it, so WAITING no longer means "never sent".
    """

    saga_id: SagaId
    key: str
    input: object
    started_at: float
    steps: dict[str, Progress]
    length: int = 1
    direction: Direction | None = None
    cause: tuple[str | None, str] | None = None
    recovered: bool = False
    ended: Ended | None = None

    @property
    def stuck(self) -> tuple[str, ...]:
        """The steps a person should look at."""
        return tuple(name for name, progress in self.steps.items() if progress.stuck)


@dataclass(frozen=True, slots=True)
class Completed:
    """Everything happened; `results` are those of all steps."""

    results: Results = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Compensated:
    """Everything that had happened is undone; `step` (None for a deadline or a cancel) and `reason` say why."""

    step: str | None
    reason: str


Outcome = Completed | Compensated


def replay(plan: Plan, records: Iterable[Record]) -> State:
    """The state that `records`, oldest first, describe."""
    history = iter(records)
    started = next(history, None)
    if not isinstance(started, Started):
        raise AmendsError(f"a history of saga {plan.name!r} begins with {started!r}, wanted Started")
    state = start_ready(plan, first_state(plan, started))
    for record in history:
        state = apply(plan, state, record)
    return state


def apply(plan: Plan, state: State, record: Record) -> State:
    """The state after one more record, with what that makes ready."""
    if type(record) is StepDone and state.direction is not BACK and state.ended is None:
        return _after_result(plan, state, record)
    return start_ready(plan, _replace(_change(state, record), length=state.length + 1))


def _after_result(plan: Plan, state: State, done: StepDone) -> State:
    """`apply` for most records there are, with one new state instead of three."""
    steps = state.steps.copy()
    steps[done.step] = Progress(DONE, result=done.result)
    # A result makes ready only what needs it, unless a recovered instance went forward without it.
    whole = state.recovered and state.direction is not None
    for name in _ready_to_do(plan, state, steps, plan.steps if whole else plan.steps[done.step].followers):
        steps[name] = _BEGUN[SENT]
    return _replace(state, steps=steps, length=state.length + 1)


def outcome(plan: Plan, state: State) -> Outcome:
    """How an ended instance ended."""
    ended = state.ended
    if ended is None:
        raise AmendsError(f"instance {state.saga_id}: is still open and has no outcome")
    if not ended.completed:
        return Compensated(ended.step, ended.reason or "")
    return Completed(_results(plan, state))


def decided(plan: Plan, state: State) -> Outcome | None:
    """How an instance ends or has ended, with the results so far; None while that is not decided."""
    if state.direction is None:
        return None
    if state.direction is FORWARD:
        return Completed(_results(plan, state))
    step, reason = state.cause or (None, "")
    return Compensated(step, reason)


def _results(plan: Plan, state: State) -> Results:
    raw = {name: p.result for name, p in state.steps.items() if p.result is not None}
    return Results(f"saga {plan.name!r}", raw)


def first_state(plan: Plan, started: Started) -> State:
    """The state before anything is under way."""
    value: object = codec.decode(plan.input, started.input, f"saga {plan.name!r}")
    return State(started.saga_id, started.key, value, started.at, dict.fromkeys(plan.steps, _NOT_SENT))


def _change(state: State, record: Record) -> State:
    match record:
        case StepDone(step, result):
            return _with(state, step, Progress(DONE, result=result))
        case StepRefused(step, reason):
            return _with(state, step, Progress(REFUSED, reason=reason))
        case StepNever(step):
            return _with(state, step, Progress(NEVER, reason=state.steps[step].reason))
        case StepUndone(step):
            return _with(state, step, Progress(UNDONE))
        case StepResolving(step, reason, cause_step, cause_reason):
            changed = _with(state, step, Progress(RESOLVING, reason=reason))
            return changed if cause_reason is None else _replace(changed, cause=(cause_step, cause_reason))
        case StepRetried(step, attempt, due_at, reason):
            current = state.steps[step]
            return _with(state, step, _replace(current, attempt=attempt, due_at=due_at, reason=reason))
        case StepStuck(step, attempt, due_at, reason):
            current = state.steps[step]
            return _with(state, step, _replace(current, attempt=attempt, due_at=due_at, reason=reason, stuck=True))
        case Decided(direction, step, reason):
            return _replace(state, direction=direction, cause=None if direction is FORWARD else (step, reason or ""))
        case Resumed():
            # What came before a decision is on disk with it, and after it nothing new is sent that may be undone.
            return state if state.direction is not None else _replace(state, recovered=True)
        case Intervened(step, action, _, reason, result):
            return _with(state, step, _intervened(state.steps[step], action, reason, result))
        case Ended():
            return _replace(state, ended=record)
    raise AmendsError(f"instance {state.saga_id}: a second Started in its history")


def _intervened(current: Progress, action: str, reason: str, result: msgspec.Raw) -> Progress:
    if action == "supply":
        return Progress(DONE, result=result)
    if action == "skip":
        # Skipping the question what became of a pivot answers it: it did not happen.
        return Progress(NEVER if current.status is RESOLVING else SKIPPED, reason=reason)
    return _replace(current, attempt=current.attempt + 1, due_at=None)


def _with(state: State, step: str, progress: Progress) -> State:
    return _replace(state, steps={**state.steps, step: progress})


def start_ready(plan: Plan, state: State) -> State:
    """Start whatever is ready. A consequence of the records, so never recorded itself."""
    if state.ended is not None:
        return state
    if state.direction is BACK:
        ready, status = _ready_to_undo(plan, state), UNDOING
    else:
        ready, status = _ready_to_do(plan, state, state.steps, plan.steps), SENT
    if not ready:
        return state
    return _replace(state, steps={**state.steps, **dict.fromkeys(ready, _BEGUN[status])})


def _ready_to_do(plan: Plan, state: State, steps: dict[str, Progress], among: Iterable[str]) -> list[str]:
    """Which of `among` to send, the others being where `steps` has them."""
    ready: list[str] = []
    if state.direction is None and state.cause is not None:
        return ready  # only the pivot's answer is awaited; nothing new begins
    forward = state.direction is FORWARD
    for name in among:
        if steps[name].status is WAITING:
            planned = plan.steps[name]
            # What is retried until it succeeds begins once nothing can turn the instance round any more.
            early = planned.kind is RETRIABLE and not (forward and all_done(steps, plan.before_decision))
            if not early and all_done(steps, planned.needs):
                ready.append(name)
    return ready


def all_done(steps: dict[str, Progress], names: Iterable[str]) -> bool:
    """Whether all of these steps are done, or skipped by a person."""
    for name in names:
        status = steps[name].status
        if status is not DONE and status is not SKIPPED:
            return False
    return True


def _ready_to_undo(plan: Plan, state: State) -> list[str]:
    """Steps to undo whose dependents are undone, or stuck: a failing undo keeps no other from running."""

    def out_of_the_way(name: str) -> bool:
        progress = state.steps[name]
        return progress.stuck or not to_undo(state, progress)

    return [
        name
        for name in plan.compensatable
        if to_undo(state, state.steps[name])
        and state.steps[name].status is not UNDOING
        and all(out_of_the_way(dependent) for dependent in plan.steps[name].dependents)
    ]


def to_undo(state: State, progress: Progress) -> bool:
    """Whether a step has or may have an effect. After a crash even one that waits may have been sent."""
    if progress.status is WAITING:
        return state.recovered
    return progress.status not in _NOTHING_LEFT
