"""The customer's globals: five views of what the services keep.

They are read and written as the dicts and sets they were; what stands behind each is one query
and one command. A value that can't be is a TypeError or a ValueError that names it, and a write
that is refused is a ValueError; in both cases nothing has changed. What is assigned to one of them
(`shop.inventory = {"a": 5}`) becomes its content.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec import Struct

from amends import Compensated, InputError, Outcome
from amends.demo.messages import (
    Blacklist,
    PaymentRecords,
    Price,
    Prices,
    SetBlacklist,
    SetPaymentRecords,
    SetPrices,
    SetShippingErrors,
    SetStock,
    ShippingErrors,
    StockLevels,
)
from amends.demo.services.payment import PROCESSED
from amends.demo.systems.views import DictView, HoldsViews, SetView

COUNT_MAX = 2**40
"""No shelf holds more of an item."""

Number = float | Decimal


class Globals(HoldsViews):
    """The five.

    Args:
        ask: puts a query to a service.
        send: brings a command to its service, and waits for what becomes of it.

    Attributes:
        inventory: units on the shelves by item.
        item_prices: prices by item, in whole units of the shop's currency.
        payment_records: "processed" by order, None once that was refunded.
        blacklist_order_ids: orders whose payment is refused.
        shipping_error_order_ids: orders that can't be shipped.
    """

    def __init__(self, ask: Callable[[str, object], Any], send: Callable[[Struct], Outcome]) -> None:
        def write(name: str, command: Struct) -> None:
            try:
                outcome = send(command)
            except InputError as error:
                raise ValueError(f"{name}: {error.problem}") from None
            if isinstance(outcome, Compensated):
                raise ValueError(f"{name}: {outcome.reason}")

        self.inventory: DictView[int] = DictView(
            "inventory",
            read=lambda items: ask("inventory", StockLevels(items)),
            write=lambda counts, gone: write("inventory", SetStock({**counts, **dict.fromkeys(gone)})),
            sound=_count,
        )
        self.item_prices: DictView[Number] = DictView(
            "item_prices",
            read=lambda items: {i: _read_price(price) for i, price in ask("inventory", Prices(items)).items()},
            write=lambda prices, gone: write(
                "item_prices", SetPrices({i: _told_price(p) for i, p in prices.items()} | dict.fromkeys(gone))
            ),
            sound=_price,
        )
        self.payment_records: DictView[str | None] = DictView(
            "payment_records",
            read=lambda orders: ask("payment", PaymentRecords(orders)),
            write=lambda records, gone: write("payment_records", SetPaymentRecords(records, gone)),
            sound=_record,
        )
        self.blacklist_order_ids = SetView(
            "blacklist_order_ids",
            read=lambda: ask("payment", Blacklist()),
            write=lambda more, gone: write("blacklist_order_ids", SetBlacklist(more, gone)),
        )
        self.shipping_error_order_ids = SetView(
            "shipping_error_order_ids",
            read=lambda: ask("shipping", ShippingErrors()),
            write=lambda more, gone: write("shipping_error_order_ids", SetShippingErrors(more, gone)),
        )


def _count(where: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{where}: found {type(value).__name__}, wanted an int")
    if not 0 <= value <= COUNT_MAX:
        raise ValueError(f"{where}: found {value}, wanted an int from 0 to {COUNT_MAX}")
    return value


def _price(where: str, value: object) -> Number:
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise TypeError(f"{where}: found {type(value).__name__}, wanted an int, a float or a Decimal")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{where}: found {value}, wanted a number of at least 0")
    return value


def _record(where: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{where}: found {type(value).__name__}, wanted a str or None")
    if value not in (PROCESSED, None):
        raise ValueError(f"{where}: wanted {PROCESSED!r} or None")
    return value


def _told_price(price: Number) -> Price:
    return str(price) if isinstance(price, Decimal) else price


def _read_price(price: Price) -> Number:
    return Decimal(price) if isinstance(price, str) else price
