"""Customers: many orders at once, and what became of them.

A bounded number is under way at any moment, and the next order goes in when one ends. Whoever
watches reads the tally while it runs. That nothing ends for a long time is an error here, so a
demo never just hangs.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from msgspec import Struct

from amends import AmendsError, Completed, Handle, Outcome
from amends.demo.domain import Order
from amends.demo.stocking import Stalled

STALL_S = 90.0
"""Longer than an order may take, deadline, restarts and all."""

_RECENT = 2_000


class Counts(Struct, frozen=True):
    """What became of the orders so far.

    Attributes:
        reasons: how many orders ended badly, by reason; errors are among them.
        rate: orders ended per second, since the start.
        p50_s, p99_s: time from an order's start to its outcome.
    """

    started: int
    ended: int
    completed: int
    reasons: dict[str, int]
    elapsed_s: float
    rate: float
    p50_s: float
    p99_s: float


class Tally:
    """Counts outcomes as they come, from whatever thread.

    Args:
        on_end: told with every order that ends how many have; never by two threads at once.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, on_end: Callable[[int], None] | None = None
    ) -> None:
        self._clock = clock
        self._on_end = on_end
        self._lock = threading.Lock()
        self._began_s = clock()
        self._started = 0
        self._completed = 0
        self._reasons: Counter[str] = Counter()
        self._latencies_s: list[float] = []

    def start(self) -> float:
        """Count an order that goes in; returns the time."""
        with self._lock:
            self._started += 1
        return self._clock()

    def end(self, started_s: float, ending: str | None) -> float:
        """Count an order that ended: None is completed, else the reason why not; returns the time it took."""
        now_s = self._clock()
        with self._lock:
            self._latencies_s.append(now_s - started_s)
            if ending is None:
                self._completed += 1
            else:
                self._reasons[ending] += 1
            if self._on_end is not None:
                self._on_end(len(self._latencies_s))
        return now_s - started_s

    def counts(self, *, recent: bool = False) -> Counts:
        """How things stand; `recent` takes the latencies of the last orders only."""
        with self._lock:
            latencies = sorted(self._latencies_s[-_RECENT:] if recent else self._latencies_s)
            ended = len(self._latencies_s)
            elapsed_s = self._clock() - self._began_s
            return Counts(
                started=self._started,
                ended=ended,
                completed=self._completed,
                reasons=dict(self._reasons.most_common()),
                elapsed_s=elapsed_s,
                rate=ended / elapsed_s if elapsed_s > 0 else 0.0,
                p50_s=quantile(latencies, 0.50),
                p99_s=quantile(latencies, 0.99),
            )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the ordered values do not exceed; 0 without values."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def place_all(
    submit: Callable[[Order], Handle],
    orders: Iterable[Order],
    tally: Tally,
    *,
    in_flight: int,
    after_start: Callable[[Order, Handle], None] | None = None,
) -> list[Handle]:
    """Place the orders and return when all have ended.

    Args:
        submit: hands one in.
        in_flight: how many may be under way at once.
        after_start: called with each order once it was handed in.
    """
    free = threading.Semaphore(in_flight)

    def take_a_turn() -> None:
        if not free.acquire(timeout=STALL_S):
            counts = tally.counts()
            raise Stalled(f"{counts.started} orders started, {counts.ended} ended, and no further one in {STALL_S} s")

    handles: list[Handle] = []
    for order in orders:
        take_a_turn()
        started_s = tally.start()
        handle = submit(order)
        handles.append(handle)

        def note(outcome: Future[Outcome], started_s: float = started_s) -> None:
            tally.end(started_s, ending(outcome))
            free.release()

        handle.add_done_callback(note)
        if after_start is not None:
            after_start(order, handle)
    for _ in range(in_flight):
        take_a_turn()
    return handles


def ending(ended: Handle | Future[Outcome]) -> str | None:
    """How an order that has ended went: None is completed, else why not."""
    try:
        outcome = ended.result(0)
    except AmendsError as error:
        return f"error: {type(error).__name__}"
    if isinstance(outcome, Completed):
        return None
    # What follows the colon is the case (which item); what stands before it is the reason.
    return outcome.reason.partition(":")[0]
