"""What a saga says to a service, and what a service answers.

Payloads travel as JSON bytes even inside one process, so that no two actors ever share a
mutable value and the same contract holds over a broker. How a message reaches its service
is the transport's business.
"""

from typing import Generic, NewType, TypeVar

import msgspec

SagaId = NewType("SagaId", str)

R = TypeVar("R")

CANCELLED = "cancelled"
"""The reason with which a fence refuses a `Do` that comes after its `Undo` or `Resolve`."""


class Done(msgspec.Struct, Generic[R], frozen=True):
    """The step's effect is committed; `result` is what later steps and the undo may use."""

    result: R = None  # type: ignore[assignment]  # Done() is Done[None]


class Refused(msgspec.Struct, frozen=True):
    """A business no: nothing was changed, and asking again will not help."""

    reason: str


class Unavailable(msgspec.Struct, frozen=True):
    """Not now: nothing is known to have changed, ask again later."""

    reason: str


class Later(msgspec.Struct, frozen=True):
    """Under way: the answer comes later. It is for the handler's own service, and never travels.

    Attributes:
        again_s: how many seconds later to ask the handler again, if nobody has before; None is never.
    """

    reason: str
    again_s: float | None = None

    def __post_init__(self) -> None:
        if self.again_s is not None and not 0 < self.again_s < float("inf"):
            raise ValueError(f"Later: again_s is {self.again_s}, wanted more than 0, or None")


class Undone(msgspec.Struct, frozen=True):
    """The step's effect is gone, or never was and never will be."""


class Never(msgspec.Struct, frozen=True):
    """The step has not happened and, from now on, can't."""


Answer = Done[msgspec.Raw] | Refused | Unavailable | Undone | Never


class IdempotencyKey(msgspec.Struct, frozen=True):
    """Names one step of one instance, for ever: the same key is the same wish.

    `str()` of it is what to pass on to a provider outside.
    """

    saga_id: SagaId
    step: str

    def __str__(self) -> str:
        return f"{self.saga_id}/{self.step}"


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every message to a service carries.

    Attributes:
        service: the service it is for.
        saga_id, step: together the idempotency key.
        attempt: which try this is, from 1; its reply says it back.
        token: the sender's grant; an older one than the fence has seen for this saga is not obeyed.
        reply_to: where its answer goes, in the transport's own words; empty where that needs no saying.
    """

    service: str
    saga_id: SagaId
    step: str
    attempt: int
    token: int
    reply_to: str = ""

    @property
    def key(self) -> IdempotencyKey:
        return IdempotencyKey(self.saga_id, self.step)


class Do(Message, frozen=True, kw_only=True, tag="do"):
    """Run the command, once.

    Attributes:
        command: the name of the command's class.
        payload: the command as JSON.
        expires_at: from then on (unix seconds) a fence without a row for it refuses it.
    """

    command: str
    payload: bytes
    expires_at: float


class Undo(Message, frozen=True, kw_only=True, tag="undo"):
    """Undo the step if it was done, and see that it can't be done later."""


class Resolve(Message, frozen=True, kw_only=True, tag="resolve"):
    """Say what became of the step; if nothing did, see that nothing will."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A service's answer to one message.

    Attributes:
        phase: the kind of message it answers: "do", "undo" or "resolve".
        attempt: that message's attempt.
        reply_to: that message's `reply_to`.
    """

    saga_id: SagaId
    step: str
    phase: str
    attempt: int
    answer: Answer
    reply_to: str = ""
