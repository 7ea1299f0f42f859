"""Stock: how goods, and the prices they are sold at, get on the shelves before an order comes.

A delivery is received once, however often it is announced; every system of the shop takes it.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from amends import AmendsError, Results, Retry, Saga, System, retriable
from amends.demo.domain import ItemId, total_units
from amends.demo.messages import Price, ReceiveStock, SetPrices

# Longer than a service needs to get over a handler that hangs, short enough that a lost message is soon sent again.
ATTEMPT_S = 2.0
RETRY = Retry(attempts=8, base_s=0.05, cap_s=1.0, slow_s=2.0)

_STOCK_UP_S = 30.0


class Stalled(AmendsError):  # noqa: N818 - reads as the fact it reports
    """Nothing ended for so long that something must be wrong."""


class Delivery(Struct, frozen=True, forbid_unknown_fields=True):
    """Goods that arrive at the warehouse, and what items are sold for from then on."""

    delivery_id: Annotated[str, Meta(min_length=1, max_length=80)]
    units: dict[str, int]
    prices: dict[ItemId, Price] = {}


class StockUp(Saga, name="stock-up"):
    """One delivery, put on the shelves once however often it is announced.

    receive     price
    """

    input: Delivery

    @retriable(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def receive(self, delivery: Delivery, done: Results) -> ReceiveStock:
        return ReceiveStock(delivery.delivery_id, delivery.units)

    @retriable(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def price(self, delivery: Delivery, done: Results) -> SetPrices:
        return SetPrices(dict(delivery.prices))


def delivery(units: dict[str, int], prices: Mapping[str, Price] | None = None) -> Delivery:
    """Goods and prices, named by what they are: the same ones are received once, however often a folder is used."""
    prices = dict(prices or {})
    digest = hashlib.sha256(msgspec.json.encode((units, prices))).hexdigest()
    return Delivery(f"opening-{digest[:16]}", units, prices)


def share_of(wanted: Iterable[Mapping[str, int]], share: float) -> dict[str, int]:
    """A share of all that is wanted, item by item, rounded up."""
    total = total_units(line for units in wanted for line in units.items())
    # By its decimal digits: 0.7 * 10 is a little more than 7 in floating point.
    exact = Fraction(str(share))
    return {item_id: math.ceil(exact * units) for item_id, units in total.items()}


def stock_up(system: System, stock: Delivery) -> None:
    """Put the stock on the shelves; nothing happens if it is there already."""
    try:
        system.submit(StockUp, stock, key=stock.delivery_id).result(_STOCK_UP_S)
    except TimeoutError:
        raise Stalled(f"the stock was not on the shelves after {_STOCK_UP_S} s") from None
