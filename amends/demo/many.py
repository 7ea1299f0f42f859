"""The concurrent demo: many orders at once, and everything going wrong that may.

Every order gets an outcome, and a person can watch how. That nothing is left half done is the
audit's to say.
"""

from pathlib import Path

from rich.console import Console

from amends import Handle, System
from amends.demo.domain import Order
from amends.demo.load import Tally, place_all
from amends.demo.screen import Screen, View, show_reasons, watch
from amends.demo.stocking import stock_up
from amends.demo.systems.coordinator import Coordinator
from amends.demo.workload import Settings, Workload


def run(folder: Path, work: Workload, settings: Settings, console: Console) -> bool:
    """Place all orders and show how it goes; True if every one of them got an outcome."""

    def after_start(order: Order, handle: Handle) -> None:
        shop.kill_someone(order.order_id, handle)

    with Coordinator(folder, settings.plan) as shop, Screen(console) as screen:
        stock_up(shop.system, work.stock)
        tally = Tally()

        def customers() -> None:
            place_all(shop.submit, work.orders, tally, in_flight=settings.in_flight, after_start=after_start)

        watch(customers, lambda: view_of(shop.system, tally, len(work.orders)), screen)
    counts = tally.counts()
    show_reasons(console, counts)
    return counts.ended == len(work.orders) and not any(reason.startswith("error") for reason in counts.reasons)


def view_of(system: System, tally: Tally, orders: int) -> View:
    """A frame of a running demo."""
    status = system.status()
    counts = tally.counts(recent=True)
    by_state = {
        "open": counts.started - counts.ended,
        "completed": counts.completed,
        "compensated": sum(counts.reasons.values()),
        "stuck": len(status.stuck),
        "quarantined": status.quarantined,
    }
    return View(
        orders=orders,
        counts=counts,
        by_state=by_state,
        restarts=status.restarts,
        retries=status.retries,
        dead_letters=status.dead_letters,
    )
