"""Fulfilment: one order after the other's steps, and the customer's own names for all of it.

    reserve -- pay -- schedule -- confirm ==decision==

Each step waits for the one before it and can be undone, and the service says how; the last one's
undo tells the customer again, for a letter can't be taken back. What was done for an order by hand
before is not done again, and is undone with the rest if the order fails later on; if it was done
otherwise (other units, another amount, another address), the order is refused.

What is in the module under the customer's names (`place_order`, `inventory`, ...) works on one
system, which is opened when it is first used: in a temporary folder, or, to last longer, in the
one that the environment variable AMENDS_FULFILMENT_DATA names. `Fulfilment` is for those who want
several.

`fulfilment.inventory = {"a": 5}` fills the shelves. After `from ... import *`, though,
`inventory = {"a": 5}` makes the caller's own name mean the caller's own dict, of which nobody here
hears: fill what is there, with `inventory["a"] = 5` or `inventory.update(...)`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Struct

from amends import Completed, Handle, Outcome, Results, Saga, step
from amends.demo.domain import ItemId, Order, OrderId, PaymentInfo, Quantity, UserId, total_units
from amends.demo.faults import FaultPlan
from amends.demo.messages import (
    CancelShipment,
    ChargePayment,
    RefundPayment,
    ResendConfirmation,
    ReturnStock,
    ScheduleShipment,
    SendConfirmation,
    Taken,
    TakeStock,
)
from amends.demo.services.inventory import Inventory
from amends.demo.services.notification import Notification
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.demo.shop import CALM, Shop
from amends.demo.stocking import ATTEMPT_S
from amends.demo.systems.by_hand import BY_HAND, RETRY, key_of
from amends.demo.systems.default import OfThisProcess
from amends.demo.systems.fulfilment_request import (
    Request,
    Wanted,
    address_of,
    payment_of,
    read_address,
    read_amount,
    read_payment,
    read_request,
    read_units,
    units_of,
)
from amends.demo.systems.globals import Globals, Number
from amends.demo.systems.runnable import Runnable, json_line, refused
from amends.demo.systems.views import HoldsViews
from amends.supervisor.runtime import SystemClock

DATA = "AMENDS_FULFILMENT_DATA"
"""The environment variable that names the folder of the module's own system."""


class FulfilmentOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of it: the items each once, a reference to who pays, and the address as text."""

    order_id: OrderId
    units: dict[ItemId, Quantity]
    user_id: UserId
    payment_info: PaymentInfo
    shipping_address: dict[str, str]


class Fulfil(Saga, name="fulfilment", deadline_s=30.0):
    """One order; what it costs is inventory's to say, which knows the prices."""

    input: FulfilmentOrder

    @step(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def reserve(self, order: FulfilmentOrder, done: Results) -> TakeStock:
        return TakeStock(order.order_id, order.units)

    @step(to="payment", after=[reserve], timeout_s=ATTEMPT_S, retry=RETRY)
    def pay(self, order: FulfilmentOrder, done: Results) -> ChargePayment:
        payment, amount = order.payment_info, done.of("reserve", Taken).amount
        assert amount is not None  # it was asked for
        return ChargePayment(order.order_id, order.user_id, payment.method, payment.account, amount)

    @step(to="shipping", after=[pay], timeout_s=ATTEMPT_S, retry=RETRY)
    def schedule(self, order: FulfilmentOrder, done: Results) -> ScheduleShipment:
        return ScheduleShipment(order.order_id, order.shipping_address)

    @step(to="notification", after=[schedule], timeout_s=ATTEMPT_S, retry=RETRY)
    def confirm(self, order: FulfilmentOrder, done: Results) -> SendConfirmation:
        return SendConfirmation(order.order_id, order.user_id)


SAGAS: tuple[type[Saga], ...] = (Fulfil, *BY_HAND.values())
SERVICES = (Inventory, Payment, Shipping, Notification)


class Functions(Globals):
    """The customer's functions, and what were their globals, on one system.

    Each call of a function is one durable saga, and may come from any thread. An order that was placed before gets the
    answer it got then, and KeyConflict if it was another order. Input that can't be is an InputError with the field,
    before anything is touched.

    Args:
        running: gives the shop that runs; asked each time.
    """

    def __init__(self, running: "Callable[[], Fulfilment]") -> None:
        self._running = running
        super().__init__(self._ask, self._send)

    def submit(self, request: Request) -> Handle:
        """Hand an order in without waiting; the same order again is the same instance."""
        running = self._running()
        order = FulfilmentOrder(
            request.order_id,
            units_of(request.items, "place_order"),
            request.user_id,
            payment_of(request.payment_info, running.secret),
            address_of(request.shipping_address),
        )
        return running.system.submit(Fulfil, order, key=order.order_id)

    def place_order(
        self,
        order_id: str,
        items: list[dict[str, Any]],
        user_id: str,
        payment_info: dict[str, Any],
        shipping_address: dict[str, Any],
    ) -> bool:
        """Reserve, pay, schedule, confirm: whether all succeeded; if not, what was done is undone when this returns."""
        request = {
            "order_id": order_id,
            "items": items,
            "user_id": user_id,
            "payment_info": payment_info,
            "shipping_address": shipping_address,
        }
        return _went_well(self.submit(read_request(request, "place_order")).result())

    def get_item_price(self, item_id: str) -> Number:
        """What stands in `item_prices`; KeyError without a price."""
        return self.item_prices[item_id]

    def reserve_inventory(self, order_id: str, items: list[dict[str, Any]]) -> bool:
        """Take all items or none; False when any is short, or the order has taken others before."""
        units = read_units(items, "reserve_inventory")
        return _went_well(self._send(TakeStock(order_id, units, priced=False)))

    def compensate_inventory_reservation(self, order_id: str, items: list[dict[str, Any]]) -> None:
        """Put back, once, what was taken for the order, which inventory knows better than `items` does."""
        self._send(ReturnStock(order_id))

    def process_payment(self, order_id: str, user_id: str, payment_info: dict[str, Any], total_amount: Number) -> bool:
        """Take the amount, in whole units; False when the order is on the blacklist, or has paid otherwise before."""
        where = "process_payment"
        payment = read_payment(payment_info, self._running().secret, where)
        amount = read_amount(total_amount, where)
        return _went_well(self._send(ChargePayment(order_id, user_id, payment.method, payment.account, amount)))

    def refund_payment(self, order_id: str, user_id: str, amount: Number) -> None:
        """Give back, once, all that was taken for the order, which payment knows better than `amount` does."""
        self._send(RefundPayment(order_id))

    def schedule_shipping(self, order_id: str, shipping_address: dict[str, Any]) -> bool:
        """Book the parcel's way; False when the order is among the shipping errors, or goes elsewhere already."""
        address = read_address(shipping_address, "schedule_shipping")
        return _went_well(self._send(ScheduleShipment(order_id, address)))

    def cancel_shipping(self, order_id: str) -> None:
        """Cancel, once, what was scheduled for the order."""
        self._send(CancelShipment(order_id))

    def send_confirmation_notification(self, order_id: str, user_id: str) -> bool:
        """Tell the customer; always True."""
        return _went_well(self._send(SendConfirmation(order_id, user_id)))

    def resend_confirmation_notification(self, order_id: str, user_id: str) -> None:
        """Tell the customer again, once, after a short delay; nothing if nobody ever told them."""
        self._send(ResendConfirmation(order_id, user_id))

    def _ask(self, service: str, query: object) -> Any:
        return self._running().system.ask(service, query)

    def _send(self, command: Struct) -> Outcome:
        running = self._running()
        return running.system.run(BY_HAND[type(command)], command, key=key_of(command, running.new_id))


class Fulfilment(Functions, Shop):
    """The customer's functions and globals on one folder; usable as a context."""

    def __init__(self, folder: str | Path, plan: FaultPlan = CALM) -> None:
        Shop.__init__(self, folder, SAGAS, SERVICES, plan)
        Functions.__init__(self, lambda: self)
        self.new_id = SystemClock().new_id


def from_order(order: Order) -> Request:
    """A real order as the customer would hand it in."""
    payment, address = order.payment_info, order.shipping_address
    return Request(
        order.order_id,
        tuple(Wanted(item.item_id, item.quantity) for item in order.items),
        order.user_id,
        {"account" if payment.method == "account" else "token": payment.account},
        {name: text for name, text in msgspec.structs.asdict(address).items() if text},
    )


def _went_well(outcome: Outcome) -> bool:
    return isinstance(outcome, Completed)


def _say(request: Request, outcome: Outcome, *_: float) -> str:
    return f"{request.order_id} {_went_well(outcome)}"


RUNNABLE = Runnable(
    open=Fulfilment,
    read=json_line(Request, "order"),
    from_order=from_order,
    units=lambda request: total_units((item.item_id, item.quantity) for item in request.items),
    say=_say,
    refused=refused,
)

# The customer's own names.


class _Module(HoldsViews, ModuleType):
    """This module, whose globals may be assigned."""


sys.modules[__name__].__class__ = _Module

_here = Functions(OfThisProcess(Fulfilment, DATA))

place_order = _here.place_order
get_item_price = _here.get_item_price
reserve_inventory = _here.reserve_inventory
compensate_inventory_reservation = _here.compensate_inventory_reservation
process_payment = _here.process_payment
refund_payment = _here.refund_payment
schedule_shipping = _here.schedule_shipping
cancel_shipping = _here.cancel_shipping
send_confirmation_notification = _here.send_confirmation_notification
resend_confirmation_notification = _here.resend_confirmation_notification

inventory = _here.inventory
item_prices = _here.item_prices
payment_records = _here.payment_records
blacklist_order_ids = _here.blacklist_order_ids
shipping_error_order_ids = _here.shipping_error_order_ids

__all__ = [
    "blacklist_order_ids",
    "cancel_shipping",
    "compensate_inventory_reservation",
    "get_item_price",
    "inventory",
    "item_prices",
    "payment_records",
    "place_order",
    "process_payment",
    "refund_payment",
    "resend_confirmation_notification",
    "reserve_inventory",
    "schedule_shipping",
    "send_confirmation_notification",
    "shipping_error_order_ids",
]
