"""The order saga: everything the shop does about one order, or nothing.

    create --+-- reserve ----+-- prepare ==decision==+-- confirm -- notify
             +-- authorize --+                       +-- commit, capture, dispatch

Left of the decision each step can be undone, and the service says how; right of it each one
must succeed in the end. What the steps do is the services'.
"""

from typing import Annotated

from msgspec import Meta, Struct

from amends import Results, Retry, Saga, retriable, step
from amends.demo.domain import Order
from amends.demo.messages import (
    AuthorizePayment,
    CapturePayment,
    CommitStock,
    ConfirmOrder,
    CreateOrder,
    DispatchShipment,
    NotifyCustomer,
    Prepared,
    PrepareShipment,
    ReceiveStock,
    ReserveStock,
)

# Longer than a service needs to get over a handler that hangs, short enough that a lost message is soon sent again.
ATTEMPT_S = 2.0
RETRY = Retry(attempts=8, base_s=0.05, cap_s=1.0, slow_s=2.0)


class PlaceOrder(Saga, name="place-order", deadline_s=30.0):
    """One order, from the customer's wish to the confirmation."""

    input: Order

    @step(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def create(self, order: Order, done: Results) -> CreateOrder:
        return CreateOrder(order.order_id, order.user_id, order.items, order.amount)

    @step(to="inventory", after=[create], timeout_s=ATTEMPT_S, retry=RETRY)
    def reserve(self, order: Order, done: Results) -> ReserveStock:
        return ReserveStock(order.order_id, order.wanted)

    @step(to="payment", after=[create], timeout_s=ATTEMPT_S, retry=RETRY)
    def authorize(self, order: Order, done: Results) -> AuthorizePayment:
        payment = order.payment_info
        return AuthorizePayment(order.order_id, order.user_id, payment.method, payment.account, order.amount)

    @step(to="shipping", after=[reserve, authorize], timeout_s=ATTEMPT_S, retry=RETRY)
    def prepare(self, order: Order, done: Results) -> PrepareShipment:
        return PrepareShipment(order.order_id, order.shipping_address.country, order.units, order.currency)

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

    # Whoever reads the confirmation may look the order up at once, and should find it confirmed.
    @retriable(to="notification", after=[confirm], timeout_s=ATTEMPT_S, retry=RETRY)
    def notify(self, order: Order, done: Results) -> NotifyCustomer:
        return NotifyCustomer(order.order_id, order.user_id, order.amount, done.of("prepare", Prepared).cost)


class Delivery(Struct, frozen=True, forbid_unknown_fields=True):
    """Goods that arrive at the warehouse."""

    delivery_id: Annotated[str, Meta(min_length=1, max_length=80)]
    units: dict[str, int]


class StockUp(Saga, name="stock-up"):
    """One delivery, put on the shelves once however often it is announced."""

    input: Delivery

    @retriable(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def receive(self, delivery: Delivery, done: Results) -> ReceiveStock:
        return ReceiveStock(delivery.delivery_id, delivery.units)
