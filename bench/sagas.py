"""amends itself: the shop's saga, a number of them in flight."""

import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from amends import System
from amends.demo.domain import Order
from amends.demo.stocking import stock_up
from amends.demo.systems.coordinator import Coordinator, PlaceOrder
from bench.work import PLAN, Stopwatch, Timing, orders, stock_for

_WARM_UP = 50


def measure(folder: Path, in_flight: int, count: int) -> Timing:
    """Run `count` orders, `in_flight` at a time."""
    with Coordinator(folder, PLAN) as shop:
        return time_system(shop.system, "amends", in_flight, count)


def time_system(system: System, what: str, in_flight: int, count: int) -> Timing:
    """The same on a system that is open."""
    placed = orders(count + _WARM_UP)
    stock_up(system, stock_for(placed))
    for order in placed[:_WARM_UP]:
        system.run(PlaceOrder, order, key=order.order_id)
    watch = Stopwatch()
    if in_flight == 1:
        _one_by_one(system, placed[_WARM_UP:], watch)
    else:
        place_many(system, placed[_WARM_UP:], in_flight, watch)
    return watch.timing(what, in_flight)


def _one_by_one(system: System, placed: list[Order], watch: Stopwatch) -> None:
    for order in placed:
        began_s = time.perf_counter()
        system.submit(PlaceOrder, order, key=order.order_id).result()
        watch.latencies_s.append(time.perf_counter() - began_s)


def place_many(system: System, placed: list[Order], in_flight: int, watch: Stopwatch) -> None:
    """Place the orders and wait for all of them."""
    free = threading.Semaphore(in_flight)
    for order in placed:
        free.acquire()
        began_s = time.perf_counter()

        def ended(outcome: "Future[Any]", began_s: float = began_s) -> None:
            outcome.result()
            watch.latencies_s.append(time.perf_counter() - began_s)
            free.release()

        system.submit(PlaceOrder, order, key=order.order_id).add_done_callback(ended)
    for _ in range(in_flight):
        free.acquire()
