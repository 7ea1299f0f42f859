"""The work that is timed: the shop's orders, one in ten of them declined."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from amends.demo.domain import Order
from amends.demo.faults import FaultPlan
from amends.demo.generated import generated_orders
from amends.demo.stocking import Delivery

PLAN = FaultPlan(seed=1, declined=0.1)


class Timing(msgspec.Struct, frozen=True):
    """One measurement.

    Attributes:
        p50_ms, p99_ms: from the start of a saga to its outcome, in milliseconds.
        cpu_us: processor time of this process for each saga, in microseconds.
        load: of the whole machine when it was over, in processes that want to run (1 minute).
    """

    what: str
    in_flight: int
    sagas: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    load: float


class Stopwatch:
    """Times a number of sagas that run at once."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self._began_s = time.perf_counter()
        self._began_cpu_s = time.process_time()

    def timing(self, what: str, in_flight: int) -> Timing:
        """What was measured since it was made."""
        elapsed_s = time.perf_counter() - self._began_s
        cpu_s = time.process_time() - self._began_cpu_s
        ordered = sorted(self.latencies_s)
        count = len(ordered)
        return Timing(
            what,
            in_flight,
            count,
            rate=count / elapsed_s,
            p50_ms=quantile(ordered, 0.5) * 1e3,
            p99_ms=quantile(ordered, 0.99) * 1e3,
            cpu_us=cpu_s / count * 1e6,
            load=os.getloadavg()[0],
        )


def python_loop_ns() -> float:
    """One turn of a loop that adds numbers, the best of several: how fast this processor runs Python now."""
    turns = 200_000

    def loop() -> float:
        began_s, total = time.perf_counter(), 0
        for number in range(turns):
            total += number
        return time.perf_counter() - began_s

    return min(loop() for _ in range(10)) / turns * 1e9


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the ordered ones do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def orders(count: int) -> list[Order]:
    """The orders, the same ones every time."""
    return generated_orders(count, seed=1)


def stock_for(wanted: Sequence[Order]) -> Delivery:
    """Enough on the shelves for all of them."""
    units: dict[str, int] = {}
    for order in wanted:
        for item_id, quantity in order.wanted.items():
            units[item_id] = units.get(item_id, 0) + quantity
    return Delivery("bench", units)


def journal_of(folder: Path) -> Path:
    """Where a system keeps its journal."""
    return folder / "journal.db"
