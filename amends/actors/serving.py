"""Serving: what a service does with the messages of one turn, in one transaction.

The fence says what each message means, handlers do the work, and the turn commits once: an
effect, the memory of it and the answer are one. What a handler wrote counts only if it
answered `Done`: the turn is run without savepoints first, and if one of its handlers wrote
something and then refused, failed or raised, it is rolled back and run again with a savepoint
around each. Whoever asked hears nothing before the commit; if that fails, all of them hear
that the service is unavailable.
"""

from collections.abc import Callable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from amends.actors.fence import Fence, FenceDamaged, Row, Verdict, judge
from amends.actors.handlers import Handler
from amends.actors.outside import OutsideAnswer, OutsideCalls
from amends.protocol import codec
from amends.protocol.errors import AmendsError, InputError
from amends.protocol.messages import (
    CANCELLED,
    Answer,
    Do,
    Done,
    IdempotencyKey,
    Message,
    Never,
    Refused,
    Reply,
    Resolve,
    Unavailable,
    Undo,
    Undone,
)
from amends.supervisor import telemetry
from amends.supervisor.actor import frames
from amends.supervisor.mailbox import DeadLetter

if TYPE_CHECKING:
    from amends.actors.service import Service
    from amends.actors.transport.port import Transport

EXPIRED = "expired"
_PHASES = {Do: "do", Undo: "undo", Resolve: "resolve"}
_NOTHING = Done(msgspec.Raw(b"null"))


class TurnLost(AmendsError):  # noqa: N818 - reads as the fact it reports
    """The turn's transaction is gone, with everything in it."""


class _WroteForNothing(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A handler wrote something that must not stay, and no savepoint stands before it."""


class Serving:
    """The turns of one incarnation of a service.

    Args:
        handlers: by command name.
        under_way: keys of the calls outside that run now.
    """

    def __init__(
        self,
        service: "Service",
        db: apsw.Connection,
        handlers: dict[str, Handler],
        transport: "Transport",
        under_way: set[IdempotencyKey],
    ) -> None:
        self._service = service
        self._name = service.name
        self._db = db
        self._handlers = handlers
        self._transport = transport
        self.fence = Fence(db)
        self._outside = OutsideCalls(self, service.address, under_way)
        self._answers: list[tuple[Message, Answer]] = []
        self._outdated: list[DeadLetter] = []
        self._careful = False
        self._blocked = False

    def serve(self, told: Sequence[Message | OutsideAnswer], places: Sequence[int]) -> None:
        """Everything a turn was told, and the answers to it; `places` are those of its letters."""
        self._places = places
        try:
            self._serve_in_transaction(told)
        except TurnLost as error:
            self._lose(told, str(error))
        else:
            self._blocked = False
            self._outside.begin()
        for dead_letter in self._outdated:
            if self._service.address.dead is not None:
                self._service.tell(self._service.address.dead, dead_letter)
        for message, answer in self._answers:
            reply = Reply(message.saga_id, message.step, _PHASES[type(message)], message.attempt, answer)
            for address, letter in self._transport.to_saga(reply):
                self._service.tell(address, letter)
        self._outdated.clear()
        self._answers.clear()

    def _serve_in_transaction(self, told: Sequence[Message | OutsideAnswer]) -> None:
        # A call's answer changes what is remembered of calls, which no rollback restores: it is served once only.
        self._careful = any(isinstance(message, OutsideAnswer) for message in told)
        try:
            self._attempt(told)
        except _WroteForNothing:
            self._roll_back()
            self._careful = True
            self._attempt(told)

    def _attempt(self, told: Sequence[Message | OutsideAnswer]) -> None:
        try:
            self._db.execute("begin immediate")
            self.fence.load([m.message.saga_id if isinstance(m, OutsideAnswer) else m.saga_id for m in told])
            for place, message in zip(self._places, told, strict=True):
                self._service.address.take_up(self._service, place)
                try:
                    if isinstance(message, OutsideAnswer):
                        self._on_outside_answer(message)
                    else:
                        self.serve_one(message)
                except FenceDamaged as error:
                    self._on_damaged(message, error)
            self.fence.write()
            self._db.execute("commit")
        except apsw.Error as error:
            raise TurnLost(str(error)) from error

    def _on_damaged(self, message: Message | OutsideAnswer, error: FenceDamaged) -> None:
        """Nobody knows what was done, so nothing is; all other instances are served."""
        asked = message.message if isinstance(message, OutsideAnswer) else message
        self._report(asked, str(error))
        unavailable = Unavailable(f"service {self._name!r}: {error}")
        if isinstance(message, OutsideAnswer):
            self._outside.answered(message, unavailable)
        else:
            self.reply(asked, unavailable)

    def _roll_back(self) -> None:
        self._answers.clear()
        self._outdated.clear()
        self._outside.forget_turn()
        if self._db.in_transaction:
            self._db.execute("rollback")

    def _lose(self, told: Sequence[Message | OutsideAnswer], reason: str) -> None:
        """Nothing of this turn happened: whoever asked in it may ask again."""
        self._roll_back()
        unavailable = Unavailable(f"service {self._name!r} can't write: {reason}")
        for message in told:
            if isinstance(message, OutsideAnswer):
                self._outside.answered(message, unavailable)
            else:
                self.reply(message, unavailable)
        if not self._blocked:
            self._blocked = True
            telemetry.log.error(telemetry.SERVICE_BLOCKED, service=self._name, reason=reason)

    # One message.

    def serve_one(self, message: Message) -> None:
        """Obey one message, within the turn's transaction."""
        row, newest_token = self.fence.look_up(message.saga_id, message.step)
        verdict = judge(message, row, newest_token, self._now_at())
        answer = self._obey(verdict, message, row)
        if row is not None and message.token > row.token:
            self.fence.record_token(message, self._now_at())
        if answer is not None:
            self.reply(message, answer)

    def bury(self, message: Message) -> None:
        """The step has not happened: see that it never will."""
        self.fence.record_undone(message, self._now_at())
        self.reply(message, Undone() if isinstance(message, Undo) else Never())

    def reply(self, message: Message, answer: Answer) -> None:
        """Answer once the turn has committed."""
        self._answers.append((message, answer))

    def _obey(self, verdict: Verdict, message: Message, row: Row | None) -> Answer | None:
        if verdict is _RUN and isinstance(message, Do):
            return self._run(message)
        match verdict, message, row:
            case Verdict.UNDO, _, Row():
                return self._undo(message, row)
            case Verdict.REPEAT, _, Row():
                return _recorded(message, row)
            case Verdict.WAIT, _, Row():
                self._outside.wait(message, row, self._handlers.get(row.command or ""))
            case Verdict.BURY, _, _:
                self.bury(message)
            case Verdict.EXPIRED, Do(), _:
                # Recorded, so that a later attempt, which may not have expired, gets the same answer.
                self.fence.record_do(message, "refused", EXPIRED, self._now_at())
                return Refused(EXPIRED)
            case Verdict.OTHER_PAYLOAD, _, _:
                self._report(message, "the same key with another payload")
                return Unavailable("the same key was used with another payload")
            case Verdict.OUTDATED, _, _:
                reason = f"token {message.token} is older than one already seen for its saga"
                self._outdated.append(DeadLetter(self._name, message, reason))
        return _FIXED.get(verdict)

    # Handlers.

    def _run(self, message: Do) -> Answer | None:
        handler = self._handlers.get(message.command)
        if handler is None:
            self._report(message, f"no handler for {message.command}")
            return Unavailable(f"service {self._name!r} does not handle {message.command}")
        if handler.outside:
            self.fence.record_do(message, "begun", None, self._now_at())
            self._outside.plan(message, handler)
            return None
        answer = self._guarded(lambda: self._call(message, handler))
        if isinstance(answer, Done):
            self.fence.record_do(message, "done", _text(answer), self._now_at())
        elif isinstance(answer, Refused):
            self.fence.record_do(message, "refused", answer.reason, self._now_at())
        return answer

    def _undo(self, message: Message, row: Row) -> Answer:
        handler = self._handlers.get(row.command or "")
        if handler is None or handler.undo is None:
            self._report(message, f"no undo for {row.command}")
            return Unavailable(f"service {self._name!r} can't undo {row.command}")
        answer = self._guarded(lambda: self._call_undo(message, row, handler))
        if isinstance(answer, Done):
            self.fence.record_undone(message, self._now_at())
            return Undone()
        return answer

    def _guarded(self, call: Callable[[], Answer]) -> Answer:
        """Call, and see that nothing it wrote stays unless it answers Done."""
        if not self._careful:
            before = self._db.total_changes()
            answer = self._within(call)
            if not isinstance(answer, Done) and self._db.total_changes() != before:
                raise _WroteForNothing
            return answer
        self._db.execute("savepoint amends")
        answer = self._within(call)
        if not isinstance(answer, Done):
            self._db.execute("rollback to amends")
        self._db.execute("release amends")
        return answer

    def _within(self, call: Callable[[], Answer]) -> Answer:
        """Call, and see that the turn's transaction is still there: a full disk may end it under a careless handler."""
        self._db.set_rollback_hook(self._refuse_statements)
        try:
            answer = call()
        finally:
            self._db.set_rollback_hook(None)
            self._db.exec_trace = None
        if not self._db.in_transaction:
            raise TurnLost("the transaction ended while a handler ran")
        return answer

    def _refuse_statements(self) -> None:
        # What a handler still writes would be a transaction of its own, and stay.
        self._db.exec_trace = lambda *_: False

    def _call(self, message: Do, handler: Handler) -> Answer:
        try:
            command: object = codec.decode(handler.command, message.payload, f"service {self._name!r}")
            return self._checked(message, handler, handler.run(self._service, command))
        except Exception as error:  # noqa: BLE001 - whatever it is, we do not know what happened
            return self._raised(message, error)

    def _call_undo(self, message: Message, row: Row, handler: Handler) -> Answer:
        assert handler.undo is not None
        where = f"service {self._name!r}"
        try:
            command: object = codec.decode(handler.command, (row.payload or "").encode(), where)
            result: object = codec.decode(handler.result, (row.answer or "null").encode(), where)
            answer = handler.undo(self._service, command, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step is not undone yet
            return self._raised(message, error)
        if answer is None:
            return _NOTHING
        if isinstance(answer, Unavailable):
            return answer
        self._report(message, f"the undo of {row.command} returned {type(answer).__name__}")
        return Unavailable(f"the undo returned {type(answer).__name__}, wanted None or Unavailable")

    def _checked(self, message: Do, handler: Handler, answer: object) -> Answer:
        """Make sure that what a handler came back with is an answer, of the type it declared."""
        if isinstance(answer, Done):
            if answer.result is None and handler.result is NoneType:
                return _NOTHING
            return Done(msgspec.Raw(codec.checked(handler.result, answer.result, f"result of {message.command}")))
        if isinstance(answer, Refused | Unavailable):
            return answer
        found = type(answer).__name__
        self._report(message, f"returned {found}")
        return Unavailable(f"the handler returned {found}, wanted Done, Refused or Unavailable")

    def _raised(self, message: Message, error: Exception) -> Unavailable:
        if isinstance(error, apsw.Error) and not self._db.in_transaction:
            # A full disk or an I/O error may take the whole transaction with it.
            raise TurnLost(str(error)) from error
        self._report(message, type(error).__name__, frames(error.__traceback__))
        return Unavailable(f"the handler raised {type(error).__name__}")

    # Calls outside.

    def _on_outside_answer(self, told: OutsideAnswer) -> None:
        answer = self._checked_outside(told)
        if isinstance(answer, Done):
            self.fence.record_answer(told.message, "done", _text(answer), self._now_at())
        elif isinstance(answer, Refused):
            self.fence.record_answer(told.message, "refused", answer.reason, self._now_at())
        self._outside.answered(told, answer)

    def _checked_outside(self, told: OutsideAnswer) -> Answer | None:
        if told.error is not None:
            self._report(told.message, type(told.error).__name__, frames(told.error.__traceback__))
            return Unavailable(f"the handler raised {type(told.error).__name__}")
        return None if told.never_arrived else self._checked(told.message, told.handler, told.answer)

    def call_outside(self, call: Callable[[], None]) -> None:
        """Let a call go, beside all turns."""
        self._service.address.runtime.outside(call)

    def run_outside(self, message: Do, handler: Handler, run: Callable[..., Any]) -> Any:
        """In the call's own thread: what the method comes back with."""
        command: object = codec.decode(handler.command, message.payload, f"service {self._name!r}")
        return run(self._service, command, message.key)

    def _now_at(self) -> float:
        return self._service.clock.now_at()

    def _report(self, message: Message, error: str, traceback: str = "") -> None:
        telemetry.log.error(
            telemetry.HANDLER_FAILED,
            service=self._name,
            command=message.command if isinstance(message, Do) else _PHASES[type(message)],
            saga_id=message.saga_id,
            step=message.step,
            error=error,
            traceback=traceback,
        )


# Before Python 3.12 a member looked up in its enum costs many times a global, and this one is for every message.
_RUN = Verdict.RUN

_FIXED: dict[Verdict, Answer] = {
    Verdict.IS_UNDONE: Undone(),
    Verdict.IS_CANCELLED: Refused(CANCELLED),
    Verdict.IS_NEVER: Never(),
}


def _text(answer: Done[msgspec.Raw]) -> str:
    return bytes(answer.result).decode()


def _recorded(message: Message, row: Row) -> Answer:
    if row.state != "done":
        return Refused(row.answer or "")
    result = (row.answer or "null").encode()
    try:
        codec.decode(object, result, "fence")
    except InputError:
        # The journal would take it as it is, and no program could read that instance any more.
        raise FenceDamaged(message.saga_id) from None
    return Done(msgspec.Raw(result))
