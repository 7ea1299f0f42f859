"""Where the time goes and what fails: durations and counts over all instances of a journal.

One instance after the other is folded and let go, so what is kept is 8 bytes for each duration
and as many reasons as `REASONS_MAX`, however long the journal is.
"""

import math
from array import array
from collections.abc import Iterable
from typing import Final

import msgspec

from amends.console.progress import Fold, StepProgress

REASONS_MAX: Final = 50
"""Different reasons that are counted one by one; a reason may name an id, and then there is no end of them."""

OTHERS: Final = "(others)"


class Spread(msgspec.Struct, frozen=True):
    """How durations are spread, in seconds; all zero where there is none."""

    count: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0
    max_s: float = 0.0


class StepTimings(msgspec.Struct, frozen=True):
    """One step over all instances.

    Attributes:
        answered, undone: from when it, or its undo, could be sent to the answer, yes or no.
        retries: how often the step, its undo or the question what became of it was put off to be tried again.
        failures: why attempts failed. refusals: why the service said no. Counted by reason.
        stuck: instances in which it got stuck, whether or not it still is.
    """

    step: str
    answered: Spread
    undone: Spread
    retries: int
    failures: dict[str, int]
    refusals: dict[str, int]
    stuck: int


class SagaTimings(msgspec.Struct, frozen=True):
    """One saga, all its versions together.

    Attributes:
        states: how many instances are in each.
        completed, compensated: from start to end.
        reasons: why instances went back, as "step: reason", counted.
        steps: in the order in which the history first speaks of them, or in the plan's where that is given.
    """

    saga: str
    states: dict[str, int]
    completed: Spread
    compensated: Spread
    reasons: dict[str, int]
    steps: tuple[StepTimings, ...]


class Timings(msgspec.Struct, frozen=True):
    """A whole journal; `unreadable` counts the instances whose histories are not in it, the quarantined among them."""

    sagas: tuple[SagaTimings, ...]
    unreadable: int


class _Durations:
    """Durations, 8 bytes each."""

    def __init__(self) -> None:
        self._values = array("d")

    def add(self, duration_s: float | None) -> None:
        if duration_s is not None:
            self._values.append(duration_s)

    def spread(self) -> Spread:
        if not self._values:
            return Spread()
        ranked = sorted(self._values)
        p50_s, p99_s = (ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.99))
        return Spread(len(ranked), p50_s, p99_s, ranked[-1])


class _Reasons:
    """How often each reason was given, the most frequent first when told."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, reason: str) -> None:
        if reason not in self._counts and len(self._counts) >= REASONS_MAX:
            reason = OTHERS
        self._counts[reason] = self._counts.get(reason, 0) + 1

    def told(self) -> dict[str, int]:
        return dict(sorted(self._counts.items(), key=lambda entry: -entry[1]))


class _StepTotals:
    def __init__(self) -> None:
        self.answered = _Durations()
        self.undone = _Durations()
        self.retries = 0
        self.failures = _Reasons()
        self.refusals = _Reasons()
        self.stuck = 0

    def add(self, step: StepProgress) -> None:
        self.answered.add(step.time_s)
        self.undone.add(step.undo_time_s)
        for failure in step.failures:
            self.failures.add(failure.reason)
        self.retries += step.retries
        self.stuck += step.was_stuck
        if step.refused is not None:
            self.refusals.add(step.refused)

    def told(self, name: str) -> StepTimings:
        return StepTimings(
            name,
            self.answered.spread(),
            self.undone.spread(),
            self.retries,
            self.failures.told(),
            self.refusals.told(),
            self.stuck,
        )


class SagaTotals:
    """What is added up of one saga."""

    def __init__(self) -> None:
        self._completed = _Durations()
        self._compensated = _Durations()
        self._reasons = _Reasons()
        self._steps: dict[str, _StepTotals] = {}

    def add(self, fold: Fold) -> None:
        """One more instance."""
        steps = fold.steps()  # first, since what is damaged fails here, and then nothing of it may count
        started, ended = fold.started, fold.ended
        if started is not None and ended is not None and fold.ended_at is not None:
            durations = self._completed if ended.completed else self._compensated
            durations.add(max(0.0, fold.ended_at - started.at))
        if fold.why is not None:
            self._reasons.add(f"{fold.why.step}: {fold.why.reason}" if fold.why.step else fold.why.reason)
        for step in steps:
            totals = self._steps.get(step.step)
            if totals is None:
                totals = self._steps[step.step] = _StepTotals()
            totals.add(step)

    def told(self, saga: str, states: dict[str, int]) -> SagaTimings:
        steps = tuple(totals.told(name) for name, totals in self._steps.items())
        return SagaTimings(
            saga, states, self._completed.spread(), self._compensated.spread(), self._reasons.told(), steps
        )


def timings_of(totals: dict[str, SagaTotals], counts: Iterable[tuple[str, str, int]], unreadable: int) -> Timings:
    """What was added up; `counts` has saga, state and how many instances are in it."""
    states: dict[str, dict[str, int]] = {}
    for saga, state, count in counts:
        states.setdefault(saga, {})[state] = count
    sagas = sorted({*totals, *states})
    return Timings(tuple(totals.get(saga, SagaTotals()).told(saga, states.get(saga, {})) for saga in sagas), unreadable)
