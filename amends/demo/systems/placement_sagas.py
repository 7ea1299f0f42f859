"""The sagas of a placement: a short order in one, a long one in two.

    Place    create -- pay -- reserve_first -- reserve_rest ==decision==+-- confirm -- notify
                                                                        +-- capture, commit
    Accept   create ==decision== hand_over, which starts
    Finish   take_over -- pay -- reserve_first -- reserve_rest --+-- review ----+==decision== as Place
                                                                 +-- supplier --+

A customer waits for Place, or for Accept; nobody waits for Finish, so it may take days. The
last step of Accept starts it, durably and once, and from its first step on Finish answers for
the order: if it goes back, the order is cancelled.
"""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from amends import Done, IdempotencyKey, Results, Retry, Saga, Service, handles, pivot, retriable, step
from amends.demo.domain import CURRENCY, LINES_MAX, Money, OrderId, PaymentInfo, UserId, total_units
from amends.demo.messages import (
    AuthorizePayment,
    AwaitApproval,
    AwaitStock,
    CapturePayment,
    CommitStock,
    ConfirmOrder,
    CreateOrder,
    Line,
    NotifyCustomer,
    RecordApproval,
    TakeOverOrder,
)
from amends.demo.stocking import ATTEMPT_S, RETRY

REVIEW = "review"
SUPPLIER = "supplier"
NOBODY = ""
"""Whose word an order waits for that needs none."""

DEADLINE_S = 5.0
UNDO_RESERVE_S = 1.0

# For people and suppliers there is time: a week of attempts. An undo that keeps failing gets as many, but they follow
# each other in half a second, so a person is asked for after a quarter of an hour.
WAITING_S = 300.0
PATIENT = Retry(attempts=2_000, base_s=0.05, cap_s=1.0, slow_s=2.0)


class PlacementOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """An order as it was taken at the door.

    Attributes:
        items: with the prices of that moment.
        awaits: whose word it waits for; a short order waits for nobody's.
    """

    order_id: OrderId
    customer_id: UserId
    items: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=LINES_MAX)]
    payment: PaymentInfo
    awaits: tuple[str, ...] = ()

    @property
    def amount(self) -> Money:
        """What all of it costs."""
        return Money(sum(line.quantity * (line.unit_price_minor or 0) for line in self.items), CURRENCY)

    @property
    def units(self) -> dict[str, int]:
        """Units by item, each item once."""
        return total_units((line.item_id, line.quantity) for line in self.items)

    # Stock is taken in two steps, so that an order whose first item is not to be had keeps no other from anybody.

    @property
    def first_item(self) -> dict[str, int]:
        """Units of the item that is named first."""
        return dict(list(self.units.items())[:1])

    @property
    def other_items(self) -> dict[str, int]:
        """Units of all others; there may be none."""
        return dict(list(self.units.items())[1:])


class _End:
    """What follows the decision, and must succeed in the end."""

    @retriable(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def confirm(self, order: PlacementOrder, done: Results) -> ConfirmOrder:
        return ConfirmOrder(order.order_id)

    @retriable(to="payment", timeout_s=ATTEMPT_S, retry=RETRY)
    def capture(self, order: PlacementOrder, done: Results) -> CapturePayment:
        return CapturePayment(order.order_id)

    @retriable(to="inventory", timeout_s=ATTEMPT_S, retry=RETRY)
    def commit(self, order: PlacementOrder, done: Results) -> CommitStock:
        return CommitStock(order.order_id)

    # Whoever reads the e-mail may look the order up at once, and should find it confirmed.
    @retriable(to="notification", after=[confirm], timeout_s=ATTEMPT_S, retry=RETRY)
    def notify(self, order: PlacementOrder, done: Results) -> NotifyCustomer:
        return NotifyCustomer(order.order_id, order.customer_id, order.amount)


def _create(order: PlacementOrder) -> CreateOrder:
    return CreateOrder(order.order_id, order.customer_id, order.items, order.amount)


def _pay(order: PlacementOrder) -> AuthorizePayment:
    payment = order.payment
    return AuthorizePayment(order.order_id, order.customer_id, payment.method, payment.account, order.amount)


class Place(_End, Saga, name="placement", deadline_s=DEADLINE_S, undo_reserve_s=UNDO_RESERVE_S):
    """A short order, all of it while the customer waits."""

    input: PlacementOrder

    @step(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def create(self, order: PlacementOrder, done: Results) -> CreateOrder:
        return _create(order)

    @step(to="payment", after=[create], timeout_s=ATTEMPT_S, retry=RETRY)
    def pay(self, order: PlacementOrder, done: Results) -> AuthorizePayment:
        return _pay(order)

    @step(to="inventory", after=[pay], timeout_s=ATTEMPT_S, retry=RETRY)
    def reserve_first(self, order: PlacementOrder, done: Results) -> AwaitStock:
        return AwaitStock(order.order_id, order.first_item)

    @step(to="inventory", after=[reserve_first], timeout_s=ATTEMPT_S, retry=RETRY)
    def reserve_rest(self, order: PlacementOrder, done: Results) -> AwaitStock:
        return AwaitStock(order.order_id, order.other_items)


class StartRest(Struct, frozen=True):
    """Start the further saga of a long order."""

    order: PlacementOrder


class Desk(Service, name="desk"):
    """Starts further sagas for those that have done their part; keeps nothing of its own.

    Args:
        start: returns once the start is on disk; called again for the same order it starts nothing new.
    """

    def __init__(self, start: Callable[[PlacementOrder], object]) -> None:
        super().__init__()
        self.start_rest_of = start

    # Outside, for it waits for the journal, and no actor waits for another one in its turn.
    @handles(StartRest, outside=True)
    def start_rest(self, command: StartRest, key: IdempotencyKey) -> Done[None]:
        self.start_rest_of(command.order)
        return Done()


class Accept(Saga, name="placement-accept", deadline_s=DEADLINE_S, undo_reserve_s=UNDO_RESERVE_S):
    """A long order while the customer waits: written down, and handed over."""

    input: PlacementOrder

    @step(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def create(self, order: PlacementOrder, done: Results) -> CreateOrder:
        return _create(order)

    @retriable(to="desk", timeout_s=ATTEMPT_S, retry=RETRY)
    def hand_over(self, order: PlacementOrder, done: Results) -> StartRest:
        return StartRest(order)


class Finish(_End, Saga, name="placement-rest"):
    """The rest of a long order, which commits all of it or undoes all of it. Nobody may cancel it but by saying no."""

    input: PlacementOrder

    # Until this is done its undo would not cancel the order, so it is not given up easily.
    @step(to="orders", timeout_s=ATTEMPT_S, retry=PATIENT)
    def take_over(self, order: PlacementOrder, done: Results) -> TakeOverOrder:
        return TakeOverOrder(order.order_id)

    @step(to="payment", after=[take_over], timeout_s=ATTEMPT_S, retry=RETRY)
    def pay(self, order: PlacementOrder, done: Results) -> AuthorizePayment:
        return _pay(order)

    @step(to="inventory", after=[pay], timeout_s=WAITING_S, retry=PATIENT)
    def reserve_first(self, order: PlacementOrder, done: Results) -> AwaitStock:
        return AwaitStock(order.order_id, order.first_item)

    @step(to="inventory", after=[reserve_first], timeout_s=WAITING_S, retry=PATIENT)
    def reserve_rest(self, order: PlacementOrder, done: Results) -> AwaitStock:
        return AwaitStock(order.order_id, order.other_items)

    @step(to="orders", after=[reserve_rest], timeout_s=WAITING_S, retry=PATIENT)
    def review(self, order: PlacementOrder, done: Results) -> AwaitApproval:
        return AwaitApproval(order.order_id, REVIEW if REVIEW in order.awaits else NOBODY)

    @step(to="orders", after=[reserve_rest], timeout_s=WAITING_S, retry=PATIENT)
    def supplier(self, order: PlacementOrder, done: Results) -> AwaitApproval:
        return AwaitApproval(order.order_id, SUPPLIER if SUPPLIER in order.awaits else NOBODY)


class Approval(Saga, name="placement-approval"):
    """What somebody says to an order, recorded."""

    input: RecordApproval

    # The pivot, for it may be refused: there may be no such order.
    @pivot(to="orders", timeout_s=ATTEMPT_S, retry=RETRY)
    def record(self, word: RecordApproval, done: Results) -> RecordApproval:
        return word
