"""What a campaign has met: kinds of fates, and transitions of the machine.

A transition is what a state meets: where the instance is (undecided, asking its pivot, forward,
back), where the step is, and what happened. They are counted where saga actors decide.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from amends.actors import saga as saga_actors
from amends.protocol.events import (
    CancelAsked,
    DeadlinePassed,
    Event,
    Recovered,
    Replied,
    RetryDue,
    RetryNow,
    Skip,
    SupplyResult,
    TimedOut,
)
from amends.protocol.machine import decide
from amends.protocol.messages import Done, Never, Refused, Unavailable, Undone
from amends.protocol.state import State, Status

Transition = tuple[str, str, str]
"""Where the instance is, where the step is ("" for what concerns all of it), what happened."""

OF_A_STEP: Final = tuple(
    kind.__name__
    for kind in (Done, Refused, Unavailable, Undone, Never, TimedOut, RetryDue, RetryNow, SupplyResult, Skip)
)
OF_AN_INSTANCE: Final = tuple(kind.__name__ for kind in (DeadlinePassed, CancelAsked, Recovered))


def transition(state: State, event: Event) -> Transition:
    """What this event is to this state."""
    if isinstance(event, Replied):
        step, what = event.reply.step, type(event.reply.answer).__name__
    else:
        step, what = str(getattr(event, "step", "")), type(event).__name__
    if what in OF_AN_INSTANCE:
        return where(state), "", what
    progress = state.steps.get(step)
    status = Status(progress.status).name.lower() if progress is not None else "no such step"
    return where(state), status + (", stuck" if progress is not None and progress.stuck else ""), what


def where(state: State) -> str:
    """Which way the instance is going."""
    if state.ended is not None:
        return "ended"
    if state.direction is not None:
        return state.direction.value
    return "undecided" if state.cause is None else "asking its pivot"


@contextmanager
def counted() -> Iterator[Counter[Transition]]:
    """Count every transition that a saga actor makes inside."""
    met: Counter[Transition] = Counter()

    def counting(plan: Any, state: State, event: Event, at: float, chance: float) -> Any:
        met[transition(state, event)] += 1
        return decide(plan, state, event, at, chance)

    with patch.object(saga_actors, "decide", counting):
        yield met


def missed(met: Counter[Transition]) -> dict[tuple[str, str], list[str]]:
    """By every state that was met, what has never happened in it."""
    seen: dict[tuple[str, str], set[str]] = {}
    for place, status, what in met:
        seen.setdefault((place, status), set()).add(what)
    for place in {place for place, _, _ in met}:
        seen.setdefault((place, ""), set())
    return {
        state: [what for what in (OF_A_STEP if state[1] else OF_AN_INSTANCE) if what not in events]
        for state, events in sorted(seen.items())
    }
