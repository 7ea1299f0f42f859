"""Wrong variants of what a saga decides: `protocol.machine` and `protocol.state`."""

from collections.abc import Iterator
from unittest.mock import patch

from amends.actors import saga
from amends.protocol import machine, state
from amends.protocol.events import CancelAnswer, Decision, Event, Recovered
from amends.protocol.machine import _Draft
from amends.protocol.messages import Reply, Unavailable
from amends.protocol.records import BACK, Decided, Record, StepNever, StepResolving, StepUndone
from amends.protocol.saga import Plan, PlannedStep, Results
from amends.protocol.state import DONE, PHASE, RESOLVING, SENT, UNDOING, WAITING, Progress, State
from tests.stateful.planted.bug import bug


@bug(budget=100)
def undo_order_reversed() -> Iterator[None]:
    """Steps are undone after those they need, not after those that need them."""

    def ready_to_undo(plan: Plan, now: State) -> list[str]:
        left = [name for name in plan.compensatable if state.to_undo(now, now.steps[name])]
        return [n for n in left if now.steps[n].status is not UNDOING and not set(plan.steps[n].needs) & set(left)]

    with patch.object(state, "_ready_to_undo", ready_to_undo):
        yield


@bug(scenario="an undo fails", budget=50)
def stuck_undo_blocks_others() -> Iterator[None]:
    """An undo that keeps failing keeps those after it waiting."""

    def ready_to_undo(plan: Plan, now: State) -> list[str]:
        left = [name for name in plan.compensatable if state.to_undo(now, now.steps[name])]
        return [n for n in left if now.steps[n].status is not UNDOING and not set(plan.steps[n].dependents) & set(left)]

    with patch.object(state, "_ready_to_undo", ready_to_undo):
        yield


@bug()
def in_doubt_not_undone() -> Iterator[None]:
    """Only what is known to be done is undone, not what may be: a step that was sent and never answered."""
    right = state.to_undo

    def to_undo(now: State, progress: Progress) -> bool:
        return progress.status not in (SENT, RESOLVING) and right(now, progress)

    with patch.object(state, "to_undo", to_undo), patch.object(machine, "to_undo", to_undo):
        yield


@bug()
def lost_send_not_undone() -> Iterator[None]:
    """After a crash, a step that is not known to have been sent is taken for never sent."""
    right = state.to_undo

    def to_undo(now: State, progress: Progress) -> bool:
        return progress.status is not WAITING and right(now, progress)

    with patch.object(state, "to_undo", to_undo), patch.object(machine, "to_undo", to_undo):
        yield


@bug()
def timeout_taken_for_never() -> Iterator[None]:
    """A step that never answered in time counts as not done, without asking its service."""
    right = _Draft.add

    def add(draft: _Draft, record: Record) -> None:
        right(draft, StepNever(record.step) if isinstance(record, StepResolving) else record)

    with patch.object(_Draft, "add", add):
        yield


@bug()
def pivot_not_asked() -> Iterator[None]:
    """The deadline turns an instance back while its pivot is under way, without asking it first."""

    def turn_back(draft: _Draft, step: str | None, reason: str) -> None:
        draft.add(Decided(BACK, step, reason))

    with patch.object(machine, "_turn_back", turn_back):
        yield


@bug()
def cancel_while_pivot_is_under_way() -> Iterator[None]:
    """A cancel is accepted although the pivot is under way."""

    def on_cancel(draft: _Draft) -> CancelAnswer:
        if draft.state.direction is not None:
            return CancelAnswer.TOO_LATE
        draft.add(Decided(BACK, None, machine.CANCELLED_BY_CALLER))
        return CancelAnswer.ACCEPTED

    with patch.object(machine, "_on_cancel", on_cancel):
        yield


@bug()
def cancel_turns_round() -> Iterator[None]:
    """A cancel turns an instance round that is decided forward."""

    def on_cancel(draft: _Draft) -> CancelAnswer:
        draft.add(Decided(BACK, None, machine.CANCELLED_BY_CALLER))
        return CancelAnswer.ACCEPTED

    with patch.object(machine, "_on_cancel", on_cancel):
        yield


@bug()
def undo_gives_up() -> Iterator[None]:
    """An undo that fails too often counts as undone instead of stuck."""
    right = machine._stuck

    def stuck(draft: _Draft, step: str, reason: str) -> None:
        if draft.state.steps[step].status is UNDOING:
            draft.add(StepUndone(step))
        else:
            right(draft, step, reason)

    with patch.object(machine, "_stuck", stuck):
        yield


@bug(budget=100)
def ended_before_undone() -> Iterator[None]:
    """An instance ends once its undos are sent, not once they are answered."""
    right = state.to_undo

    def to_undo(now: State, progress: Progress) -> bool:
        return progress.status is not UNDOING and right(now, progress)

    with patch.object(machine, "to_undo", to_undo):
        yield


@bug()
def stale_answer_accepted() -> Iterator[None]:
    """A late 'unavailable' of an earlier attempt, or phase, counts against the one under way."""
    right = machine._on_reply

    def on_reply(draft: _Draft, reply: Reply) -> None:
        if isinstance(reply.answer, Unavailable) and draft.state.steps[reply.step].status in PHASE:
            machine._failed_attempt(draft, reply.step, reply.answer.reason)
        else:
            right(draft, reply)

    with patch.object(machine, "_on_reply", on_reply):
        yield


@bug()
def retried_with_another_payload() -> Iterator[None]:
    """A step's command is built from whatever is done by then, so a retry may carry another payload."""

    def command(draft: _Draft, planned: PlannedStep) -> object:
        done = {n: p.result for n, p in draft.state.steps.items() if p.status is DONE and p.result is not None}
        return planned.build(draft.plan.saga(), draft.state.input, Results(planned.name, done))

    with patch.object(machine, "_command", command):
        yield


@bug(budget=100)
def retriable_before_the_decision() -> Iterator[None]:
    """A retriable step is sent as soon as what it needs is done, before the decision."""
    with patch.object(state, "RETRIABLE", None):
        yield


@bug()
def undo_not_resumed() -> Iterator[None]:
    """After a crash, undos that were under way are not sent again."""
    right = machine.decide

    def decide(plan: Plan, now: State, event: Event, at: float, chance: float) -> Decision:
        decision = right(plan, now, event, at, chance)
        if not isinstance(event, Recovered):
            return decision
        sends = tuple(send for send in decision.sends if send.phase != "undo")
        wakes = tuple(wake for wake in decision.wakes if getattr(wake.event, "phase", "") != "undo")
        return Decision(decision.state, decision.records, sends, wakes, decision.answer)

    with patch.object(saga, "decide", decide):
        yield


@bug(scenario="processes die")
def timers_lost_at_recovery() -> Iterator[None]:
    """After a crash nobody waits any more: no timeout, no retry, no deadline."""
    right = machine.decide

    def decide(plan: Plan, now: State, event: Event, at: float, chance: float) -> Decision:
        decision = right(plan, now, event, at, chance)
        if isinstance(event, Recovered):
            return Decision(decision.state, decision.records, decision.sends, (), decision.answer)
        return decision

    with patch.object(saga, "decide", decide):
        yield
