"""What a caller holds of an instance."""

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from amends import CancelAnswer, Compensated, Handle, KeyConflict
from amends.protocol.messages import SagaId


class Held:
    """A handle, and the futures behind it."""

    def __init__(self, key: str | None = None) -> None:
        self.accepted: Future[Any] = Future()
        self.outcome: Future[Any] = Future()
        self.cancelled: list[SagaId] = []
        self.handle = Handle(key, self.accepted, self.outcome, self._cancel)

    def _cancel(self, saga_id: SagaId) -> "Future[CancelAnswer]":
        self.cancelled.append(saga_id)
        answer: Future[CancelAnswer] = Future()
        answer.set_result(CancelAnswer.ACCEPTED)
        return answer


ENDED = Compensated("fare", "no money")


def test_key_of_the_callers_is_known_at_once() -> None:
    """A handle with a key waits for nobody to tell it."""
    assert Held("k").handle.key == "k"


def test_key_without_one_is_the_id() -> None:
    """Without a key of the caller's the instance's id is it."""
    held = Held()
    held.accepted.set_result(SagaId("a"))
    assert held.handle.key == held.handle.saga_id == "a"


def test_result_and_await_are_the_same() -> None:
    """Threads and event loops get the same outcome, as often as they ask."""
    held = Held()
    held.outcome.set_result(ENDED)

    async def wait() -> object:
        return [await held.handle, await held.handle]

    assert asyncio.run(wait()) == [held.handle.result(), held.handle.result()] == [ENDED, ENDED]


def test_error_is_raised_by_both() -> None:
    """What kept an instance from starting is raised wherever one waits."""
    held = Held()
    error = KeyConflict("s", "k", "a")
    held.outcome.set_exception(error)

    async def wait() -> object:
        return await held.handle

    with pytest.raises(KeyConflict):
        held.handle.result()
    with pytest.raises(KeyConflict):
        asyncio.run(wait())


def test_waiting_in_a_loop_does_not_block_it() -> None:
    """The loop turns while a handle is awaited, and hears of an outcome that another thread sets."""
    held = Held()

    async def main() -> object:
        waiting = asyncio.ensure_future(asyncio.wait_for(held.handle, 30))
        await asyncio.to_thread(held.outcome.set_result, ENDED)
        return await waiting

    assert asyncio.run(main()) == ENDED


def test_cancelled_wait_leaves_the_outcome_alone() -> None:
    """Who stops waiting takes nothing from others."""
    held = Held()

    async def main() -> None:
        waiting = asyncio.ensure_future(asyncio.wait_for(held.handle, 30))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert not held.outcome.cancelled()
    held.outcome.set_result(ENDED)
    assert held.handle.result() == ENDED


def test_cancel_names_the_instance() -> None:
    """A cancel waits until there is an instance to cancel."""
    held = Held()
    with pytest.raises(TimeoutError):
        held.handle.cancel(0.0)
    held.accepted.set_result(SagaId("a"))
    assert held.handle.cancel() is CancelAnswer.ACCEPTED
    assert held.cancelled == ["a"]


def test_done_and_callbacks() -> None:
    """`done` says whether `result` would wait, and callbacks come with the outcome."""
    held = Held()
    heard: list[object] = []
    held.handle.add_done_callback(lambda future: heard.append(future.result()))
    assert not held.handle.done()
    held.outcome.set_result(ENDED)
    assert held.handle.done()
    assert heard == [ENDED]
