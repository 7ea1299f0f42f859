"""Calls to the world outside a service's database: one at a time for each step, never in the actor's turn.

The fence row `begun` is committed before a call leaves. While it runs, whoever asks about the
step waits for the same answer. When nobody knows what became of it (a crash lies between, or
it failed), the next message asks the provider through `@verifies`, or calls again with the
same key.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from amends.actors.fence import Row
from amends.actors.handlers import Handler
from amends.protocol.messages import Answer, Do, IdempotencyKey, Message, Unavailable
from amends.supervisor.mailbox import Address

if TYPE_CHECKING:
    from amends.actors.serving import Serving


class OutsideAnswer:
    """What a call came back with; told to the service by the call's thread.

    Attributes:
        message: the command that was run.
        never_arrived: the provider, asked with `@verifies`, knows nothing of the key.
    """

    __slots__ = ("answer", "error", "handler", "message", "never_arrived")

    def __init__(self, message: Do, handler: Handler) -> None:
        self.message = message
        self.handler = handler
        self.answer: object = None
        self.error: BaseException | None = None
        self.never_arrived = False


class OutsideCalls:
    """The calls of one service that are planned in this turn or under way, and who waits for them.

    Args:
        home: where a call's thread tells what it came back with.
        under_way: keys of the calls that run; it outlives an incarnation, as they do.
    """

    def __init__(self, serving: "Serving", home: Address, under_way: set[IdempotencyKey]) -> None:
        self._serving = serving
        self._home = home
        self._under_way = under_way
        self._planned: list[Callable[[], None]] = []
        self._planned_keys: list[IdempotencyKey] = []
        self._waiting: dict[IdempotencyKey, list[Message]] = {}

    def plan(self, message: Do, handler: Handler) -> None:
        """Call once the turn has committed."""
        self._waiting[message.key] = [message]
        self._plan(message, handler, handler.run, verifying=False)

    def wait(self, message: Message, row: Row, handler: Handler | None) -> None:
        """Answer `message` when the call about its step is answered; ask about it if none is under way."""
        waiting = self._waiting.get(message.key)
        if waiting is not None:
            waiting.append(message)
            return
        if message.key in self._under_way:
            # An incarnation before this one made the call. To ask about it now would be too early.
            self._waiting[message.key] = [message]
            return
        if handler is None or row.command is None or row.payload is None:
            self._serving.reply(message, Unavailable(f"nothing here can tell what became of {row.command}"))
            return
        self._waiting[message.key] = [message]
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
        self._plan(begun, handler, handler.verify or handler.run, verifying=handler.verify is not None)

    def begin(self) -> None:
        """The turn has committed: let the planned calls go."""
        planned, self._planned = self._planned, []
        self._under_way.update(self._planned_keys)
        self._planned_keys.clear()
        for call in planned:
            self._serving.call_outside(call)

    def forget_turn(self) -> None:
        """The turn was lost: none of its calls may leave."""
        for key in self._planned_keys:
            self._waiting.pop(key, None)
        self._planned.clear()
        self._planned_keys.clear()

    def answered(self, told: OutsideAnswer, answer: Answer | None) -> None:
        """Answer everyone who waited. After `never_arrived`, a do is called after all, an undo buries the step."""
        waiting = self._waiting.pop(told.message.key, [])
        if answer is None and any(isinstance(message, Do) for message in waiting):
            self._waiting[told.message.key] = waiting
            self._plan(told.message, told.handler, told.handler.run, verifying=False)
            return
        for message in waiting:
            self._answer(message, answer)

    def _answer(self, message: Message, answer: Answer | None) -> None:
        serving = self._serving
        if isinstance(answer, Unavailable):
            serving.reply(message, answer)
        elif answer is None:
            serving.bury(message)
        else:
            serving.serve_one(message)  # the row is no longer `begun`: the usual rules apply

    def _plan(self, message: Do, handler: Handler, run: Callable[..., Any], *, verifying: bool) -> None:
        told = OutsideAnswer(message, handler)

        def call() -> None:
            try:
                told.answer = self._serving.run_outside(message, handler, run)
                told.never_arrived = verifying and told.answer is None
            except BaseException as error:  # noqa: BLE001 - whatever it is, the step's outcome is not known
                told.error = error
            # First, so that whoever asks from here on does not wait for an answer that has come already.
            self._under_way.discard(message.key)
            self._home.tell(told)

        self._planned.append(call)
        self._planned_keys.append(message.key)
