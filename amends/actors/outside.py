"""Calls to the world outside a service's database: one at a time for each step, never in the actor's turn.

The fence row `begun` is committed before a handler's call leaves, `done` stands before an
undo's. While a call runs, whoever asks about the step waits for the same answer, up to a limit.
When nobody knows what became of it (a crash lies between, it failed, or did not come back in
time), the next message asks the provider through `@verifies`, or calls again with the same key.
An answer that comes after its limit is told like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final

from amends.actors.fence import Row
from amends.actors.handlers import Handler
from amends.actors.later import Dues
from amends.actors.running import Running
from amends.protocol.messages import Answer, Do, IdempotencyKey, Message, Unavailable
from amends.supervisor.actor import frames
from amends.supervisor.mailbox import Address

if TYPE_CHECKING:
    from amends.actors.serving import Serving


_UNHEARD_AGAIN_S: Final = 5.0
"""How long after an answer could not be written down it is tried again."""


class OutsideAnswer:
    """A call outside, and then what it came back with; told to the service by the call's thread.

    Attributes:
        message: the command that was run, or for an undo the message that asked for it.
        undoing: whether it is an undo.
        limit_s: how long it is waited for; until_s: until when (monotonic), once it has left.
        is_back: its answer is there, or on its way to the service.
        never_arrived: the provider, asked with `@verifies`, knows nothing of the key.
    """

    __slots__ = ("answer", "error", "handler", "is_back", "limit_s", "message", "never_arrived", "undoing", "until_s")

    def __init__(self, message: Message, handler: Handler, *, undoing: bool = False) -> None:
        self.message = message
        self.handler = handler
        self.undoing = undoing
        self.limit_s = handler.undo_limit_s if undoing else handler.limit_s
        self.until_s = 0.0
        self.is_back = False
        self.answer: object = None
        self.error: BaseException | None = None
        self.never_arrived = False

    def checked(self, running: Running) -> Answer | None:
        """The answer, made sure that it is one; None if the call never arrived."""
        if self.error is not None:
            running.report(self.message, type(self.error).__name__, frames(self.error.__traceback__))
            return Unavailable(f"the handler raised {type(self.error).__name__}")
        if self.undoing:
            return running.checked_undo(self.message, self.answer, "None or Unavailable")
        return None if self.never_arrived else running.checked(self.message, self.handler, self.answer)

    @property
    def is_known(self) -> bool:
        """Whether it says what became of the step."""
        return self.error is None and not self.never_arrived and not isinstance(self.answer, Unavailable)


@dataclass(slots=True)
class UnderWay:
    """What outlives an incarnation, as the calls do.

    Attributes:
        calls: the newest call of each step; others before it have passed their limit.
        unheard: answers that could not be written down, and when to try again.
    """

    calls: dict[IdempotencyKey, OutsideAnswer] = field(default_factory=dict)
    unheard: Dues[OutsideAnswer] = field(default_factory=Dues)


class OutsideCalls:
    """The calls of one service that are planned in this turn or under way, and who waits for them.

    Args:
        home: where a call's thread tells what it came back with.
    """

    def __init__(self, serving: "Serving", home: Address, under_way: UnderWay) -> None:
        self._serving = serving
        self._home = home
        self._under_way = under_way.calls
        self._unheard = under_way.unheard
        self._planned: list[tuple[OutsideAnswer, Callable[[], None]]] = []
        self._waiting: dict[IdempotencyKey, list[Message]] = {}
        self._waiting_before: dict[IdempotencyKey, list[Message]] = {}
        self._dues: Dues[OutsideAnswer] = Dues()

    # Asking.

    def plan(self, message: Do, handler: Handler) -> None:
        """Call once the turn has committed."""
        self._let_wait(message.key, [message])
        self._plan_do(message, handler, handler.run, verifying=False)

    def wait(self, message: Message, row: Row, handler: Handler | None) -> None:
        """Answer `message` when the call about its step is answered; ask about it if none is under way."""
        if self._joins(message):
            return
        if handler is None or row.command is None or row.payload is None:
            self._serving.reply(message, Unavailable(f"nothing here can tell what became of {row.command}"))
            return
        if self._is_elsewhere(message, row, handler.limit_s):
            return
        self._let_wait(message.key, [message])
        begun = Do(
            service=message.service,
            saga_id=message.saga_id,
            step=message.step,
            attempt=message.attempt,
            token=message.token,
            command=row.command,
            payload=row.payload.encode(),
            expires_at=float("inf"),
        )
        self._plan_do(begun, handler, handler.verify or handler.run, verifying=handler.verify is not None)

    def undo(self, message: Message, row: Row, handler: Handler) -> None:
        """Answer `message` when its step is undone; undo it if that is not under way."""
        if self._joins(message) or self._is_elsewhere(message, row, handler.undo_limit_s):
            return
        self._let_wait(message.key, [message])
        told = OutsideAnswer(message, handler, undoing=True)
        self._plan(told, lambda: self._serving.running.undo_outside(message, row, handler))

    def _is_elsewhere(self, message: Message, row: Row, limit_s: float) -> bool:
        """Whether another process makes a call about its step: then its saga is to ask again, for the answer."""
        if not self._serving.fence.is_elsewhere(row, limit_s, self._serving.now_at()):
            return False
        self._serving.reply(message, Unavailable("another process of the service is at it"))
        return True

    def _joins(self, message: Message) -> bool:
        """Whether a call about its step is waited for already."""
        key = message.key
        if key in self._waiting:
            self._let_wait(key, [*self._waiting[key], message])
            return True
        call = self._under_way.get(key)
        if call is None or call.is_back or self._serving.now_s() >= call.until_s:
            return False
        # An incarnation before this one made the call. To ask about it now would be too early.
        self._let_wait(key, [message])
        self._dues.put(call.until_s, call)
        return True

    def _let_wait(self, key: IdempotencyKey, messages: list[Message]) -> list[Message]:
        """From now on these wait for the step's answer; who waited before."""
        before = self._waiting.pop(key, [])
        self._waiting_before.setdefault(key, before)
        if messages:
            self._waiting[key] = messages
        return before

    # Turns.

    def begin(self) -> None:
        """The turn has committed: let the planned calls go."""
        planned, self._planned = self._planned, []
        for told, call in planned:
            told.until_s = self._serving.now_s() + told.limit_s
            self._under_way[told.message.key] = told
            self._dues.put(told.until_s, told)
            self._serving.call_outside(call)

    def forget_turn(self) -> None:
        """The turn was lost: none of its calls may leave, and whoever waited before it waits still."""
        for key, messages in self._waiting_before.items():
            self._let_wait(key, messages)
        self._waiting_before.clear()
        self._planned.clear()

    def lost(self, told: OutsideAnswer, unavailable: Unavailable) -> None:
        """The turn that was to write its answer down was lost. It is told again, for nobody else may ask for it."""
        if told.is_known:
            self._unheard.put(self._serving.now_s() + _UNHEARD_AGAIN_S, told)
        self.answered(told, unavailable)

    def next_due_s(self) -> float:
        """When somebody has waited long enough, or an answer is told again; infinity if never."""
        return min(self._next_limit_s(), self._unheard.soonest_s)

    def _next_limit_s(self) -> float:
        while (until_s := self._dues.soonest_s) != inf:
            told = self._dues.first
            if not told.is_back and self._under_way.get(told.message.key) is told:
                break
            self._dues.pop()
        return until_s

    def give_up(self) -> None:
        """The turn is over: nobody waits any more for calls that have passed their limit."""
        self._waiting_before.clear()
        now_s = self._serving.now_s()
        while self._unheard.soonest_s <= now_s:
            self._home.tell(self._unheard.pop())
        while self._next_limit_s() <= now_s:
            told = self._dues.pop()
            reason = f"the call outside did not come back within {told.limit_s:g} s"
            self._serving.report(told.message, reason)
            del self._under_way[told.message.key]
            for message in self._waiting.pop(told.message.key, ()):
                self._serving.reply(message, Unavailable(reason))

    def answered(self, told: OutsideAnswer, answer: Answer | None) -> None:
        """Answer everyone who waited. After `never_arrived`, a do is called after all, an undo buries the step.

        Unless another call has come back meanwhile: then the row says what became of the step.
        """
        key = told.message.key
        newest = next((call for call, _ in self._planned if call.message.key == key), self._under_way.get(key))
        if newest is told:
            del self._under_way[key]
        elif newest is not None and (
            answer is None or isinstance(answer, Unavailable) or newest.undoing > told.undoing
        ):
            return  # it had passed its limit, and the call that took its place knows better
        never = answer is None and self._serving.is_under_way(told.message)
        waiting = self._waiting.get(key, [])
        if never and isinstance(told.message, Do) and any(isinstance(message, Do) for message in waiting):
            self._plan_do(told.message, told.handler, told.handler.run, verifying=False)
            return
        for message in self._let_wait(key, []):
            if isinstance(answer, Unavailable):
                self._serving.reply(message, answer)
            elif never:
                self._serving.bury(message)
            else:
                self._serving.serve_one(message)  # the row says what became of the step: the usual rules apply

    # Calls.

    def has_call(self, key: IdempotencyKey) -> bool:
        """Whether a call about the step is planned or under way."""
        return key in self._under_way or any(call.message.key == key for call, _ in self._planned)

    def _plan_do(self, message: Do, handler: Handler, run: Callable[..., Any], *, verifying: bool) -> None:
        told = OutsideAnswer(message, handler)

        def call() -> Any:
            answer = self._serving.running.run_outside(message, handler, run)
            told.never_arrived = verifying and answer is None
            return answer

        self._plan(told, call)

    def _plan(self, told: OutsideAnswer, call: Callable[[], Any]) -> None:
        def leave() -> None:
            try:
                told.answer = call()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the step's outcome is not known
                told.error = error
            # First, so that whoever asks from here on does not wait for an answer that has come already.
            told.is_back = True
            self._home.tell(told)

        self._serving.fence.record_worker(told.message, self._serving.now_at())
        self._planned.append((told, leave))
