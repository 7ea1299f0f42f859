"""The five order systems: how many orders a second each takes, and how long one of them is under way."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import structs

from amends.demo.domain import Order, total_units
from amends.demo.real_orders import read_catalogue, read_orders
from amends.demo.shop import CALM
from amends.demo.stocking import Delivery, stock_up
from amends.demo.systems.runnable import SYSTEMS, OrderSystem, Runnable, runnable
from bench.work import Stopwatch, Timing, orders

_WARM_UP = 50
_FINISH_S = 60.0


def measure(name: str, folder: Path, in_flight: int, count: int) -> Timing:
    """Answer `count` made-up orders, all of which can be had, `in_flight` at a time."""
    placed = [_numbered(order) for order in orders(count + _WARM_UP)]
    prices = {item.item_id: item.unit_price_minor / 100 for order in placed for item in order.items}
    return _time(name, folder, placed, dict(prices), in_flight)


MEASURES: dict[str, Callable[..., Timing]] = {name: partial(measure, name) for name in SYSTEMS}


def real_stream(folder: Path, orders_file: Path, catalogue_file: Path, in_flight: int, count: int) -> Timing:
    """Stream the first `count` sound orders of a file."""
    catalogue = read_catalogue(catalogue_file)
    placed = list(islice(read_orders(orders_file, catalogue).orders, count))
    prices = {item.item_id: float(item.unit_price) for item in catalogue.values()}
    return _time("stream", folder, placed, prices, in_flight)


def _numbered(order: Order) -> Order:
    """The same with numbers for its customer and its items, which is what some of the systems want."""
    items = tuple(structs.replace(item, item_id=_number(item.item_id)) for item in order.items)
    return structs.replace(order, user_id=_number(order.user_id), items=items)


def _number(name: str) -> str:
    return str(int(name.removeprefix("item-").removeprefix("u")) + 1)


def _time(name: str, folder: Path, placed: list[Order], prices: dict[str, float], in_flight: int) -> Timing:
    kind: Runnable[Any, Any] = runnable(name)
    units = total_units(line for order in placed for line in order.wanted.items())
    inputs = [kind.from_order(order) for order in placed]
    with kind.open(folder, CALM) as shop:
        stock_up(shop.system, Delivery("bench", units, dict(prices)))
        for value in inputs[:_WARM_UP]:
            shop.submit(value).result()
        watch = Stopwatch()
        _answer(shop, inputs[_WARM_UP:], in_flight, watch)
        timing = watch.timing(name, in_flight)
        shop.finish(_FINISH_S)
        return timing


def _answer(shop: OrderSystem[Any, Any], inputs: list[Any], in_flight: int, watch: Stopwatch) -> None:
    free = threading.Semaphore(in_flight)
    for value in inputs:
        free.acquire()
        began_s = time.perf_counter()

        def answered(answer: "Future[Any]", began_s: float = began_s) -> None:
            answer.result()
            watch.latencies_s.append(time.perf_counter() - began_s)
            free.release()

        shop.submit(value).add_done_callback(answered)
    for _ in range(in_flight):
        free.acquire()
