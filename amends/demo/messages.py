"""What the order saga asks of the services, and what they find out for it.

One command for each thing a service does; a later stage (commit, capture ...) has a command of
its own, which names the order and leaves the rest to what the service wrote down earlier.
Who sends what after what is `place_order`'s.
"""

from typing import Annotated

from msgspec import Meta, Struct

from amends.demo.domain import Account, Item, ItemId, Method, Money, OrderId, Quantity, UserId


class CreateOrder(Struct, frozen=True):
    """Write the order down as pending."""

    order_id: OrderId
    user_id: UserId
    items: tuple[Item, ...]
    amount: Money


class ConfirmOrder(Struct, frozen=True):
    """The order holds."""

    order_id: OrderId
    shipping: Money


class ReserveStock(Struct, frozen=True):
    """Set units aside, of all items or of none."""

    order_id: OrderId
    units: dict[ItemId, Quantity]


class Reserved(Struct, frozen=True):
    """The units stand aside."""

    units: int


class CommitStock(Struct, frozen=True):
    """The units set aside leave the warehouse."""

    order_id: OrderId


class ReceiveStock(Struct, frozen=True):
    """A delivery came in; items the shop did not have are new to it."""

    delivery_id: Annotated[str, Meta(min_length=1, max_length=80)]
    units: dict[ItemId, Annotated[int, Meta(ge=0, le=2**40)]]


class AuthorizePayment(Struct, frozen=True):
    """Hold the amount on the customer's account."""

    order_id: OrderId
    user_id: UserId
    method: Method
    account: Account
    amount: Money


class CapturePayment(Struct, frozen=True):
    """Take what is held."""

    order_id: OrderId


class PrepareShipment(Struct, frozen=True):
    """Make out the label and find out what the way costs."""

    order_id: OrderId
    country: str
    units: int
    currency: str


class Prepared(Struct, frozen=True):
    """The parcel has a label.

    Attributes:
        zone: the zone of rates its country is in.
    """

    zone: str
    cost: Money


class DispatchShipment(Struct, frozen=True):
    """Hand the parcel over."""

    order_id: OrderId


class NotifyCustomer(Struct, frozen=True):
    """Tell the customer that the order holds."""

    order_id: OrderId
    user_id: UserId
    amount: Money
    shipping: Money
