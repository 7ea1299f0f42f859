"""The flow of orders through one peer: who is next, when it is over, and how long each one took.

A peer keeps a number of sagas in flight until `take` has no more. When the time for that is up, it may
end what it has begun for a while longer; what has not ended then is cut off, and counts as it stands.
"""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from bench.peers.work import Order, order

T = TypeVar("T")


class Cell(NamedTuple):
    """One measurement.

    Attributes:
        cut: sagas that had begun and not ended when the time was up; they are in no rate.
        p50_ms, p99_ms: from the start of a saga to its outcome.
        p50_least, p99_least: whether the quantile falls among those that were cut off, so that it is at least that.
    """

    in_flight: int
    sagas: int
    cut: int
    elapsed_s: float
    rate: float
    p50_ms: float
    p50_least: bool
    p99_ms: float
    p99_least: bool


class Flow:
    """Orders, from a number on.

    Args:
        seconds: how long new ones are begun.
        drain_s: how long the last of them may take after that.
        count: how many there are at most.
        accepted: called with each order that the peer has said it has; None if nobody wants to know.
    """

    def __init__(
        self,
        prefix: str,
        seconds: float,
        drain_s: float,
        count: int = 10**9,
        accepted: Callable[[Order], object] | None = None,
    ) -> None:
        self.tell_accepted = accepted is not None
        self.accepted = accepted or (lambda _: None)
        self.began_s = time.perf_counter()
        self._prefix, self._left, self._next = prefix, count, 0
        self._until_s = self.began_s + seconds
        self._cut_s = self._until_s + drain_s
        self._open: dict[str, float] = {}
        self._took_s: list[float] = []
        self._last_s = self.began_s
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)

    def take(self) -> Order | None:
        """The next order, which begins now; None when there is none any more."""
        now_s = time.perf_counter()
        with self._lock:
            if now_s >= self._until_s or self._left == 0:
                return None
            self._left -= 1
            self._next += 1
            taken = order(self._next - 1, self._prefix)
            self._open[taken.order_id] = now_s
            return taken

    def ended(self, ended: Order) -> None:
        """An order has its outcome."""
        now_s = time.perf_counter()
        with self._lock:
            self._took_s.append(now_s - self._open.pop(ended.order_id))
            self._last_s = now_s
            if not self._open:
                self._quiet.notify_all()

    @property
    def remaining_s(self) -> float:
        """Until those that are still open are cut off."""
        return max(0.0, self._cut_s - time.perf_counter())

    def wait(self) -> None:
        """Until all that have begun have ended, or are cut off."""
        with self._lock:
            while self._open and self.remaining_s:
                self._quiet.wait(self.remaining_s)

    def cell(self, in_flight: int) -> Cell:
        """What was measured."""
        now_s = time.perf_counter()
        with self._lock:
            cut = [now_s - began_s for began_s in self._open.values()]
            took_s = list(self._took_s)
            elapsed_s = (now_s if cut else self._last_s) - self.began_s
        both = sorted([(took, False) for took in took_s] + [(age, True) for age in cut])
        p50_s, p50_least = quantile(both, 0.5)
        p99_s, p99_least = quantile(both, 0.99)
        rate = len(took_s) / elapsed_s if elapsed_s else 0.0
        return Cell(in_flight, len(took_s), len(cut), elapsed_s, rate, p50_s * 1e3, p50_least, p99_s * 1e3, p99_least)


def quantile(ordered: Sequence[tuple[float, bool]], share: float) -> tuple[float, bool]:
    """The value that `share` do not exceed, and whether one up to there was cut off."""
    if not ordered:
        return 0.0, True
    index = max(0, math.ceil(share * len(ordered)) - 1)
    return ordered[index][0], any(cut for _, cut in ordered[: index + 1])


def in_threads(flow: Flow, in_flight: int, place: Callable[[Order], object]) -> None:
    """For peers whose sagas block: a thread for each in flight."""

    def work() -> None:
        while (taken := flow.take()) is not None:
            place(taken)
            flow.ended(taken)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(flow.remaining_s)


async def in_tasks(flow: Flow, in_flight: int, place: Callable[[Order], Awaitable[object]]) -> None:
    """For peers whose sagas are awaited: a task for each in flight."""

    async def work() -> None:
        while (taken := flow.take()) is not None:
            await place(taken)
            flow.ended(taken)

    tasks = [asyncio.create_task(work()) for _ in range(in_flight)]
    done, late = await asyncio.wait(tasks, timeout=flow.remaining_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()


class Loop:
    """An event loop in a thread of its own, which goes on between two measurements."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Have it run there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
