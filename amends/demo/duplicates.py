"""The duplicates demo: every order is handed in several times at once, and happens once.

Each customer is a thread that places all orders, in step with the others. All that ask for the
same order must be told the same, and the databases must show one effect.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from amends import Handle
from amends.demo.audit import effect_counts
from amends.demo.domain import Order
from amends.demo.load import STALL_S, Tally, ending, place_all
from amends.demo.many import view_of
from amends.demo.screen import Screen, watch
from amends.demo.stocking import stock_up
from amends.demo.systems.coordinator import Coordinator
from amends.demo.workload import Settings, Workload


def run(folder: Path, work: Workload, settings: Settings, console: Console, *, copies: int) -> bool:
    """Place every order `copies` times at once; True if each got one outcome, the same for everyone who asked."""
    told: list[list[Handle]] = [[] for _ in range(copies)]
    in_step = threading.Barrier(copies)

    def orders_in_step() -> Iterator[Order]:
        for order in work.orders:
            in_step.wait(STALL_S)
            yield order

    def customer(number: int) -> None:
        def after_start(order: Order, handle: Handle) -> None:
            if number == 0:
                shop.kill_someone(order.order_id, handle)

        in_flight = max(1, settings.in_flight // copies)
        told[number] = place_all(shop.submit, orders_in_step(), tally, in_flight=in_flight, after_start=after_start)

    def customers() -> None:
        with ThreadPoolExecutor(copies) as threads:
            try:
                list(threads.map(customer, range(copies)))
            except BaseException:
                in_step.abort()
                raise

    with Coordinator(folder, settings.plan) as shop, Screen(console) as screen:
        stock_up(shop.system, work.stock)
        tally = Tally()
        watch(customers, lambda: view_of(shop.system, tally, copies * len(work.orders)), screen)
    different = disagreements(told)
    console.print(f"{len(work.orders):,} orders, each handed in {copies} times: {len(different):,} told differently")
    effects = ", ".join(f"{count:,} {effect}" for effect, count in effect_counts(folder).items())
    console.print(f"effects in the databases: {effects}", highlight=False, soft_wrap=True)
    for order_id, endings in different[:10]:
        console.print(f"  {order_id}: {', '.join(endings)}", highlight=False, markup=False)
    return not different and all(len(handles) == len(work.orders) for handles in told)


def disagreements(told: list[list[Handle]]) -> list[tuple[str, list[str]]]:
    """The orders whose customers were not all told the same of the same instance."""
    found = []
    for handles in zip(*told, strict=True):
        endings = [f"{handle.saga_id} {ending(handle) or 'completed'}" for handle in handles]
        if len(set(endings)) > 1:
            found.append((handles[0].key, endings))
    return found
