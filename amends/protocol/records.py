"""What the journal remembers of an instance, and how an instance ends.

A history is a `Started`, then what happened, then at most one `Ended`. `FORCED` names the
records that must be on disk before anything that depends on them leaves; every other one
may be lost in a crash, and the fence makes up for it.
"""

from enum import StrEnum

import msgspec

from amends.protocol.messages import SagaId

_NO_RESULT = msgspec.Raw()


class Direction(StrEnum):
    """Which way a decision fixes: on to the end, or undo everything."""

    FORWARD = "forward"
    BACK = "back"


# Before Python 3.12 a member looked up in its enum costs many times a global, and these are on the path of every step.
FORWARD, BACK = Direction


class _Record(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    pass


class Started(_Record, frozen=True, tag="started"):
    """An instance exists.

    Attributes:
        key: the business key, unique per saga.
        input: the saga's input as JSON.
        at: unix seconds; the deadline counts from here.
        digest: of the plan it began with, and goes on with; empty in records of schema 1, which do not say.
    """

    saga_id: SagaId
    saga: str
    version: int
    key: str
    input: msgspec.Raw
    at: float
    digest: str = ""


class StepDone(_Record, frozen=True, tag="step_done"):
    """The service did it; `result` is JSON."""

    step: str
    result: msgspec.Raw


class StepRefused(_Record, frozen=True, tag="step_refused"):
    """The service said no, and did nothing."""

    step: str
    reason: str


class StepRetried(_Record, frozen=True, tag="step_retried"):
    """The attempt before this one failed; `attempt` may leave at `due_at` (unix seconds)."""

    step: str
    attempt: int
    due_at: float
    reason: str


class StepResolving(_Record, frozen=True, tag="step_resolving"):
    """The step's outcome is unknown and its service is being asked.

    `cause_step` and `cause_reason` are set on a pivot: why the instance goes back if the pivot did not happen.
    """

    step: str
    reason: str
    cause_step: str | None = None
    cause_reason: str | None = None


class StepNever(_Record, frozen=True, tag="step_never"):
    """The service says it was not done and now can't be."""

    step: str


class StepUndone(_Record, frozen=True, tag="step_undone"):
    """The service undid it, or never did it."""

    step: str


class StepStuck(_Record, frozen=True, tag="step_stuck"):
    """A step that may not fail keeps failing: a person should look; it is tried again at `due_at`."""

    step: str
    attempt: int
    due_at: float
    reason: str


class Decided(_Record, frozen=True, tag="decided"):
    """The direction is fixed; for BACK, `step` and `reason` say why."""

    direction: Direction
    step: str | None = None
    reason: str | None = None


class Resumed(_Record, frozen=True, tag="resumed"):
    """A crash or restart lies before this record.

    Lazily kept records may be missing, so a step that is not known to have been sent may have been.
    """


class Intervened(_Record, frozen=True, tag="intervened"):
    """A person acted on a step.

    Attributes:
        action: "retry", "supply" (the step counts as done with `result`) or "skip".
        by: who.
        result: for "supply", as JSON; empty otherwise. (An optional Raw can be written but not read back.)
    """

    step: str
    action: str
    by: str
    reason: str
    result: msgspec.Raw = _NO_RESULT


class Ended(_Record, frozen=True, tag="ended"):
    """Nothing is left to do; if it was compensated, `step` and `reason` say why."""

    completed: bool
    step: str | None = None
    reason: str | None = None


Record = (
    Started
    | StepDone
    | StepRefused
    | StepRetried
    | StepResolving
    | StepNever
    | StepUndone
    | StepStuck
    | Decided
    | Resumed
    | Intervened
    | Ended
)

# What a person did is nowhere else: no fence can give it back.
FORCED = frozenset({Started, Decided, Intervened, Ended})
