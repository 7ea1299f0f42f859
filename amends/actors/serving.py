"""Serving: what a service does with the messages of one turn, in one transaction.

The fence says what each message means, handlers do the work, and the turn commits once: an
effect, the memory of it and the answer are one. How a turn gets its transaction, and is run again, is
`transactions`' business. Steps that wait and are woken in a turn are served in it. Whoever asked
hears nothing before the commit; if that fails, all of them hear that the service is unavailable,
and if nobody knows whether it did, they hear nothing and ask again.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from amends.actors.database.port import Database
from amends.actors.fence import REFUSED, UNDONE, Fence, FenceDamaged, Row, Verdict, judge, recorded
from amends.actors.handlers import Handler
from amends.actors.later import RANKS, LaterSteps
from amends.actors.outside import OutsideAnswer, OutsideCalls, UnderWay
from amends.actors.running import PHASES, Running
from amends.actors.taking_back import OURS, TakingBack
from amends.actors.transactions import Transactions, TurnLost
from amends.protocol.messages import (
    CANCELLED,
    Answer,
    Do,
    Done,
    IdempotencyKey,
    Later,
    Message,
    Never,
    Refused,
    Reply,
    Resolve,
    SagaId,
    Unavailable,
    Undo,
    Undone,
)
from amends.supervisor import telemetry
from amends.supervisor.mailbox import DeadLetter

if TYPE_CHECKING:
    from amends.actors.service import Service
    from amends.actors.transport.port import Transport

EXPIRED = "expired"
_DUE_LIMIT = 100
"""Steps that are asked again in one turn because their time has come."""

_WAKES_LIMIT = 10
"""How often one step is woken after one message; beyond that it is asked again after `_PUT_OFF_S`."""

_PUT_OFF_S = 1.0

_POLL_S = 1.0
"""How often a step that waits is asked again where it may be another process that does what it waits for."""


class Serving:
    """The turns of one incarnation of a service.

    Args:
        handlers: by command name.
        under_way: the calls outside that run now.

    Attributes:
        blocked: why nothing could be written in the last turn; empty if it could.
    """

    def __init__(
        self,
        service: "Service",
        db: Database,
        handlers: dict[str, Handler],
        transport: "Transport",
        under_way: UnderWay,
    ) -> None:
        self._service = service
        self._name = service.name
        self._db = db
        self._handlers = handlers
        self._transport = transport
        self.fence = Fence(db)
        self._outside = OutsideCalls(self, service.address, under_way)
        self.later = LaterSteps()
        self.running = Running(service, db, self.later)
        self.report = self.running.report
        self._transactions = Transactions(db, self.running, service.clock, self._forget_turn)
        self._answers: list[tuple[Message, Answer]] = []
        self._outdated: list[DeadLetter] = []
        self.blocked = ""
        self._taking_back = TakingBack(self, self.fence, service.name)

    @property
    def wakes_at_s(self) -> float:
        """When there is something to serve even without a message; infinity if never."""
        return min(self.later.next_due_s(), self._outside.next_due_s(), self._taking_back.due_s)

    def serve(self, told: Sequence[Message | OutsideAnswer], places: Sequence[int]) -> None:
        """Everything a turn was told, what waits and is due now, and the answers; `places` are those of its letters."""
        self._places = places
        now_s = self.now_s()
        due = self.later.take_due(now_s, _DUE_LIMIT)
        self._late = self._taking_back.take_due(now_s)
        if told or due or self._late:
            self._take_turn(told, due)
        self._outside.give_up()
        self.later.commit()
        for dead_letter in self._outdated:
            if self._service.address.dead is not None:
                self._service.tell(self._service.address.dead, dead_letter)
        for message, answer in self._answers:
            phase, reply_to = PHASES[type(message)], message.reply_to
            reply = Reply(message.saga_id, message.step, phase, message.attempt, answer, reply_to)
            for address, letter in self._transport.to_saga(reply):
                self._service.tell(address, letter)
        self._outdated.clear()
        self._answers.clear()

    def _take_turn(self, told: Sequence[Message | OutsideAnswer], due: Sequence[IdempotencyKey]) -> None:
        try:
            self._serve_in_transaction(told, due)
        except TurnLost as lost:
            self._lose(told, due, lost)
        else:
            self.blocked = ""
            self._outside.begin()

    def _serve_in_transaction(self, told: Sequence[Message | OutsideAnswer], due: Sequence[IdempotencyKey]) -> None:
        names = [m.message.saga_id if isinstance(m, OutsideAnswer) else m.saga_id for m in told]
        names += [key.saga_id for key in (*due, *self._late)]
        # A call's answer changes what is remembered of calls, which no rollback restores: it is served once only.
        once = any(isinstance(message, OutsideAnswer) for message in told)
        self._transactions.run(names, lambda: self._serve_all(names, told, due), once=once)

    def _serve_all(
        self, names: Sequence[SagaId], told: Sequence[Message | OutsideAnswer], due: Sequence[IdempotencyKey]
    ) -> None:
        self.fence.load(names)
        for place, message in zip(self._places, told, strict=True):
            self._service.address.take_up(self._service, place)
            try:
                if isinstance(message, OutsideAnswer):
                    self._on_outside_answer(message)
                else:
                    self.serve_one(message)
            except FenceDamaged as error:
                self._on_damaged(message, error)
            if self.later.woken:
                self._serve_woken(place)
        for key in due:
            self.later.wake(key)
            self._serve_woken(None)
        for key in self._late:
            self._undo_late(key)
            self._serve_woken(None)
        self.fence.write()

    def _serve_woken(self, place: int | None) -> None:
        """Run again those who wait and were woken, and those they wake, in order.

        Args:
            place: of the letter in which it began; None if none did.
        """
        wakes: dict[IdempotencyKey, int] = {}
        while self.later.woken:
            key = self.later.next_woken()
            wakes[key] = wakes.get(key, 0) + 1
            if wakes[key] > _WAKES_LIMIT:
                # Two that keep waking each other would never end.
                self.later.put_off(key, self.now_s() + _PUT_OFF_S)
                continue
            message = self.later.message(key)
            if message is not None:
                # Each has the time of a message of its own.
                self._service.address.take_up(self._service, place)
                self._serve_waiting(message, key)

    def _serve_waiting(self, message: Message, key: IdempotencyKey) -> None:
        if not self.fence.load_more(message.saga_id):
            self.later.put_off(key, self.now_s() + _PUT_OFF_S)
            return
        try:
            row, newest_token = self.fence.look_up(message.saga_id, message.step)
            if message.token < newest_token:
                self.later.take(key)  # whoever has the newer grant asks again
                return
            if row is not None and row.state != "begun":
                self.later.take(key)  # another process has brought it to its end
            self.serve_one(message)
        except FenceDamaged as error:
            self._on_damaged(message, error)
            self.later.take(key)

    def _undo_late(self, key: IdempotencyKey) -> None:
        undo = Undo(service=self._name, saga_id=key.saga_id, step=key.step, attempt=OURS, token=0)
        self.fence.load_more(key.saga_id)
        try:
            row, newest_token = self.fence.look_up(key.saga_id, key.step)
            if row is None or not row.is_late:
                return
            if self.later.message(key) is not None:
                self.later.wake(key)  # its undo has answered `Later`
                return
            self._service.address.take_up(self._service, None)
            self.serve_one(msgspec.structs.replace(undo, token=newest_token))
        except FenceDamaged as error:
            self._on_damaged(undo, error)

    def _on_damaged(self, message: Message | OutsideAnswer, error: FenceDamaged) -> None:
        """Nobody knows what was done, so nothing is; all other instances are served."""
        asked = message.message if isinstance(message, OutsideAnswer) else message
        self.report(asked, str(error))
        unavailable = Unavailable(f"service {self._name!r}: {error}")
        if isinstance(message, OutsideAnswer):
            self._outside.answered(message, unavailable)
        else:
            self.reply(asked, unavailable)

    def _forget_turn(self) -> None:
        self._answers.clear()
        self._outdated.clear()
        self._outside.forget_turn()
        self.later.forget_turn()

    def _lose(self, told: Sequence[Message | OutsideAnswer], due: Sequence[IdempotencyKey], lost: TurnLost) -> None:
        """Nothing of this turn happened, and whoever asked in it may ask again; or who knows, then nobody is told."""
        reason = str(lost)
        unavailable = Unavailable(f"service {self._name!r} can't write: {reason}")
        for message in told:
            if isinstance(message, OutsideAnswer):
                self._outside.lost(message, unavailable)
            else:
                self.reply(message, unavailable)
        for waiting in map(self.later.take, due):
            if waiting is not None:
                self.reply(waiting, unavailable)
        if lost.in_doubt:
            self._answers.clear()
        if not self.blocked:
            telemetry.log.error(telemetry.SERVICE_BLOCKED, service=self._name, reason=reason)
        self.blocked = reason

    # One message.

    def serve_one(self, message: Message) -> None:
        """Obey one message, within the turn's transaction."""
        row, newest_token = self.fence.look_up(message.saga_id, message.step)
        verdict = judge(message, row, newest_token, self.now_at())
        answer = self._obey(verdict, message, row)
        if row is not None and message.token > row.token:
            self.fence.record_token(message, self.now_at())
        if answer is not None:
            self.reply(message, answer)

    def bury(self, message: Message) -> None:
        """The step has not happened: see that it never will."""
        self.fence.record_undone(message, self.now_at())
        self.reply(message, Undone() if isinstance(message, Undo) else Never())

    def reply(self, message: Message, answer: Answer) -> None:
        """Answer once the turn has committed."""
        if message.attempt != OURS:
            self._answers.append((message, answer))

    def _obey(self, verdict: Verdict, message: Message, row: Row | None) -> Answer | None:
        if verdict is _RUN and isinstance(message, Do):
            return self._run(message)
        match verdict, message, row:
            case Verdict.UNDO, _, Row():
                answer = self._undo(message, row)
                return self._no_longer(message, answer) if self.later else answer
            case Verdict.REPEAT, _, Row():
                return recorded(message, row)
            case Verdict.WAIT, _, Row():
                return self._go_on(message, row)
            case Verdict.BURY, _, _:
                self.bury(message)
            case Verdict.EXPIRED, Do(), _:
                # Recorded, so that a later attempt, which may not have expired, gets the same answer.
                self.fence.record_do(message, "refused", EXPIRED, self.now_at())
                return Refused(EXPIRED)
            case Verdict.OTHER_PAYLOAD, _, _:
                self.report(message, "the same key with another payload")
                return Unavailable("the same key was used with another payload")
            case Verdict.OUTDATED, _, _:
                reason = f"token {message.token} is older than one already seen for its saga"
                self._outdated.append(DeadLetter(self._name, message, reason))
        return _FIXED.get(verdict)

    # Handlers.

    def _run(self, message: Do, row: Row | None = None) -> Answer | None:
        """Run the handler; `row` is there if it has answered `Later` before."""
        handler = self._handlers.get(message.command)
        if handler is None:
            self.report(message, f"no handler for {message.command}")
            return Unavailable(f"service {self._name!r} does not handle {message.command}")
        if handler.outside:
            self.fence.record_do(message, "begun", None, self.now_at())
            self._outside.plan(message, handler)
            return None
        answer = self.running.do(message, handler)
        if isinstance(answer, Done):
            self.fence.record_do(message, "done", _text(answer), self.now_at())
        elif isinstance(answer, Refused):
            if row is not None:
                # What earlier runs have left goes first.
                return self._undo(message, row._replace(answer=REFUSED + answer.reason))
            self.fence.record_do(message, "refused", answer.reason, self.now_at())
        elif isinstance(answer, Later):
            self.fence.record_do(message, "begun", None, self.now_at())
            self._wait(message, answer)
            return None
        return answer

    def _go_on(self, message: Message, row: Row) -> Answer | None:
        """A step that has begun: whoever asks waits for the call outside, or brings on what answered `Later`."""
        handler = self._handlers.get(row.command or "")
        if handler is None or handler.outside:
            self._outside.wait(message, row, handler)
            return None
        undoing = row.answer is not None
        answer = self._undo(message, row) if undoing or not isinstance(message, Do) else self._run(message, row)
        if isinstance(answer, Unavailable):
            # Nothing has changed but that it was asked for now: see `Fence.prune`.
            self.fence.record_answer(message, "begun", row.answer, self.now_at())
        return self._no_longer(message, answer)

    def _undo(self, message: Message, row: Row) -> Answer | None:
        handler = self._handlers.get(row.command or "")
        if handler is None or handler.undo is None:
            self.report(message, f"no undo for {row.command}")
            return Unavailable(f"service {self._name!r} can't undo {row.command}")
        if handler.undo_outside:
            self._undo_outside(message, row, handler)
            return None
        answer = self.running.undo(message, row, handler)
        if isinstance(answer, Done):
            return self._record_undone(message, row)
        if isinstance(answer, Later):
            self.fence.record_undoing(message, row.answer or UNDONE, self.now_at())
            self._wait(message, answer)
            return None
        return answer

    def _undo_outside(self, message: Message, row: Row, handler: Handler) -> None:
        self.fence.record_undoing(message, row.answer or UNDONE, self.now_at())
        self._outside.undo(message, row, handler)
        waiting = self.later.take(message.key) if self.later else None
        if waiting is not None and RANKS[type(waiting)] > RANKS[type(message)]:
            self._outside.undo(waiting, row, handler)

    def _record_undone(self, message: Message, row: Row) -> Answer:
        if row.refusal is not None and not isinstance(message, Undo):
            self.fence.record_answer(message, "refused", row.refusal, self.now_at())
            return Refused(row.refusal)
        self.fence.record_undone(message, self.now_at())
        return _UNDONE[type(message)]

    def _wait(self, message: Message, later: Later) -> None:
        again_s = later.again_s
        if again_s is None and self._db.worker is not None:
            again_s = _POLL_S
        self.later.wait(message, None if again_s is None else self.now_s() + again_s)

    def _no_longer(self, message: Message, answer: Answer | None) -> Answer | None:
        """A step that is answered waits no more; what its saga has said since is answered, too."""
        if answer is not None:
            waiting = self.later.take(message.key)
            if waiting is not None and RANKS[type(waiting)] > RANKS[type(message)]:
                if isinstance(answer, Unavailable):
                    self.reply(waiting, answer)
                else:
                    self.serve_one(waiting)
        return answer

    # Calls outside.

    def _on_outside_answer(self, told: OutsideAnswer) -> None:
        answer = told.checked(self.running)
        row, _ = self.fence.look_up(told.message.saga_id, told.message.step)
        if row is not None and told.undoing:
            if isinstance(answer, Done) and row.state in ("begun", "done"):
                self._record_undone(told.message, row)
        elif row is not None and isinstance(answer, Done) and row.is_given_up:
            self._taking_back.begin(told, row, _text(answer), self.now_at())
        elif row is not None and not row.is_late:
            if isinstance(answer, Done):
                self.fence.record_answer(told.message, "done", _text(answer), self.now_at())
            elif isinstance(answer, Refused):
                self.fence.record_answer(told.message, "refused", answer.reason, self.now_at())
        self._outside.answered(told, answer)
        if (answer is None or isinstance(answer, Unavailable)) and not self._outside.has_call(told.message.key):
            self.fence.clear_worker(told.message)

    def is_under_way(self, message: Message) -> bool:
        """Whether its step has begun, and nothing is known of what became of it."""
        row, _ = self.fence.look_up(message.saga_id, message.step)
        return row is not None and row.state == "begun" and not row.is_late

    def call_outside(self, call: Callable[[], None]) -> None:
        """Let a call go, beside all turns."""
        self._service.address.runtime.outside(call)

    def now_s(self) -> float:
        return self._service.clock.now_s()

    def now_at(self) -> float:
        return self._service.clock.now_at()


# Before Python 3.12 a member looked up in its enum costs many times a global, and this one is for every message.
_RUN = Verdict.RUN

_UNDONE: dict[type, Answer] = {Do: Refused(CANCELLED), Undo: Undone(), Resolve: Never()}
"""What is told to whoever asks about a step that is undone."""

_FIXED: dict[Verdict, Answer] = {
    Verdict.IS_UNDONE: Undone(),
    Verdict.IS_CANCELLED: Refused(CANCELLED),
    Verdict.IS_NEVER: Never(),
}


def _text(answer: Done[msgspec.Raw]) -> str:
    return bytes(answer.result).decode()
