"""Checkout: an order is placed whole or not at all, on an inventory and a payment provider that are unreliable.

    create --+-- reserve ----==decision==+-- confirm
             +-- authorize --+           +-- commit, capture

Left of the decision a step that fails for good takes the others back; right of it each one must
succeed in the end. What does the reserving and the paying (the shop's own services, or functions of
the caller's) the saga does not know. A card is a reference before anything is written down.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from amends import Completed, Handle, InputError, Outcome, Results, Saga, retriable, step
from amends.demo import cards
from amends.demo.domain import (
    Money,
    Order,
    OrderId,
    PaymentInfo,
    to_whole,
)
from amends.demo.faults import FaultPlan
from amends.demo.messages import (
    AuthorizePayment,
    CapturePayment,
    CommitStock,
    ConfirmOrder,
    CreateOrder,
    Line,
    ReserveStock,
    StockLevels,
    Units,
)
from amends.demo.services.functions import InventoryFunctions, PaymentFunctions
from amends.demo.services.inventory import Inventory
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.shop import CALM, Shop
from amends.demo.stocking import ATTEMPT_S, RETRY
from amends.demo.systems.checkout_request import Number, Request, amount_of, read_line, read_request
from amends.demo.systems.default import OfThisProcess
from amends.demo.systems.runnable import Runnable, refused

DATA = "AMENDS_CHECKOUT_DATA"
"""The environment variable that names the folder of the module's own system."""


class Purchase(Struct, frozen=True, forbid_unknown_fields=True):
    """A request as it is kept: what is wanted, what it costs, and by reference who pays."""

    order_id: OrderId
    user_id: Number
    units: Units
    payment_info: PaymentInfo
    amount: Money


class CheckOut(Saga, name="checkout", deadline_s=30.0):
    """One order, committed or rolled back."""

    input: Purchase

    @step(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def create(self, order: Purchase, done: Results) -> CreateOrder:
        lines = tuple(Line(item_id, units) for item_id, units in order.units.items())
        return CreateOrder(order.order_id, str(order.user_id), lines, order.amount)

    @step(to="inventory", after=[create], timeout_s=ATTEMPT_S, retry=RETRY)
    def reserve(self, order: Purchase, done: Results) -> ReserveStock:
        return ReserveStock(order.order_id, order.units)

    @step(to="payment", after=[create], timeout_s=ATTEMPT_S, retry=RETRY)
    def authorize(self, order: Purchase, done: Results) -> AuthorizePayment:
        payment = order.payment_info
        return AuthorizePayment(order.order_id, str(order.user_id), payment.method, payment.account, order.amount)

    @retriable(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def confirm(self, order: Purchase, done: Results) -> ConfirmOrder:
        return ConfirmOrder(order.order_id)

    @retriable(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def commit(self, order: Purchase, done: Results) -> CommitStock:
        return CommitStock(order.order_id)

    @retriable(to="payment", timeout_s=ATTEMPT_S, retry=RETRY)
    def capture(self, order: Purchase, done: Results) -> CapturePayment:
        return CapturePayment(order.order_id)


class Checkout(Shop):
    """The checkout on one folder; usable as a context, from any number of threads.

    Args:
        inventory, payment: functions to use in place of the shop's own services.
    """

    def __init__(
        self,
        folder: str | Path,
        inventory: InventoryFunctions | None = None,
        payment: PaymentFunctions | None = None,
        plan: FaultPlan = CALM,
    ) -> None:
        services = [Orders, inventory.service if inventory else Inventory, payment.service if payment else Payment]
        super().__init__(folder, [CheckOut], services, plan)
        self._known: set[str] = set()

    def process_order(self, request: Mapping[str, Any], timeout_s: float | None = None) -> bool:
        """True if the order is committed, for good; False if it was rolled back and nothing of it is left.

        The same order again, at the same moment too, is told what became of it and not processed again, even if
        that was False. TimeoutError after `timeout_s` seconds, which changes nothing for the order.

        Raises, before anything is touched:
            InputError: a field is missing, is none, or can't be what it says; the message names it.
            KeyConflict: there is an order of that id with other content.
        """
        return committed(self.submit(read_request(request)).result(timeout_s))

    def submit(self, request: Request) -> Handle:
        """Hand an order in without waiting for what becomes of it."""
        today = datetime.now(UTC).date()
        payment_info = cards.reference(request.payment_info, self.secret, today)
        purchase = Purchase(request.order_id, request.user_id, request.units, payment_info, amount_of(request))
        self._check_products(request)
        return self.system.submit(CheckOut, purchase, key=request.order_id)

    def _check_products(self, request: Request) -> None:
        """InputError unless the shop sells everything that is wanted."""
        asked = request.units.keys() - self._known
        if asked:
            # What the shop has sold once it does not strike off.
            self._known.update(self.system.ask("inventory", StockLevels(tuple(asked))))
        for number, line in enumerate(request.items):
            if str(line.product_id) not in self._known:
                where = f"items[{number}].product_id"
                raise InputError("order", where, f"wanted a product the shop sells, found {line.product_id}")


default = OfThisProcess(Checkout, DATA)


def process_order(request: Mapping[str, Any]) -> bool:
    """`Checkout.process_order` of the module's own system, which is opened when it is first used."""
    return default().process_order(request)


# From and to the customer.


def from_order(order: Order) -> Request:
    """A real order as a request; InputError if it can't be one: here customers and products have numbers."""
    return read_request(
        {
            "user_id": _number("user_id", order.user_id),
            "order_id": order.order_id,
            "items": [
                {"product_id": _number(f"items[{number}].item_id", item.item_id), "quantity": item.quantity}
                for number, item in enumerate(order.items)
            ],
            "payment_info": {
                order.payment_info.method.removeprefix("card_"): order.payment_info.account,
                "amount": str(to_whole(order.amount)),
                "currency": order.currency,
            },
        }
    )


def _number(field: str, text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,17}", text):
        raise InputError("order", field, f"wanted a number, found {text!r}")
    return int(text)


def committed(outcome: Outcome) -> bool:
    """What the customer's caller is told."""
    return isinstance(outcome, Completed)


RUNNABLE = Runnable(
    open=lambda folder, plan: Checkout(folder, plan=plan),
    read=read_line,
    from_order=from_order,
    units=lambda request: request.units,
    say=lambda request, outcome, _: f"{request.order_id} {committed(outcome)}",
    refused=refused,
)
