"""The whole life of a saga instance as pure functions of values.

`decide` takes a state and something that happened and says what to record, what to send and
when to look again. What a record makes of a state is `state`'s business; who records, sends and
waits is `actors.saga`'s.

The flow: compensatable steps are sent as soon as those they need are done. Once all are done
(and the pivot, where there is one) the instance is decided forward; a refusal, an outcome
nobody can find out, the deadline or a cancel decides it back. Forward, the retriable steps are
sent until they succeed. Back, each step that was or may have been sent is undone, after those
that depend on it.
"""

from amends.protocol import codec
from amends.protocol.errors import InputError
from amends.protocol.events import (
    CancelAnswer,
    CancelAsked,
    DeadlinePassed,
    Decision,
    Event,
    Intervention,
    Recovered,
    Replied,
    RetryDue,
    RetryNow,
    Send,
    Skip,
    SupplyResult,
    TimedOut,
    Wake,
)
from amends.protocol.messages import Done, Never, Refused, Reply, Unavailable, Undone
from amends.protocol.records import (
    BACK,
    FORWARD,
    Decided,
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
from amends.protocol.retry import backoff_s
from amends.protocol.saga import PIVOT, Plan, PlannedStep, Results
from amends.protocol.state import (
    DONE,
    NEVER,
    PHASE,
    REFUSED,
    RESOLVING,
    SENT,
    UNDOING,
    WAITING,
    Progress,
    State,
    all_done,
    apply,
    first_state,
    start_ready,
    to_undo,
)

DEADLINE = "deadline"
CANCELLED_BY_CALLER = "cancelled by the caller"


def begin(plan: Plan, started: Started) -> Decision:
    """The first decision of an instance."""
    first = first_state(plan, started)
    draft = _Draft(plan, start_ready(plan, first), started.at)
    draft.records.append(started)
    _follow(draft)
    return _decision(draft, first.steps, opening=True)


def decide(plan: Plan, state: State, event: Event, at: float, chance: float) -> Decision:
    """What follows from `event` at `at` (unix seconds); `chance` is uniform in [0, 1) and only spreads retries."""
    if state.ended is not None:
        return Decision(state, answer=_answer_after_end(event))
    draft = _Draft(plan, state, at, chance)
    answer: str | None = None
    match event:
        case Replied(reply):
            _on_reply(draft, reply)
        case TimedOut(step, phase, attempt):
            if draft.awaits(step, phase, attempt):
                _failed_attempt(draft, step, "no answer in time")
        case RetryDue(step, phase, attempt):
            if draft.awaits(step, phase, attempt):
                draft.resend.add(step)
        case DeadlinePassed():
            if state.direction is None:
                _turn_back(draft, None, DEADLINE)
        case CancelAsked():
            answer = _on_cancel(draft)
        case Recovered():
            draft.add(Resumed())
            _follow(draft)
            # Nothing is known to be on its way: everything under way counts as new.
            return _decision(draft, {}, opening=True)
        case _:
            answer = _on_intervention(draft, event)
    _follow(draft)
    return _decision(draft, state.steps, answer)


def still_wanted(state: State, send: Send) -> bool:
    """Whether a message that was to leave is still asked for, now that more has happened."""
    progress = state.steps[send.step]
    return state.ended is None and _phase(state, progress) == send.phase and progress.attempt == send.attempt


class _Draft:
    """A decision in the making: records added so far, and the state after them."""

    def __init__(self, plan: Plan, state: State, at: float, chance: float = 0.0) -> None:
        self.plan = plan
        self.state = state
        self.at = at
        self.chance = chance
        self.records: list[Record] = []
        self.resend: set[str] = set()
        self.unbuildable: set[str] = set()

    def add(self, record: Record) -> None:
        self.records.append(record)
        self.state = apply(self.plan, self.state, record)

    def awaits(self, step: str, phase: str, attempt: int) -> bool:
        progress = self.state.steps[step]
        return _phase(self.state, progress) == phase and progress.attempt == attempt


def _phase(state: State, progress: Progress) -> str | None:
    """What is being asked for a step. Once the instance goes back, nothing but its undo."""
    if state.direction is BACK and progress.status is not UNDOING:
        return None
    return PHASE.get(progress.status)


def _on_reply(draft: _Draft, reply: Reply) -> None:
    """Facts (done, refused, never, undone) count whenever they come; "not now" only for the attempt under way."""
    if reply.step not in draft.plan.steps:
        return
    status = draft.state.steps[reply.step].status
    asked = status in (SENT, RESOLVING)
    match reply.answer:
        case Done(result) if asked and reply.phase != "undo":
            draft.add(StepDone(reply.step, result))
        case Refused(reason) if asked and reply.phase != "undo":
            _on_refusal(draft, reply.step, StepRefused(reply.step, reason), reason)
        case Never() if status is RESOLVING:
            _on_refusal(draft, reply.step, StepNever(reply.step), draft.state.steps[reply.step].reason or "unavailable")
        case Undone() if status is UNDOING:
            draft.add(StepUndone(reply.step))
        case Unavailable(reason) if draft.awaits(reply.step, reply.phase, reply.attempt):
            _failed_attempt(draft, reply.step, reason)


def _on_refusal(draft: _Draft, step: str, fact: Record, reason: str) -> None:
    if draft.state.direction is FORWARD:
        # Nothing turns a decided instance round: a person has to see how this can be.
        _stuck(draft, step, f"refused after the decision: {reason}")
        return
    draft.add(fact)


def _turn_back(draft: _Draft, step: str | None, reason: str) -> None:
    """Decide back, unless the pivot may have happened: then its answer decides, and it is asked first."""
    pivot = draft.plan.pivot
    status = WAITING if pivot is None else draft.state.steps[pivot].status
    if status is RESOLVING:
        return
    in_doubt = status is SENT or (status is WAITING and draft.state.recovered)
    if pivot is not None and in_doubt:
        draft.add(StepResolving(pivot, reason, step, reason))
    else:
        draft.add(Decided(BACK, step, reason))


def _on_cancel(draft: _Draft) -> CancelAnswer:
    state, pivot = draft.state, draft.plan.pivot
    # After a crash nobody knows whether the pivot was sent; only its answer may then turn the instance back.
    pivot_sent = pivot is not None and (state.recovered or state.steps[pivot].status is not WAITING)
    if state.direction is not None or pivot_sent:
        return CancelAnswer.TOO_LATE
    _turn_back(draft, None, CANCELLED_BY_CALLER)
    return CancelAnswer.ACCEPTED


def _failed_attempt(draft: _Draft, step: str, reason: str) -> None:
    """Try again if there is a point in it; else ask what became of the step, go back, or call it stuck."""
    planned, progress = draft.plan.steps[step], draft.state.steps[step]
    may_fail = _may_fail(draft, planned, progress)
    due_at = draft.at + backoff_s(planned.retry, progress.attempt, draft.chance)
    until = draft.plan.forward_until(draft.state.started_at) if may_fail else None
    if progress.attempt < planned.retry.attempts and (until is None or due_at < until):
        draft.add(StepRetried(step, progress.attempt + 1, due_at, reason))
    elif not may_fail:
        _stuck(draft, step, reason)
    elif progress.status is SENT:
        draft.add(StepResolving(step, reason))
    else:
        _turn_back(draft, step, reason)


def _may_fail(draft: _Draft, planned: PlannedStep, progress: Progress) -> bool:
    """Whether the instance can go back without this step's answer. A pivot's answer is needed either way."""
    asking_pivot = planned.kind is PIVOT and progress.status is RESOLVING
    return draft.state.direction is None and not asking_pivot


def _stuck(draft: _Draft, step: str, reason: str) -> None:
    due_at = draft.at + draft.plan.steps[step].retry.slow_s
    draft.add(StepStuck(step, draft.state.steps[step].attempt + 1, due_at, reason))


def _on_intervention(draft: _Draft, event: Intervention) -> str | None:
    """None if it was taken, else why not."""
    progress = draft.state.steps.get(event.step)
    if progress is None:
        return f"step is {event.step!r}, wanted one of {sorted(draft.state.steps)}"
    if not progress.stuck:
        return f"step {event.step!r} is {progress.status.name.lower()} and not stuck; wanted a stuck step"
    match event:
        case RetryNow(step, by, reason):
            draft.add(Intervened(step, "retry", by, reason))
            draft.resend.add(step)
        case SupplyResult(step, by, reason, result):
            if progress.status is UNDOING:
                return f"step {step!r} is being undone: an undo has no result; retry or skip it"
            try:
                codec.decode(object, result, f"step {step!r}: result")
            except InputError as error:
                return str(error)
            draft.add(Intervened(step, "supply", by, reason, result))
        case Skip(step, by, reason):
            after = [p.name for p in draft.plan.steps.values() if step in p.visible]
            if draft.state.direction is FORWARD and after:
                return f"step {step!r} can't be skipped: {after} may use its result; supply one"
            draft.add(Intervened(step, "skip", by, reason))
    return None


def _follow(draft: _Draft) -> None:
    """Add the decision and the end as soon as they follow."""
    plan = draft.plan
    if draft.state.direction is None:
        _follow_undecided(draft)
    state = draft.state
    if state.direction is FORWARD:
        if all_done(state.steps, plan.steps):
            draft.add(Ended(completed=True))
    elif state.direction is BACK and not any(to_undo(state, state.steps[n]) for n in plan.compensatable):
        step, reason = state.cause or (None, "")
        draft.add(Ended(completed=False, step=step, reason=reason))


def _follow_undecided(draft: _Draft) -> None:
    plan, steps = draft.plan, draft.state.steps
    statuses = [steps[name].status for name in plan.before_decision]
    if statuses.count(DONE) == len(statuses) or (plan.pivot is not None and steps[plan.pivot].status is DONE):
        draft.add(Decided(FORWARD))
        # While the pivot was asked others may have been given up on; now the instance can't do without their answers.
        draft.resend.update(n for n in plan.before_decision if steps[n].status in PHASE)
    elif REFUSED in statuses or NEVER in statuses:
        name = next(n for n in plan.before_decision if steps[n].status in (REFUSED, NEVER))
        _turn_back(draft, *(draft.state.cause or (name, steps[name].reason or "unavailable")))


def _answer_after_end(event: Event) -> str | None:
    if isinstance(event, CancelAsked):
        return CancelAnswer.ALREADY_ENDED
    return "the instance has ended" if isinstance(event, Intervention) else None


# States make messages.


def _decision(
    draft: _Draft, before: dict[str, Progress], answer: str | None = None, *, opening: bool = False
) -> Decision:
    """Send every step under way whose attempt is new, or that is to be sent again."""
    sends: list[Send] = []
    wakes: list[Wake] = []
    for name, progress in draft.state.steps.items():
        again = name in draft.resend
        if not again and progress is before.get(name):
            continue
        phase = _phase(draft.state, progress)
        if phase is None:
            continue
        if phase == "do" and name in draft.unbuildable:
            if progress.stuck and progress.due_at is not None:
                wakes.append(Wake(progress.due_at, RetryDue(name, phase, progress.attempt)))
            continue
        if progress.due_at is not None and progress.due_at > draft.at and not again:
            wakes.append(Wake(progress.due_at, RetryDue(name, phase, progress.attempt)))
            continue
        planned = draft.plan.steps[name]
        try:
            command = _command(draft, planned) if phase == "do" else None
        except Exception as error:  # noqa: BLE001 - it is the user's code, and what it raises decides
            _on_unbuildable(draft, name, f"its method raised {type(error).__name__}")
            return _decision(draft, before, answer, opening=opening)
        sends.append(Send(name, planned.to, phase, progress.attempt, command))
        wakes.append(Wake(draft.at + planned.timeout_s, TimedOut(name, phase, progress.attempt)))
    until = draft.plan.forward_until(draft.state.started_at)
    if until is not None and draft.state.direction is None and opening:
        wakes.append(Wake(until, DeadlinePassed()))
    return Decision(draft.state, tuple(draft.records), tuple(sends), tuple(wakes), answer)


def _on_unbuildable(draft: _Draft, step: str, reason: str) -> None:
    """A plan's own method raised. Only the error's class is kept: its text may quote the input."""
    draft.resend.discard(step)
    draft.unbuildable.add(step)
    if draft.state.direction is None:
        _turn_back(draft, step, reason)
    else:
        _stuck(draft, step, reason)
    _follow(draft)


def _command(draft: _Draft, planned: PlannedStep) -> object:
    plan, state = draft.plan, draft.state
    # In the plan's order: what a method makes of it has to be the same in every process.
    raw = {n: p.result for n, p in state.steps.items() if n in planned.visible and p.result is not None}
    return planned.build(plan.saga(), state.input, Results(planned.where, raw))
