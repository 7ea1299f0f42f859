"""Service: the base of every service, and what it gets for free.

A service is one actor with one database. It is asked to do, undo or resolve steps; handlers
declared with `@handles` and `@undoes` do the work. Each message runs in a savepoint with its
fence row, the turn commits once, and no answer leaves before that commit: an effect, the
memory of it and the answer are one. A handler that raises, or answers with something else
than an answer, has changed nothing and is reported as unavailable. What the saga makes of an
answer is not the service's business.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NewType

import apsw
import msgspec

from amends.actors import database
from amends.actors.fence import SCRIPTS, Fence, Row, Verdict, judge
from amends.actors.handlers import Handler, collect
from amends.actors.outside import OutsideAnswer, OutsideCalls
from amends.actors.transport.port import Transport
from amends.protocol import codec
from amends.protocol.errors import AmendsError, HandlerError
from amends.protocol.messages import (
    CANCELLED,
    Answer,
    Do,
    Done,
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
from amends.supervisor.actor import Actor, frames
from amends.supervisor.mailbox import DeadLetter

ServiceName = NewType("ServiceName", str)

EXPIRED = "expired"
_PHASES = {Do: "do", Undo: "undo", Resolve: "resolve"}
_PRUNE_EVERY_S = 60.0
_PRUNE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service and the arguments of its constructor; each incarnation is made from it."""

    service: "type[Service]"
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    def make(self) -> "Service":
        """One incarnation."""
        return self.service(*self.arguments, **dict(self.keywords))


@dataclass(frozen=True, slots=True)
class ServiceHome:
    """What a system gives each of its services.

    Attributes:
        path: the database file.
        retention_s: how long the fence remembers a step, in seconds.
    """

    path: Path
    transport: Transport
    retention_s: float


class _TurnLost(AmendsError):  # noqa: N818 - reads as the fact it reports
    """The turn's transaction is gone, with everything in it."""


class Service(Actor):
    """The base of every service.

    Class keywords:
        name: what plans and logs call it.
        migrations: SQL scripts of its own tables, in order; see `sql_files`.
        handler_timeout_s: a handler that runs for longer has hung, and the service is restarted without it.

    Attributes:
        db: the service's database, in a transaction while a handler runs.
    """

    name: ClassVar[str]
    migrations: ClassVar[tuple[str, ...]] = ()
    handler_timeout_s: ClassVar[float] = 5.0
    handlers: ClassVar[dict[str, Handler]] = {}
    db: apsw.Connection

    def __init_subclass__(
        cls, *, name: str, migrations: Sequence[str] = (), handler_timeout_s: float = 5.0, **rest: Any
    ) -> None:
        super().__init_subclass__(**rest)
        if not name.replace("-", "").replace("_", "").isalnum():
            raise HandlerError(f"{cls.__name__}: name is {name!r}, wanted letters, digits, '-' and '_'")
        taken = [n for n in vars(cls) if n.startswith("_") and not n.startswith("__") and hasattr(Service, n)]
        if taken:
            raise HandlerError(f"{cls.__name__}: {taken} are names that Service uses itself; choose others")
        cls.name, cls.migrations, cls.handler_timeout_s = name, tuple(migrations), handler_timeout_s
        cls.handlers = collect(cls, dict(sys._getframe(1).f_locals))

    @classmethod
    def spec(cls, *arguments: Any, **keywords: Any) -> ServiceSpec:
        """This service with the arguments of its constructor, for `System(services=[...])`."""
        return ServiceSpec(cls, arguments, tuple(keywords.items()))

    def settle_in(self, home: ServiceHome) -> None:
        """Called by the system before the first turn."""
        self._home = home

    # Life.

    def on_start(self) -> None:
        scripts = {"amends": SCRIPTS, "service": self.migrations}
        self.db = database.open_database(self._home.path, database.SERVICE_ID, scripts)
        self._fence = Fence(self.db)
        self._outside = OutsideCalls(self)
        self._in_transaction = False
        self._asked: list[Message] = []
        self._blocked = False
        self._prune_due_s = self.clock.now_s() + _PRUNE_EVERY_S

    def let_go(self, *, hung: bool) -> None:
        if "db" not in self.__dict__:
            return
        if hung:
            # The handler must not keep the write lock; its next statement fails.
            self.db.interrupt()
        self.db.close(hung)

    def on_stop(self) -> None:
        self.db.close()

    # A turn.

    def on_receive(self, message: Message | OutsideAnswer) -> None:
        if isinstance(message, Message):
            self._asked.append(message)
        try:
            self._begin()
            if isinstance(message, OutsideAnswer):
                self._on_outside_answer(message)
            else:
                self._on_message(message)
        except _TurnLost as error:
            self._lose_turn(str(error))
            if isinstance(message, OutsideAnswer):
                self._outside.answered(message, Unavailable(str(error)))

    def settle(self) -> None:
        if self._in_transaction:
            try:
                self._in_transaction = False
                self.db.execute("commit")
            except apsw.Error as error:
                self._lose_turn(str(error))
            else:
                self._asked.clear()
                self._blocked = False
                self._outside.begin()
        self._prune()

    def _begin(self) -> None:
        if self._in_transaction:
            return
        try:
            self.db.execute("begin immediate")
        except apsw.Error as error:
            raise _TurnLost(str(error)) from error
        self._in_transaction = True

    def _lose_turn(self, reason: str) -> None:
        """Nothing of this turn happened: whoever asked in it may ask again."""
        self._in_transaction = False
        if self.db.in_transaction:
            self.db.execute("rollback")
        self._outbox.clear()
        self._outside.forget_turn()
        asked, self._asked = self._asked, []
        for message in asked:
            self._reply(message, Unavailable(f"service {self.name!r} can't write: {reason}"))
        if not self._blocked:
            self._blocked = True
            telemetry.log.error(telemetry.SERVICE_BLOCKED, service=self.name, reason=reason)

    def _on_message(self, message: Message) -> None:
        try:
            row, newest_token = self._fence.look_up(message.saga_id, message.step)
            verdict = judge(message, row, newest_token, self.clock.now_at())
            answer = self._obey(verdict, message, row)
            if row is not None and message.token > row.token:
                self._fence.record_token(message)
        except apsw.Error as error:
            raise _TurnLost(str(error)) from error
        if answer is not None:
            self._reply(message, answer)

    def _obey(self, verdict: Verdict, message: Message, row: Row | None) -> Answer | None:
        match verdict:
            case Verdict.RUN:
                assert isinstance(message, Do)
                return self._run(message)
            case Verdict.UNDO:
                assert row is not None
                return self._undo(message, row)
            case Verdict.BURY:
                self._fence.record_undone(message, self.clock.now_at())
                return Undone() if isinstance(message, Undo) else Never()
            case Verdict.REPEAT:
                assert row is not None
                return _recorded(row)
            case Verdict.IS_UNDONE:
                return Undone()
            case Verdict.IS_CANCELLED:
                return Refused(CANCELLED)
            case Verdict.IS_NEVER:
                return Never()
            case Verdict.EXPIRED:
                return Refused(EXPIRED)
            case Verdict.WAIT:
                assert row is not None
                self._outside.wait(message, row, self.handlers.get(row.command or ""))
                return None
            case Verdict.OTHER_PAYLOAD:
                self._report(message, "the same key with another payload")
                return Unavailable("the same key was used with another payload")
            case Verdict.OUTDATED:
                self._bury(message, f"token {message.token} is older than one already seen for its saga")
                return None

    # Handlers.

    def _run(self, message: Do) -> Answer | None:
        handler = self.handlers.get(message.command)
        if handler is None:
            self._report(message, f"no handler for {message.command}")
            return Unavailable(f"service {self.name!r} does not handle {message.command}")
        if handler.outside:
            self._fence.record_do(message, "begun", None, self.clock.now_at())
            self._outside.plan(message, handler)
            return None
        self.db.execute("savepoint amends")
        answer = self._call(message, handler, lambda command: handler.run(self, command))
        if isinstance(answer, Done):
            self._fence.record_do(message, "done", _text(answer.result), self.clock.now_at())
        else:
            self.db.execute("rollback to amends")
            if isinstance(answer, Refused):
                self._fence.record_do(message, "refused", answer.reason, self.clock.now_at())
        self.db.execute("release amends")
        return answer

    def _undo(self, message: Message, row: Row) -> Answer:
        assert row.command is not None
        assert row.payload is not None
        handler = self.handlers.get(row.command)
        if handler is None or handler.undo is None:
            self._report(message, f"no undo for {row.command}")
            return Unavailable(f"service {self.name!r} can't undo {row.command}")
        self.db.execute("savepoint amends")
        failed = self._try_undo(message, row, handler)
        if failed is None:
            self._fence.record_undone(message, self.clock.now_at())
        else:
            self.db.execute("rollback to amends")
        self.db.execute("release amends")
        return Undone() if failed is None else failed

    def _try_undo(self, message: Message, row: Row, handler: Handler) -> Unavailable | None:
        assert handler.undo is not None
        try:
            command: object = codec.decode(handler.command, (row.payload or "").encode(), f"service {self.name!r}")
            result: object = codec.decode(handler.result, (row.answer or "null").encode(), f"service {self.name!r}")
            answer = handler.undo(self, command, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step is not undone yet
            return self._raised(message, error)
        if answer is None or isinstance(answer, Unavailable):
            return answer
        self._report(message, f"the undo of {row.command} returned {type(answer).__name__}")
        return Unavailable(f"the undo returned {type(answer).__name__}, wanted None or Unavailable")

    def _call(self, message: Do, handler: Handler, run: Callable[[Any], Any]) -> Answer:
        """Run a handler and make sure that what comes back is an answer."""
        try:
            command: object = codec.decode(
                handler.command, message.payload, f"service {self.name!r}: {message.command}"
            )
            return self._checked(message, handler, run(command))
        except Exception as error:  # noqa: BLE001 - whatever it is, we do not know what happened
            return self._raised(message, error)

    def _checked(self, message: Do, handler: Handler, answer: object) -> Answer:
        if isinstance(answer, Refused | Unavailable):
            return answer
        if isinstance(answer, Done):
            return Done(msgspec.Raw(codec.checked(handler.result, answer.result, f"result of {message.command}")))
        found = type(answer).__name__
        self._report(message, f"returned {found}")
        return Unavailable(f"the handler returned {found}, wanted Done, Refused or Unavailable")

    def _raised(self, message: Message, error: Exception) -> Unavailable:
        if isinstance(error, apsw.Error) and not self.db.in_transaction:
            # A full disk or an I/O error may take the whole transaction with it.
            raise _TurnLost(str(error)) from error
        self._report(message, type(error).__name__, frames(error.__traceback__))
        return Unavailable(f"the handler raised {type(error).__name__}")

    # Calls outside.

    def _on_outside_answer(self, told: OutsideAnswer) -> None:
        message = told.message
        answer = self._checked_outside(told)
        if answer is not None and not isinstance(answer, Unavailable):
            state, text = ("done", _text(answer.result)) if isinstance(answer, Done) else ("refused", answer.reason)  # type: ignore[union-attr]
            try:
                self._fence.record_answer(message.saga_id, message.step, state, text, self.clock.now_at())
            except apsw.Error as error:
                raise _TurnLost(str(error)) from error
        self._outside.answered(told, answer)

    def _checked_outside(self, told: OutsideAnswer) -> Answer | None:
        if told.error is not None:
            self._report(told.message, type(told.error).__name__, frames(told.error.__traceback__))
            return Unavailable(f"the handler raised {type(told.error).__name__}")
        return None if told.never_arrived else self._checked(told.message, told.handler, told.answer)

    # Answers.

    def _reply(self, message: Message, answer: Answer) -> None:
        reply = Reply(message.saga_id, message.step, _PHASES[type(message)], message.attempt, answer)
        for address, letter in self._home.transport.to_saga(reply):
            self.tell(address, letter)

    def _report(self, message: Message, error: str, traceback: str = "") -> None:
        telemetry.log.error(
            telemetry.HANDLER_FAILED,
            service=self.name,
            command=message.command if isinstance(message, Do) else _PHASES[type(message)],
            saga_id=message.saga_id,
            step=message.step,
            error=error,
            traceback=traceback,
        )

    def _bury(self, message: Message, reason: str) -> None:
        if self.address.dead is not None:
            self.tell(self.address.dead, DeadLetter(self.address.name, message, reason))

    def _prune(self) -> None:
        now_s = self.clock.now_s()
        if now_s >= self._prune_due_s:
            self._prune_due_s = now_s + _PRUNE_EVERY_S
            with self.db:
                self._fence.prune(self.clock.now_at() - self._home.retention_s, _PRUNE_LIMIT)


def _text(result: object) -> str:
    assert isinstance(result, msgspec.Raw)
    return bytes(result).decode()


def _recorded(row: Row) -> Answer:
    if row.state == "done":
        return Done(msgspec.Raw((row.answer or "null").encode()))
    return Refused(row.answer or "")
