"""Running a handler or an undo inside a turn's transaction, so that what it wrote stays only if it may.

What a handler wrote counts if it answered `Done` or `Later`. Usually no savepoint stands before
it: if something was written for nothing, the turn is to be rolled back and run again with
`careful` set, and then there is one around each. Whatever a handler raises is an answer here.
"""

import threading
from collections.abc import Callable
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from amends.actors.database.port import Database
from amends.actors.fence import Row
from amends.actors.handlers import Handler
from amends.actors.later import LaterSteps
from amends.protocol import codec
from amends.protocol.errors import AmendsError
from amends.protocol.messages import Answer, Do, Done, Later, Message, Refused, Resolve, Unavailable, Undo
from amends.supervisor import telemetry
from amends.supervisor.actor import frames

if TYPE_CHECKING:
    from amends.actors.service import Service

PHASES: Final = {Do: "do", Undo: "undo", Resolve: "resolve"}
"""Kinds of messages, as replies and logs call them."""

NOTHING: Final = Done(msgspec.Raw(b"null"))

Call = Callable[[], Answer | Later]
"""A handler or an undo, with all it is called with."""

_STAYS: Final = (Done, Later)
"""Answers with which what was written stays."""


class WroteForNothing(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A handler wrote something that must not stay, and no savepoint stands before it."""


class Running:
    """What one incarnation of a service runs, one after the other.

    Args:
        later: the steps that handlers wake.

    Attributes:
        careful: whether a savepoint stands before each handler of this turn.
    """

    def __init__(self, service: "Service", db: Database, later: LaterSteps) -> None:
        self.careful = False
        self._in_hand: Message | None = None
        self._thread = 0
        self._service = service
        self._where = f"service {service.name!r}"
        self._db = db
        self._later = later

    @property
    def in_hand(self) -> Message | None:
        """What a handler or an undo is run for; None between them, and for calls outside, which run beside them."""
        return self._in_hand if threading.get_ident() == self._thread else None

    def _take(self, message: Message) -> None:
        self._in_hand = message
        self._thread = threading.get_ident()

    def do(self, message: Do, handler: Handler) -> Answer | Later:
        """Run the handler, for its answer."""
        return self.guarded(lambda: self._do(message, handler))

    def undo(self, message: Message, row: Row, handler: Handler) -> Answer | Later:
        """Run the undo; `Done` is that it came back with nothing."""
        return self.guarded(lambda: self._undo(message, row, handler))

    def guarded(self, call: Call) -> Answer | Later:
        """Call, and see that nothing it wrote stays, and nobody it woke is, unless its answer says so."""
        woken = self._later.woken
        if not self.careful:
            before = self._db.total_changes()
            answer = self.within(call)
            stays = isinstance(answer, _STAYS)
            if not stays and self._db.total_changes() != before:
                raise WroteForNothing
        else:
            self._db.savepoint("amends")
            answer = self.within(call)
            stays = isinstance(answer, _STAYS)
            if not stays:
                self._db.rollback_to("amends")
            self._db.release("amends")
        if not stays:
            self._later.wake_only(woken)
        return answer

    def within(self, call: Call) -> Answer | Later:
        """Call, and see that the turn's transaction is still there, whatever the handler made of an error."""
        try:
            answer = call()
        finally:
            self._in_hand = None
        trouble = self._db.trouble
        if trouble is not None:
            raise trouble
        return answer

    def _do(self, message: Do, handler: Handler) -> Answer | Later:
        self._take(message)
        try:
            command: object = codec.decode(handler.command, message.payload, self._where)
            answer = handler.run(self._service, command)
            if handler.later and isinstance(answer, Later):
                return answer
            return self.checked(message, handler, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, we do not know what happened
            return self._raised(message, error)

    def _undo(self, message: Message, row: Row, handler: Handler) -> Answer | Later:
        assert handler.undo is not None
        self._take(message)
        try:
            answer = handler.undo(self._service, *self._undo_arguments(row, handler))
        except Exception as error:  # noqa: BLE001 - whatever it is, the step is not undone yet
            return self._raised(message, error)
        return answer if isinstance(answer, Later) else self.checked_undo(message, answer, "None, Unavailable or Later")

    # Outside of the turn, in a call's own thread.

    def run_outside(self, message: Do, handler: Handler, run: Callable[..., Any]) -> Any:
        """What the handler, or the method that verifies, comes back with."""
        command: object = codec.decode(handler.command, message.payload, self._where)
        return run(self._service, command, message.key)

    def undo_outside(self, message: Message, row: Row, handler: Handler) -> Any:
        """What the undo comes back with."""
        assert handler.undo is not None
        return handler.undo(self._service, *self._undo_arguments(row, handler), message.key)

    # What is common to both.

    def _undo_arguments(self, row: Row, handler: Handler) -> tuple[Any, Any]:
        """The command and its result; None if the step was never answered."""
        command: object = codec.decode(handler.command, (row.payload or "").encode(), self._where)
        if row.result is None:
            return command, None
        return command, codec.decode(handler.result, row.result.encode(), self._where)

    def checked(self, message: Message, handler: Handler, answer: object) -> Answer:
        """Make sure that what a handler came back with is an answer, of the type it declared."""
        if isinstance(answer, Done):
            if answer.result is None and handler.result is NoneType:
                return NOTHING
            where = f"result of {handler.command.__name__}"
            return Done(msgspec.Raw(codec.checked(handler.result, answer.result, where)))
        if isinstance(answer, Refused | Unavailable):
            return answer
        found = type(answer).__name__
        self.report(message, f"returned {found}")
        return Unavailable(f"the handler returned {found}, wanted {handler.answers}")

    def checked_undo(self, message: Message, answer: object, wanted: str) -> Answer:
        """The same of an undo; `Done` is that it came back with nothing."""
        if answer is None:
            return NOTHING
        if isinstance(answer, Unavailable):
            return answer
        found = type(answer).__name__
        self.report(message, f"the undo returned {found}")
        return Unavailable(f"the undo returned {found}, wanted {wanted}")

    def report(self, message: Message, error: str, traceback: str = "") -> None:
        """Say that a handler has failed."""
        telemetry.log.error(
            telemetry.HANDLER_FAILED,
            service=self._service.name,
            command=message.command if isinstance(message, Do) else PHASES[type(message)],
            saga_id=message.saga_id,
            step=message.step,
            error=error,
            traceback=traceback,
        )

    def _raised(self, message: Message, error: Exception) -> Unavailable:
        if self._db.trouble is None:  # else the turn's fault, and not the handler's
            self.report(message, type(error).__name__, frames(error.__traceback__))
        return Unavailable(f"the handler raised {type(error).__name__}")
