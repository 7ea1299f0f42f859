"""Wrong variants of what makes a service safe: its fence, its transactions, its calls outside."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from amends.actors import serving
from amends.actors.fence import Fence, Row, Verdict
from amends.actors.fence import judge as _judge
from amends.actors.handlers import Handler
from amends.actors.outside import OutsideCalls
from amends.actors.running import PHASES, Running
from amends.actors.serving import Serving
from amends.actors.transactions import Transactions, TurnLost
from amends.protocol.errors import AmendsError
from amends.protocol.messages import Answer, Do, Later, Message, Reply, Resolve, Undo
from tests.stateful.planted.bug import bug


@bug()
def undo_leaves_no_tombstone() -> Iterator[None]:
    """An undo that comes before its do leaves no tombstone, so the do that comes later is run."""

    def judge(message: Message, row: Row | None, newest_token: int, now_at: float) -> Verdict:
        verdict = _judge(message, row, newest_token, now_at)
        return Verdict.IS_UNDONE if isinstance(message, Undo) and verdict is Verdict.BURY else verdict

    with patch.object(serving, "judge", judge):
        yield


@bug()
def never_leaves_no_tombstone() -> Iterator[None]:
    """'Never' is answered without a tombstone, so a do that comes later is run."""

    def judge(message: Message, row: Row | None, newest_token: int, now_at: float) -> Verdict:
        verdict = _judge(message, row, newest_token, now_at)
        return Verdict.IS_NEVER if isinstance(message, Resolve) and verdict is Verdict.BURY else verdict

    with patch.object(serving, "judge", judge):
        yield


@bug()
def no_dedupe() -> Iterator[None]:
    """A command that was done is done again when it comes again."""

    def judge(message: Message, row: Row | None, newest_token: int, now_at: float) -> Verdict:
        verdict = _judge(message, row, newest_token, now_at)
        return Verdict.RUN if isinstance(message, Do) and verdict is Verdict.REPEAT else verdict

    with patch.object(serving, "judge", judge):
        yield


@bug()
def undo_not_idempotent() -> Iterator[None]:
    """A step that was undone is undone again when the undo comes again."""

    def judge(message: Message, row: Row | None, newest_token: int, now_at: float) -> Verdict:
        verdict = _judge(message, row, newest_token, now_at)
        done_once = row is not None and row.answer is not None
        return Verdict.UNDO if isinstance(message, Undo) and verdict is Verdict.IS_UNDONE and done_once else verdict

    with patch.object(serving, "judge", judge):
        yield


@bug(scenario="processes die")
def older_token_accepted() -> Iterator[None]:
    """A command with an older token than one already seen for its saga is obeyed."""

    def judge(message: Message, row: Row | None, newest_token: int, now_at: float) -> Verdict:
        return _judge(message, row, 0, now_at)

    with patch.object(serving, "judge", judge):
        yield


@bug()
def refusal_not_remembered() -> Iterator[None]:
    """A refusal is not remembered, so the same command may be obeyed later."""
    right = Fence.record_do

    def record_do(fence: Fence, message: Do, state: str, answer: str | None, at: float) -> None:
        if state != "refused":
            right(fence, message, state, answer, at)

    with patch.object(Fence, "record_do", record_do):
        yield


@bug(budget=50)
def reply_before_commit() -> Iterator[None]:
    """A reply leaves before what it says is committed."""

    def reply(self: Serving, message: Message, answer: Answer) -> None:
        told = Reply(message.saga_id, message.step, PHASES[type(message)], message.attempt, answer)
        for address, letter in self._transport.to_saga(told):
            address.tell(letter)

    with patch.object(Serving, "reply", reply):
        yield


@bug()
def failed_commit_answered() -> Iterator[None]:
    """A turn whose commit failed answers all the same."""

    def lost(self: Transactions, error: AmendsError, *, in_doubt: bool) -> TurnLost:
        self._db.rollback()
        return TurnLost(str(error), in_doubt=in_doubt)

    with patch.object(Transactions, "_lost", lost), patch.object(Serving, "_lose"):
        yield


@bug()
def fence_row_in_another_transaction() -> Iterator[None]:
    """A service commits an effect first, and its memory of it in a transaction of its own."""
    right = Fence.write

    def write(fence: Fence) -> None:
        fence._db.execute("commit")
        fence._db.execute("begin immediate")
        right(fence)

    with patch.object(Fence, "write", write):
        yield


@bug()
def refused_writes_kept() -> Iterator[None]:
    """What a handler wrote before it refused stays."""

    def guarded(self: Running, call: Callable[[], Answer]) -> Answer | Later:
        return self.within(call)

    with patch.object(Running, "guarded", guarded):
        yield


@bug(scenario="outside")
def outside_call_not_awaited() -> Iterator[None]:
    """A provider is asked about a call, and the call made again, though its answer is on the way."""
    right = OutsideCalls.wait

    def wait(calls: OutsideCalls, message: Message, row: Row, handler: Handler | None) -> None:
        calls._waiting.pop(message.key, None)
        calls._under_way.pop(message.key, None)
        right(calls, message, row, handler)

    with patch.object(OutsideCalls, "wait", wait):
        yield


@bug(scenario="outside")
def outside_call_before_its_row() -> Iterator[None]:
    """A call outside leaves before the row that says so is committed."""
    right = OutsideCalls._plan

    def plan(calls: OutsideCalls, *arguments: Any, **keywords: Any) -> None:
        right(calls, *arguments, **keywords)
        calls.begin()

    with patch.object(OutsideCalls, "_plan", plan):
        yield
