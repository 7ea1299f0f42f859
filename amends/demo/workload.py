"""What a demo is to do: which orders, how many at a time, on which stock, under which faults.

`Settings` are plain values, so a parent can hand them to the process it is going to kill.
"""

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from amends.demo.domain import Order
from amends.demo.faults import FaultPlan
from amends.demo.generated import generated_orders
from amends.demo.real_orders import Reading, read_catalogue, read_orders
from amends.demo.stocking import Delivery, delivery, share_of


class Settings(Struct, frozen=True, kw_only=True):
    """What a person chose on the command line.

    Attributes:
        orders, catalogue: files of real orders; None for generated ones.
        stock_share: the stock at the beginning, as a share of what all orders together want.
    """

    orders_count: int
    seed: int
    in_flight: int
    stock_share: float
    plan: FaultPlan
    orders: str | None = None
    catalogue: str | None = None


class Workload(Struct, frozen=True):
    """The orders, what is on the shelves before the first of them, and, for real ones, how their file read."""

    orders: list[Order]
    stock: Delivery
    reading: Reading | None = None


def workload(settings: Settings) -> Workload:
    """Make or read what the settings ask for."""
    if settings.orders is None or settings.catalogue is None:
        orders = generated_orders(settings.orders_count, settings.seed)
        return Workload(orders, opening_stock(orders, settings.stock_share))
    catalogue = read_catalogue(Path(settings.catalogue))
    reading = read_orders(Path(settings.orders), catalogue)
    stock = opening_stock(reading.orders, settings.stock_share, catalogue)
    return Workload(reading.orders, stock, reading)


def opening_stock(orders: Iterable[Order], share: float, items: Iterable[str] = ()) -> Delivery:
    """A delivery of `share` of what the orders want, rounded up; `items` nobody wants are there with no unit."""
    return delivery(dict.fromkeys(items, 0) | share_of((order.wanted for order in orders), share))
