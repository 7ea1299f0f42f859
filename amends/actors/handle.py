"""Handle: what a caller holds of an instance; the same one for synchronous and asyncio callers."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

from amends.protocol.events import CancelAnswer
from amends.protocol.messages import SagaId
from amends.protocol.state import Outcome


class Handle:
    """One instance, as its caller sees it.

    `result` waits in a thread, `await handle` in an event loop; both raise what kept the instance from starting
    (`KeyConflict`, `Overloaded`, `JournalUnavailable`) and `SystemStopped` if the system stops first, in which case
    the instance goes on when the system is started again.
    """

    def __init__(
        self,
        key: str | None,
        accepted: "Future[SagaId]",
        outcome: "Future[Outcome]",
        cancel: Callable[[SagaId], "Future[CancelAnswer]"],
    ) -> None:
        self._key = key
        self._accepted = accepted
        self._outcome = outcome
        self._cancel = cancel

    @property
    def key(self) -> str:
        """The business key; without one of the caller's, the instance's id."""
        return self._key if self._key is not None else self.saga_id

    @property
    def saga_id(self) -> SagaId:
        """The instance's id; waits until the start is on disk."""
        return self.accepted()

    def accepted(self, timeout_s: float | None = None) -> SagaId:
        """Wait until the start is on disk. From then on the instance ends, whatever happens to this process."""
        return self._accepted.result(timeout_s)

    def result(self, timeout_s: float | None = None) -> Outcome:
        """Wait for the outcome; TimeoutError after `timeout_s` seconds, which changes nothing for the instance."""
        return self._outcome.result(timeout_s)

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        return self._outcome.done()

    def cancel(self, timeout_s: float | None = None) -> CancelAnswer:
        """Undo the instance if it is not decided yet. ACCEPTED is a promise: it ends compensated."""
        return self._cancel(self.accepted(timeout_s)).result(timeout_s)

    @property
    def was_accepted(self) -> bool:
        """Whether the start is known to be on disk."""
        return self._accepted.done() and self._accepted.exception() is None

    def on_answer(
        self, accepted: "Callable[[Future[SagaId]], Any]", outcome: "Callable[[Future[Outcome]], Any]"
    ) -> None:
        """Call back with each of the two futures, in a thread of the system's: be quick."""
        self._accepted.add_done_callback(accepted)
        self._outcome.add_done_callback(outcome)

    def add_done_callback(self, callback: "Callable[[Future[Outcome]], Any]") -> None:
        """Call back with the outcome's future, in a thread of the system's: be quick."""
        self._outcome.add_done_callback(callback)

    def __await__(self) -> Generator[Any, None, Outcome]:
        # Pykka's own futures block the event loop when awaited.
        return asyncio.shield(asyncio.wrap_future(self._outcome)).__await__()
