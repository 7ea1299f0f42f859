"""What callers ask of a system, and who waits for an answer.

The futures outlive the coordinator, so that one that fails keeps nobody waiting for ever.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from amends.actors.saga import Cancel, Intervene
from amends.protocol.errors import AmendsError, SystemStopped
from amends.protocol.events import CancelAnswer, Decision
from amends.protocol.messages import SagaId
from amends.protocol.records import Started
from amends.protocol.saga import Plan
from amends.supervisor.mailbox import Caller, DeadLetter


@dataclass(frozen=True, slots=True)
class Submit:
    """Start an instance of `plan`, or find the one its key belongs to.

    Attributes:
        saga_id: the id it is to have; given by the caller, so that a coordinator that reads this twice starts it once.
        key: None makes one of its own.
        data: the checked input as JSON.
        accepted: gets the saga id once the start is on disk, or why it was refused.
        outcome: gets the Outcome in the end.
    """

    saga_id: SagaId
    plan: Plan
    key: str | None
    data: bytes
    accepted: "Future[Any]"
    outcome: "Future[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class ToInstance:
    """A Cancel or Intervene for one instance; `future` is the one inside."""

    saga_id: SagaId
    message: Cancel | Intervene
    future: "Future[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class Drain:
    """Accept nothing more; the future is set once no instance is open."""

    future: "Future[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class AwaitIdle:
    """Set the future as soon as no instance is open, and all that were found at the start have been run again."""

    future: "Future[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class AskStatus:
    """Set the future to a CoordinatorStatus."""

    future: "Future[Any]"


Asked = ToInstance | Drain | AwaitIdle | AskStatus


@dataclass(frozen=True, slots=True)
class CoordinatorStatus:
    """What the coordinator knows.

    Attributes:
        ended: instances in the journal that are no longer open, by state.
        stuck: why, by step, by instance.
        unreadable: why an open instance is not run, by instance.
        recovered: whether every instance found open at the start is running again.
    """

    open: int
    starting: int
    ended: dict[str, int]
    stuck: dict[SagaId, dict[str, str]]
    unreadable: dict[SagaId, str]
    recovered: bool


NO_INSTANCES = CoordinatorStatus(0, 0, dict.fromkeys(("completed", "compensated", "quarantined"), 0), {}, {}, True)
"""Of a system without sagas."""


@dataclass(frozen=True, slots=True)
class Starting:
    """A start that the journal has not answered yet."""

    submit: Submit
    started: Started
    decision: Decision


class Callers:
    """Who waits for what; kept outside the coordinator so that it survives one.

    Who was answered is forgotten only when the turn that answers settles: one that fails has answered nobody.

    Attributes:
        starting: starts the journal has not answered, by the id they will have.
        waiting: futures that get the outcome, by instance.
        asked: what a coordinator has taken and nobody has answered yet.
        asking: futures of questions for whose answers callers wait, whoever has them in hand.
    """

    def __init__(self) -> None:
        self.asked: dict[Asked, None] = {}
        self.asking: dict[Future[Any], None] = {}
        self.starting: dict[SagaId, Starting] = {}
        self.waiting: dict[SagaId, list[Future[Any]]] = {}

    def wait(self, saga_id: SagaId, future: "Future[Any]") -> None:
        """One more who waits for this instance's outcome."""
        self.waiting.setdefault(saga_id, []).append(future)

    def give_up(self, error: AmendsError) -> None:
        """Tell everyone that no outcome comes from this process."""
        starting, self.starting = self.starting, {}
        waiting, self.waiting = self.waiting, {}
        futures = [f for s in starting.values() for f in (s.submit.accepted, s.submit.outcome)]
        futures += [f for several in waiting.values() for f in several]
        futures += [*(ask.future for ask in list(self.asked)), *list(self.asking)]
        for future in futures:
            Caller(future).tell(error)

    def ask(self, asked: "Asked") -> None:
        """Remember it until it is answered."""
        self.asked[asked] = None
        asked.future.add_done_callback(lambda _: self.asked.pop(asked, None))


class Over:
    """The address of messages to an instance that is over: whoever waits for an answer is told so.

    Args:
        problem: why it can't go on; None if it has ended.
    """

    name = "over"

    def __init__(self, problem: AmendsError | None = None) -> None:
        self._problem = problem

    def tell(self, message: object) -> None:
        asked = message.message if isinstance(message, DeadLetter) else None
        if isinstance(asked, Cancel):
            Caller(asked.future).tell(self._problem or CancelAnswer.ALREADY_ENDED)
        elif isinstance(asked, Intervene):
            Caller(asked.future).tell(self._problem or "the instance has ended")


class Unheard:
    """The address of messages that no coordinator will read: whoever waits for an answer is told so."""

    name = "unheard"

    def __init__(self, error: SystemStopped) -> None:
        self._error = error

    def tell(self, message: object) -> None:
        asked = message.message if isinstance(message, DeadLetter) else None
        if isinstance(asked, Submit):
            Caller(asked.accepted).tell(self._error)
            Caller(asked.outcome).tell(self._error)
        elif isinstance(asked, Asked):
            Caller(asked.future).tell(self._error)
