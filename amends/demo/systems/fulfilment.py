"""Fulfilment: one order after the other's steps, and the customer's own names for all of it.

    reserve -- pay -- schedule -- confirm ==decision==

Each step waits for the one before it and can be undone, and the service says how; the last one's
undo tells the customer again, for a letter can't be taken back. What is in the module under the
customer's names (`place_order`, `inventory`, ...) works on one system, which is opened when it
is first used: in a temporary folder, or, to last longer, in the one that the environment
variable AMENDS_FULFILMENT_DATA names. `Fulfilment` is for those who want several.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from amends import Completed, Handle, InputError, Outcome, Results, Saga, step
from amends.demo import cards
from amends.demo.domain import (
    CURRENCY,
    LINES_MAX,
    ItemId,
    Money,
    Order,
    OrderId,
    PaymentInfo,
    Quantity,
    UserId,
    to_minor,
    total_units,
)
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
from amends.demo.systems.by_hand import BY_HAND, RETRY
from amends.demo.systems.default import OfThisProcess
from amends.demo.systems.globals import Globals, Number
from amends.demo.systems.runnable import Runnable, json_line
from amends.protocol import codec

DATA = "AMENDS_FULFILMENT_DATA"
"""The environment variable that names the folder of the module's own system."""

AMOUNT_MAX = 10**15
"""In whole units; an amount beyond is a mistake."""

_PENNY = Decimal("0.01")

S = TypeVar("S")


class Wanted(Struct, frozen=True):
    """So many of one item."""

    item_id: ItemId
    quantity: Quantity


Items = Annotated[tuple[Wanted, ...], Meta(min_length=1, max_length=LINES_MAX)]


class _Items(Struct, frozen=True):
    items: Items


class _Units(Struct, frozen=True):
    items: dict[ItemId, Quantity]


class _Payment(Struct, frozen=True):
    payment_info: dict[str, Any]


class _Address(Struct, frozen=True):
    shipping_address: dict[str, Any]


class Request(Struct, frozen=True):
    """What the customer hands in: `payment_info` and `shipping_address` hold whatever they hold."""

    order_id: OrderId
    items: Items
    user_id: UserId
    payment_info: dict[str, Any]
    shipping_address: dict[str, Any]

    def __repr__(self) -> str:
        return f"Request(order_id={self.order_id!r})"  # there may be a card in it


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
            _units(request.items, "place_order"),
            request.user_id,
            _payment(request.payment_info, running.secret),
            _text(request.shipping_address),
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
        return _went_well(self.submit(_sound(Request, request, "place_order")).result())

    def get_item_price(self, item_id: str) -> Number:
        """What stands in `item_prices`; KeyError without a price."""
        return self.item_prices[item_id]

    def reserve_inventory(self, order_id: str, items: list[dict[str, Any]]) -> bool:
        """Take all items or none; False when any is short."""
        where = "reserve_inventory"
        units = _units(_sound(_Items, {"items": items}, where).items, where)
        return _went_well(self._send(TakeStock(order_id, units, priced=False)))

    def compensate_inventory_reservation(self, order_id: str, items: list[dict[str, Any]]) -> None:
        """Put back, once, what was taken for the order, which inventory knows better than `items` does."""
        self._send(ReturnStock(order_id))

    def process_payment(self, order_id: str, user_id: str, payment_info: dict[str, Any], total_amount: Number) -> bool:
        """Take the amount, in whole units of the shop's currency; False when the order is on the blacklist."""
        where = "process_payment"
        payment = _payment(_sound(_Payment, {"payment_info": payment_info}, where).payment_info, self._running().secret)
        amount = _money(total_amount, where)
        return _went_well(self._send(ChargePayment(order_id, user_id, payment.method, payment.account, amount)))

    def refund_payment(self, order_id: str, user_id: str, amount: Number) -> None:
        """Give back, once, all that was taken for the order, which payment knows better than `amount` does."""
        self._send(RefundPayment(order_id))

    def schedule_shipping(self, order_id: str, shipping_address: dict[str, Any]) -> bool:
        """Book the parcel's way; False when the order is among the shipping errors."""
        found = _sound(_Address, {"shipping_address": shipping_address}, "schedule_shipping")
        return _went_well(self._send(ScheduleShipment(order_id, _text(found.shipping_address))))

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
        return self._running().system.run(BY_HAND[type(command)], command)


class Fulfilment(Functions, Shop):
    """The customer's functions and globals on one folder; usable as a context."""

    def __init__(self, folder: str | Path, plan: FaultPlan = CALM) -> None:
        Shop.__init__(self, folder, SAGAS, SERVICES, plan)
        Functions.__init__(self, lambda: self)
        self._folder = Path(folder)

    @cached_property
    def secret(self) -> bytes:
        """The key under which cards have their tokens here."""
        return cards.secret(self._folder)


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


# What stands in the arguments.


def _sound(kind: type[S], fields: dict[str, Any], where: str) -> S:
    """The fields as a `kind`; the error names the one that can't be."""
    return codec.decode(kind, codec.checked(dict, fields, where), where)


def _units(items: Iterable[Wanted], where: str) -> dict[str, int]:
    """Units by item, each item once; together they must be a quantity, too."""
    units = total_units((item.item_id, item.quantity) for item in items)
    return _sound(_Units, {"items": units}, where).items


def _payment(payment_info: Mapping[str, object], secret: bytes) -> PaymentInfo:
    """What may be written down of a payment: this customer's may say anything, and no card of theirs is turned away."""
    try:
        return cards.reference(payment_info, secret, date.min)
    except InputError:
        return PaymentInfo("account", cards.UNSPECIFIED)


def _text(address: Mapping[str, object]) -> dict[str, str]:
    """An address as it was written, with what is no text as JSON."""
    return {line: told if isinstance(told, str) else codec.encode(told).decode() for line, told in address.items()}


def _money(amount: object, where: str) -> Money:
    """An amount in whole units, rounded to minor ones, since sums of floats are off by a hair."""
    if not isinstance(amount, int | float | Decimal) or isinstance(amount, bool):
        raise InputError(where, "$.total_amount", f"found {type(amount).__name__}, wanted a number")
    whole = Decimal(str(amount))
    if not whole.is_finite() or not 0 <= whole <= AMOUNT_MAX:
        raise InputError(where, "$.total_amount", f"wanted a number from 0 to {AMOUNT_MAX}")
    return Money(to_minor(whole.quantize(_PENNY, ROUND_HALF_UP), CURRENCY), CURRENCY)


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
    refused=lambda outcome: None if isinstance(outcome, Completed) else outcome.reason.partition(":")[0],
)

# The customer's own names.

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
