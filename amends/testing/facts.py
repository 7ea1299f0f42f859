"""What can be seen of a simulated history: the facts that checkers read and traces are made of.

A trace is the list of its facts, oldest first; its text is the same for the same schedule,
byte for byte, in every process. Instances go by their key, so no id stands in it. Payloads and
results stay out of the text, for they may carry what must not be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amends.protocol.events import CancelAnswer
from amends.protocol.messages import Answer, Do, Done, Message, Refused, Reply, Resolve, SagaId, Unavailable, Undo
from amends.protocol.records import (
    Decided,
    Ended,
    Intervened,
    Record,
    StepDone,
    StepNever,
    StepRefused,
    StepResolving,
    StepRetried,
    StepStuck,
    StepUndone,
)
from amends.protocol.state import Compensated, Completed

PHASES: dict[type, str] = {Do: "do", Undo: "undo", Resolve: "resolve"}


@dataclass(slots=True)
class Fact:
    """Something that happened.

    Attributes:
        at_s: when, in virtual seconds.
    """

    at_s: float


@dataclass(slots=True)
class Trouble(Fact):
    """A place met another fate than the usual one."""

    label: str
    fate: str

    def __str__(self) -> str:
        return f"! {self.fate}: {self.label}"


@dataclass(slots=True)
class Asked(Fact):
    """Somebody outside asked for something: "start", "cancel", "retry", "supply", "skip", "crash", "restart" ..."""

    what: str
    who: str

    def __str__(self) -> str:
        return f"? {self.what} {self.who}".rstrip()


@dataclass(slots=True)
class Sent(Fact):
    """A message left an instance."""

    who: str
    message: Message

    def __str__(self) -> str:
        m = self.message
        return f"{self.who} > {m.service}: {PHASES[type(m)]} {m.step}, attempt {m.attempt}"


@dataclass(slots=True)
class Answered(Fact):
    """A reply left a service."""

    who: str
    service: str
    reply: Reply

    def __str__(self) -> str:
        r = self.reply
        return f"{self.service} > {self.who}: {r.phase} {r.step}, attempt {r.attempt}: {_answer(r.answer)}"


@dataclass(slots=True)
class Effect(Fact):
    """A handler's work is in its service's database for good, or was done outside.

    Attributes:
        method: the handler's name.
        kind: "do" or "undo".
        token: of the message it was done for.
    """

    who: str
    saga_id: SagaId
    step: str
    service: str
    method: str
    kind: str
    token: int

    @property
    def name(self) -> str:
        """As a test would call it."""
        return f"{self.service}.{self.method}"

    def __str__(self) -> str:
        return f"* {self.name} for {self.who} ({self.kind} {self.step})"


@dataclass(slots=True)
class Raised(Fact):
    """Code of the application raised: a handler, an undo, or a step's method.

    Attributes:
        method: as "service.method", or "saga.step".
        error: the error's class and text.
        place: file and line, the innermost that is neither of amends nor of a library.
    """

    who: str
    method: str
    error: str
    place: str

    @property
    def what(self) -> str:
        """What was raised where."""
        return f"{self.method} raised {self.error}, at {self.place}"

    def __str__(self) -> str:
        return f"! {self.what}, for {self.who}"


@dataclass(slots=True)
class Recorded(Fact):
    """A record is on disk."""

    who: str
    saga_id: SagaId
    seq: int
    record: Record

    def __str__(self) -> str:
        return f"= {self.who} {self.seq}: {_record(self.record)}"


@dataclass(slots=True)
class Told(Fact):
    """A caller was told something.

    Attributes:
        what: what was asked: "accepted", "outcome", "cancel", or an operator's action.
        value: the answer: an id, an Outcome, a CancelAnswer, None, or the error that came instead.
    """

    who: str
    saga_id: SagaId | None
    what: str
    value: object

    def __str__(self) -> str:
        return f"< {self.who} {self.what}: {_told(self.value)}"


@dataclass(slots=True)
class Spawned(Fact):
    """An actor has its first turn."""

    name: str
    incarnation: int

    def __str__(self) -> str:
        return f"+ {self.name}" + (f", incarnation {self.incarnation}" if self.incarnation > 1 else "")


@dataclass(slots=True)
class Fell(Fact):
    """An actor failed.

    Attributes:
        error: the error's class.
        frames: file, line and function of each frame; they are not part of the text.
    """

    name: str
    incarnation: int
    error: str
    frames: str

    def __str__(self) -> str:
        return f"- {self.name} failed: {self.error}"


@dataclass(slots=True)
class Died(Fact):
    """The process ended without a word."""

    def __str__(self) -> str:
        return "# the process is gone"


def _answer(answer: Answer) -> str:
    match answer:
        case Done():
            return "done"
        case Refused(reason):
            return f"refused, {reason}"
        case Unavailable(reason):
            return f"unavailable, {reason}"
    return type(answer).__name__.lower()


def _record(record: Record) -> str:
    match record:
        case Decided(direction, step, reason):
            return f"decided {direction}" + (f", {step or 'nobody'}: {reason}" if reason else "")
        case StepDone(step) | StepUndone(step) | StepNever(step):
            return f"{_name(record)} {step}"
        case StepRefused(step, reason) | StepResolving(step, reason):
            return f"{_name(record)} {step}, {reason}"
        case StepRetried(step, attempt, _, reason) | StepStuck(step, attempt, _, reason):
            return f"{_name(record)} {step}, attempt {attempt}, {reason}"
        case Intervened(step, action, by, reason):
            return f"intervened: {action} {step} by {by}, {reason}"
        case Ended(completed):
            return "ended, " + ("completed" if completed else "compensated")
    return _name(record)


def _name(record: Record) -> str:
    return str(record.__struct_config__.tag).replace("_", " ")


def _told(value: object) -> str:
    match value:
        case Completed():
            return "completed"
        case Compensated(step, reason):
            return f"compensated, {step or 'nobody'}: {reason}"
        case CancelAnswer():
            return str(value)
        case BaseException():
            return type(value).__name__
        case None:
            return "taken"
    return "yes"


def lines(facts: Sequence[Fact]) -> list[str]:
    """A trace as lines of time and fact."""
    return [f"{fact.at_s:9.3f}  {fact}" for fact in facts]


def last(lines: Sequence[str], most: int) -> list[str]:
    """The end of a trace, and how much of it was left out."""
    left_out = len(lines) - most
    return [f"... and {left_out} more before", *lines[left_out:]] if left_out > 0 else list(lines)
