"""The transaction coordinator: everything about one order over four services, or nothing.

    create --+-- reserve ----+-- prepare ==decision==+-- confirm
             +-- authorize --+                       +-- commit, capture, dispatch

Left of the decision each step can be undone, and the service says how; right of it each one
must succeed in the end. What the steps do is the services'; that a saga goes on from where it
was after a crash, and how long it took, is the journal's.
"""

from pathlib import Path

from amends import Completed, Handle, Outcome, Results, Saga, retriable, step
from amends.console import journal
from amends.console.progress import Progress
from amends.demo.domain import Order
from amends.demo.faults import FaultPlan
from amends.demo.messages import (
    AuthorizePayment,
    CapturePayment,
    CommitStock,
    ConfirmOrder,
    CreateOrder,
    DispatchShipment,
    Line,
    Prepared,
    PrepareShipment,
    ReserveStock,
)
from amends.demo.services.inventory import Inventory
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.demo.shop import CALM, Shop
from amends.demo.stocking import ATTEMPT_S, RETRY
from amends.demo.systems.runnable import Runnable, json_line, refused

SERVICES = (Orders, Inventory, Payment, Shipping)


class PlaceOrder(Saga, name="place-order", deadline_s=30.0):
    """One order, from the customer's wish to the day it leaves the house."""

    input: Order

    @step(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def create(self, order: Order, done: Results) -> CreateOrder:
        lines = tuple(Line(i.item_id, i.quantity, i.unit_price_minor) for i in order.items)
        return CreateOrder(order.order_id, order.user_id, lines, order.amount)

    @step(to="inventory", after=[create], timeout_s=ATTEMPT_S, retry=RETRY)
    def reserve(self, order: Order, done: Results) -> ReserveStock:
        return ReserveStock(order.order_id, order.wanted)

    @step(to="payment", after=[create], timeout_s=ATTEMPT_S, retry=RETRY)
    def authorize(self, order: Order, done: Results) -> AuthorizePayment:
        payment = order.payment_info
        return AuthorizePayment(order.order_id, order.user_id, payment.method, payment.account, order.amount)

    @step(to="shipping", after=[reserve, authorize], timeout_s=ATTEMPT_S, retry=RETRY)
    def prepare(self, order: Order, done: Results) -> PrepareShipment:
        to = order.shipping_address
        return PrepareShipment(order.order_id, to.country, order.units, order.currency, to.in_one_line)

    @retriable(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def confirm(self, order: Order, done: Results) -> ConfirmOrder:
        return ConfirmOrder(order.order_id, done.of("prepare", Prepared).cost)

    @retriable(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def commit(self, order: Order, done: Results) -> CommitStock:
        return CommitStock(order.order_id)

    @retriable(to="payment", timeout_s=ATTEMPT_S, retry=RETRY)
    def capture(self, order: Order, done: Results) -> CapturePayment:
        return CapturePayment(order.order_id)

    @retriable(to="shipping", timeout_s=ATTEMPT_S, retry=RETRY)
    def dispatch(self, order: Order, done: Results) -> DispatchShipment:
        return DispatchShipment(order.order_id)


class Coordinator(Shop):
    """The coordinator on one folder; usable as a context."""

    def __init__(self, folder: str | Path, plan: FaultPlan = CALM) -> None:
        super().__init__(folder, [PlaceOrder], SERVICES, plan)

    def submit(self, order: Order) -> Handle:
        """Hand an order in without waiting; the same order again is the same instance."""
        return self.system.submit(PlaceOrder, order, key=order.order_id)

    def place(self, order: Order, timeout_s: float | None = None) -> Outcome:
        """Hand an order in and wait for what becomes of it."""
        return self.submit(order).result(timeout_s)

    def progress(self, order_id: str) -> Progress | None:
        """How far an order has come, step by step, what failed, and how long it took in all; None if it is unknown."""
        return journal.progress(self.folder, key=order_id, saga=PlaceOrder.plan.name, sagas=[PlaceOrder])


def from_order(order: Order) -> Order:
    """A real order as it is."""
    return order


def say(order: Order, outcome: Outcome, took_s: float) -> str:
    """The order, what became of it, where and why not, and how long that took."""
    told = "confirmed" if isinstance(outcome, Completed) else f"cancelled at {outcome.step}: {outcome.reason}"
    return f"{order.order_id} {told} ({took_s * 1000:.0f} ms)"


RUNNABLE = Runnable(
    open=Coordinator,
    read=json_line(Order, "order"),
    from_order=from_order,
    units=lambda order: order.wanted,
    say=say,
    refused=refused,
)
