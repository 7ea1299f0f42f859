"""What can happen to an instance, and what follows from it: the values `machine.decide` takes and gives."""

from enum import StrEnum

import msgspec

from amends.protocol.messages import Reply
from amends.protocol.records import FORCED, Record
from amends.protocol.state import State


class Replied(msgspec.Struct, frozen=True, gc=False):
    """A service answered."""

    reply: Reply


class TimedOut(msgspec.Struct, frozen=True, gc=False):
    """No answer to this attempt in time."""

    step: str
    phase: str
    attempt: int


class RetryDue(msgspec.Struct, frozen=True, gc=False):
    """The wait before this attempt is over."""

    step: str
    phase: str
    attempt: int


class DeadlinePassed(msgspec.Struct, frozen=True, gc=False):
    """An instance that is not decided by now turns back."""


class CancelAsked(msgspec.Struct, frozen=True, gc=False):
    """The caller would rather have it undone."""


class Recovered(msgspec.Struct, frozen=True, gc=False):
    """The state was just replayed; whatever was under way is sent again."""


class RetryNow(msgspec.Struct, frozen=True, gc=False):
    """A person wants a stuck step tried at once."""

    step: str
    by: str
    reason: str


class SupplyResult(msgspec.Struct, frozen=True, gc=False):
    """A person has done a stuck step by other means, and this is its result."""

    step: str
    by: str
    reason: str
    result: msgspec.Raw


class Skip(msgspec.Struct, frozen=True, gc=False):
    """A person says a stuck step, or a stuck undo, is not needed."""

    step: str
    by: str
    reason: str


Intervention = RetryNow | SupplyResult | Skip
Event = Replied | TimedOut | RetryDue | DeadlinePassed | CancelAsked | Recovered | Intervention


class Send(msgspec.Struct, frozen=True):
    """A message to leave once the decision's forced records are on disk.

    Attributes:
        command: what to do, for the "do" phase; None for "undo" and "resolve".
    """

    step: str
    to: str
    phase: str
    attempt: int
    command: object | None


class Wake(msgspec.Struct, frozen=True, gc=False):
    """Bring this event back at `at` (unix seconds) if the instance is still open."""

    at: float
    event: TimedOut | RetryDue | DeadlinePassed


class CancelAnswer(StrEnum):
    """What became of a cancel."""

    ACCEPTED = "accepted"
    TOO_LATE = "too late"
    ALREADY_ENDED = "already ended"


class Decision(msgspec.Struct, frozen=True):
    """What follows from an event: record, then send, then wait.

    Attributes:
        answer: for the one who asked: to a cancel its CancelAnswer, to an intervention why it was not taken.
    """

    state: State
    records: tuple[Record, ...] = ()
    sends: tuple[Send, ...] = ()
    wakes: tuple[Wake, ...] = ()
    answer: str | None = None

    @property
    def forced(self) -> bool:
        return not FORCED.isdisjoint(map(type, self.records))
