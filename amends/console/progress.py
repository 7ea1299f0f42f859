"""How far one instance has come, told by its records.

A fold of the history as it was written down: no saga class is needed for it, nothing is sent, and
no input and no result is looked at, for these may carry what must not be read. How long a step
took is counted from when it could first be sent. With the saga's plan that is exact; without it,
from the last record before that can have started anything, which makes it at least so long.
Where the records come from is `journal`'s business, how they look on a screen `show`'s.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from amends.actors.journal.store import Instance
from amends.protocol.messages import SagaId
from amends.protocol.records import (
    BACK,
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
from amends.protocol.saga import Plan
from amends.protocol.state import SENT, UNDOING, State, apply, start_ready
from amends.protocol.state import Progress as StepState

Plans = Mapping[tuple[str, int], Plan]


class Failure(msgspec.Struct, frozen=True):
    """An attempt that failed; `phase` is "do", "resolve" (asking what became of it) or "undo"."""

    at: float
    phase: str
    reason: str


class Intervention(msgspec.Struct, frozen=True):
    """What a person did to a stuck step; `action` is "retry", "supply" or "skip"."""

    at: float
    action: str
    by: str
    reason: str


class WentBack(msgspec.Struct, frozen=True):
    """Why an instance is undone; `step` is None for a deadline or a cancel."""

    step: str | None
    reason: str


class StepProgress(msgspec.Struct, frozen=True):
    """One step of one instance. Times that end in `_at` are unix seconds.

    Attributes:
        status: a `protocol.state.Status` in lower case. What lies between two records shows only with the plan:
            without it a step is listed once a record speaks of it, and is undone without having been "undoing".
        attempts, undo_attempts: the number of the last attempt, or of the one that is due; 0 if there was none.
        answered_at: when it was recorded as done, refused or never done.
        time_s, undo_time_s: from when it, or its undo, could first be sent; None while it has not ended.
        refused: the service's reason.
        stuck: why a person should look; None if nobody need.
        retries: how often the step, its undo or the question what became of it was put off to be tried again.
        was_stuck: it is or was stuck.
    """

    step: str
    status: str = "waiting"
    attempts: int = 0
    undo_attempts: int = 0
    failures: tuple[Failure, ...] = ()
    answered_at: float | None = None
    time_s: float | None = None
    undone_at: float | None = None
    undo_time_s: float | None = None
    refused: str | None = None
    stuck: str | None = None
    interventions: tuple[Intervention, ...] = ()
    retries: int = 0
    was_stuck: bool = False


class Progress(msgspec.Struct, frozen=True):
    """One instance, as far as its records on disk tell. Times that end in `_at` are unix seconds.

    Attributes:
        state: "open", "completed", "compensated" or "quarantined".
        direction: None until it is decided.
        resumed: how many crashes or restarts it has outlived.
        damage: what is wrong with the history, whose sound beginning is told; empty if all of it is.
    """

    saga_id: SagaId
    saga: str
    version: int
    key: str
    state: str
    started_at: float
    ended_at: float | None
    direction: Direction | None
    why: WentBack | None
    steps: tuple[StepProgress, ...]
    resumed: int = 0
    damage: str = ""

    @property
    def duration_s(self) -> float | None:
        return None if self.ended_at is None else max(0.0, self.ended_at - self.started_at)


class _Rough:
    """When steps could be sent at the latest: since the last record before that can have started anything."""

    def __init__(self) -> None:
        self.sent_at: dict[str, float] = {}
        self.undo_sent_at: dict[str, float] = {}
        self._base_at = 0.0
        self._back = False

    def follow(self, at: float, record: Record) -> None:
        match record:
            case StepDone(step) | StepRefused(step) | StepNever(step) | StepResolving(step):
                self.sent_at.setdefault(step, self._base_at)
            case StepUndone(step):
                self.undo_sent_at.setdefault(step, self._base_at)
            case StepRetried(step) | StepStuck(step):
                (self.undo_sent_at if self._back else self.sent_at).setdefault(step, self._base_at)
            case Decided(direction):
                self._back = direction is BACK
        if isinstance(record, _STARTS_OTHERS):
            self._base_at = at


# A refusal starts nothing by itself: the decision does, and has a record of its own.
_STARTS_OTHERS: Final = (Started, StepDone, StepUndone, StepStuck, Decided, Intervened)


class _Exact:
    """When steps could be sent, by the plan: the states of the instance are gone through once more."""

    def __init__(self, plan: Plan) -> None:
        self.sent_at: dict[str, float] = {}
        self.undo_sent_at: dict[str, float] = {}
        self.state: State | None = None
        self._plan = plan

    def follow(self, at: float, record: Record) -> None:
        before = self.state
        if isinstance(record, Started):
            steps = dict.fromkeys(self._plan.steps, StepState())
            # Without its input, which nothing here depends on.
            blank = State(record.saga_id, record.key, None, record.at, steps)
            self._note(at, blank, start_ready(self._plan, blank))
        elif before is not None:
            self._note(at, before, apply(self._plan, before, record))

    def _note(self, at: float, before: State, after: State) -> None:
        for name, now in after.steps.items():
            if now is before.steps[name]:
                continue
            if now.status is SENT:
                self.sent_at.setdefault(name, at)
            elif now.status is UNDOING:
                self.undo_sent_at.setdefault(name, at)
        self.state = after


class _Step:
    """One step while the records are gone through."""

    __slots__ = (
        "answered_at", "attempts", "failures", "interventions", "refused", "retries", "status", "stuck",
        "undo_attempts", "undone_at", "was_stuck",
    )  # fmt: skip

    def __init__(self) -> None:
        self.status = "sent"
        self.attempts = 1
        self.undo_attempts = 0
        self.failures: list[Failure] = []
        self.interventions: list[Intervention] = []
        self.answered_at: float | None = None
        self.undone_at: float | None = None
        self.refused: str | None = None
        self.stuck: str | None = None
        self.retries = 0
        self.was_stuck = False


class Fold:
    """The records of one instance, gone through one by one.

    Args:
        plans: those that are known; a plan that does not fit the history is left aside.

    Attributes:
        why: it goes, or went, back.
    """

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._steps: dict[str, _Step] = {}
        self._times: _Rough | _Exact = _Rough()
        self._rough = self._times
        self.started: Started | None = None
        self.ended: Ended | None = None
        self.ended_at: float | None = None
        self._direction: Direction | None = None
        self.why: WentBack | None = None
        self._resumed = 0

    def add(self, at: float, record: Record) -> None:
        """The next record, recorded at `at`."""
        match record:
            case Started():
                self.started = record
                plan = self._plans.get((record.saga, record.version))
                if plan is not None:
                    self._times = _Exact(plan)
            case Decided(direction, step, reason):
                self._direction = direction
                self.why = WentBack(step, reason or "") if direction is BACK else None
            case Resumed():
                self._resumed += 1
            case Ended():
                self.ended, self.ended_at = record, at
            case _:
                self._on_step(at, record)
        self._follow(at, record)

    def _follow(self, at: float, record: Record) -> None:
        self._rough.follow(at, record)
        if self._times is not self._rough:
            try:
                self._times.follow(at, record)
            except KeyError:  # it names a step the plan does not have
                self._times = self._rough

    def _on_step(
        self,
        at: float,
        record: StepDone | StepRefused | StepRetried | StepResolving | StepNever | StepUndone | StepStuck | Intervened,
    ) -> None:
        step = self._steps.get(record.step)
        if step is None:
            step = self._steps[record.step] = _Step()
        match record:
            case StepDone():
                _settle(step, "done", at)
            case StepRefused(reason=reason):
                _settle(step, "refused", at)
                step.refused = reason
            case StepNever():
                _settle(step, "never", at)
            case StepUndone():
                step.status, step.undone_at, step.stuck = "undone", at, None
                step.undo_attempts = max(step.undo_attempts, 1)
            case StepResolving(reason=reason, cause_reason=cause_reason):
                # A pivot is also asked because others failed; that is no failure of its own.
                if cause_reason is None:
                    step.failures.append(Failure(at, "do", reason))
                step.status = "resolving"
            case StepRetried() | StepStuck():
                self._on_failure(step, at, record)
            case Intervened():
                self._on_person(step, at, record)

    def _on_failure(self, step: _Step, at: float, record: StepRetried | StepStuck) -> None:
        if self._direction is BACK:
            phase, step.status, step.undo_attempts = "undo", "undoing", record.attempt
        elif step.status == "resolving":
            phase = "resolve"
        else:
            phase, step.attempts = "do", record.attempt
        step.failures.append(Failure(at, phase, record.reason))
        step.retries += 1
        if isinstance(record, StepStuck):
            step.stuck, step.was_stuck = record.reason, True

    def _on_person(self, step: _Step, at: float, record: Intervened) -> None:
        step.interventions.append(Intervention(at, record.action, record.by, record.reason))
        if record.action == "supply":
            _settle(step, "done", at)
        elif record.action == "skip":
            step.status, step.stuck = ("never" if step.status == "resolving" else "skipped"), None
        elif self._direction is BACK:
            step.undo_attempts += 1
        elif step.status != "resolving":
            step.attempts += 1

    def steps(self) -> tuple[StepProgress, ...]:
        """Every step: with the plan all of them in its order, else those the records speak of."""
        exact = self._times.state if isinstance(self._times, _Exact) else None
        names = list(self._steps) if exact is None else list(exact.steps)
        return tuple(self._step(name, None if exact is None else exact.steps[name]) for name in names)

    def _step(self, name: str, state: StepState | None) -> StepProgress:
        step, times = self._steps.get(name), self._times
        sent_at, undo_sent_at = times.sent_at.get(name), times.undo_sent_at.get(name)
        if step is None:
            assert state is not None  # no record speaks of it, so it is the plan's
            return StepProgress(
                name, state.status.name.lower(), int(sent_at is not None), int(undo_sent_at is not None)
            )
        return StepProgress(
            name,
            step.status if state is None else state.status.name.lower(),
            step.attempts,
            step.undo_attempts if undo_sent_at is None else max(step.undo_attempts, 1),
            tuple(step.failures),
            step.answered_at,
            _between(sent_at, step.answered_at),
            step.undone_at,
            _between(undo_sent_at, step.undone_at),
            step.refused,
            step.stuck,
            tuple(step.interventions),
            step.retries,
            step.was_stuck,
        )

    def progress(self, instance: Instance, damage: str = "") -> Progress:
        """What the records so far tell of `instance`."""
        return Progress(
            SagaId(instance.saga_id),
            instance.saga,
            instance.version,
            instance.key,
            instance.state,
            instance.started_at,
            instance.ended_at,
            self._direction,
            self.why,
            self.steps(),
            self._resumed,
            damage,
        )


def _settle(step: _Step, status: str, at: float) -> None:
    step.status, step.answered_at, step.stuck = status, at, None


def _between(from_at: float | None, to_at: float | None) -> float | None:
    # Wall time may be set back.
    return None if from_at is None or to_at is None else max(0.0, to_at - from_at)
