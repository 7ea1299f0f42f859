"""What sagas ask of the shop's services, and what they find out.

One command for each thing a service does. What can be done in two stages (reserve and commit,
authorize and capture, prepare and dispatch) and in one (take, charge, schedule) has commands for
both; a later stage names the order and leaves the rest to what the service wrote down earlier.
Who sends what after what is the `systems`' business. Queries change nothing.
"""

from typing import Annotated

from msgspec import Meta, Struct

from amends.demo.domain import Account, AmountMinor, ItemId, Method, Money, OrderId, PriceMinor, Quantity, UserId

Units = dict[ItemId, Quantity]
Price = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)] | str
"""A price in whole units of the shop's currency, as it was given: a number, or a Decimal's text."""

# Orders.


class Line(Struct, frozen=True, omit_defaults=True):
    """What is wanted of one item, and its price where the order tells it."""

    item_id: ItemId
    quantity: Quantity
    unit_price_minor: PriceMinor | None = None


class CreateOrder(Struct, frozen=True):
    """Write the order down as pending."""

    order_id: OrderId
    user_id: UserId
    items: tuple[Line, ...]
    amount: Money


class ConfirmOrder(Struct, frozen=True):
    """The order holds; `shipping` is what its way costs, where there is one."""

    order_id: OrderId
    shipping: Money | None = None


class TakeOverOrder(Struct, frozen=True):
    """A further saga answers for the pending order from here on: its undo cancels it."""

    order_id: OrderId


class AwaitApproval(Struct, frozen=True):
    """Wait until somebody (a person, a supplier) has said yes or no to the order; if `of` is empty, for nobody."""

    order_id: OrderId
    of: str


class RecordApproval(Struct, frozen=True):
    """What somebody said to an order; the first word counts."""

    order_id: OrderId
    of: str
    approved: bool
    by: Annotated[str, Meta(min_length=1, max_length=80)]


# Inventory.


class ReserveStock(Struct, frozen=True):
    """Set units aside, of all items or of none.

    Attributes:
        priced: refuse an item that has no price, and tell what all of them cost.
    """

    order_id: OrderId
    units: Units
    priced: bool = False


class AwaitStock(Struct, frozen=True):
    """Set units aside as they come free, and wait for those that other orders hold and have not committed.

    An order may ask for units in several steps; each of them waits, and is undone, for itself.
    """

    order_id: OrderId
    units: Units


class Reserved(Struct, frozen=True):
    """The units stand aside; `amount` is what they cost, if that was asked."""

    units: int
    amount: Money | None = None


class TakeStock(Struct, frozen=True):
    """Take units out at once, of all items or of none, at the prices of the catalogue.

    Attributes:
        priced: refuse an item that has no price.
    """

    order_id: OrderId
    units: Units
    priced: bool = True


class Taken(Struct, frozen=True):
    """The units are gone; `amount` is what they cost, if all had a price."""

    amount: Money | None


class ReturnStock(Struct, frozen=True):
    """Put back what was taken for an order, once; nothing if nothing was."""

    order_id: OrderId


class CommitStock(Struct, frozen=True):
    """The units set aside leave the warehouse."""

    order_id: OrderId


class ReceiveStock(Struct, frozen=True):
    """A delivery came in; items the shop did not have are new to it."""

    delivery_id: Annotated[str, Meta(min_length=1, max_length=80)]
    units: dict[ItemId, Annotated[int, Meta(ge=0, le=2**40)]]


class SetStock(Struct, frozen=True):
    """What was counted on the shelves, by item; None strikes the item off."""

    counts: dict[ItemId, Annotated[int, Meta(ge=0, le=2**40)] | None]


class SetPrices(Struct, frozen=True):
    """The catalogue's prices, by item; None strikes the price off."""

    prices: dict[ItemId, Price | None]


class StockLevels(Struct, frozen=True):
    """Query: units on the shelves by item, in the order in which items came in; of these items, or of all."""

    item_ids: tuple[str, ...] | None = None


class Prices(Struct, frozen=True):
    """Query: prices by item, as they were given; of these items, or of all."""

    item_ids: tuple[str, ...] | None = None


class StockWaits(Struct, frozen=True):
    """Query: which orders each waiting order waits for."""


class StockConflicts(Struct, frozen=True):
    """Query: how often a row had changed since it was read, since this process began."""


# Payment.


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


class ChargePayment(Struct, frozen=True):
    """Take the amount in one go."""

    order_id: OrderId
    user_id: UserId
    method: Method
    account: Account
    amount: Money


class RefundPayment(Struct, frozen=True):
    """Give back what an order was charged, once; nothing if nothing was."""

    order_id: OrderId


class SetLimits(Struct, frozen=True):
    """How much may be held or taken in all, by account; None lifts the limit."""

    limits: dict[Account, AmountMinor | None]


class SetBlacklist(Struct, frozen=True):
    """Orders whose payment is refused: these more, these no longer."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class SetPaymentRecords(Struct, frozen=True):
    """The record of each order, as somebody wrote it by hand."""

    records: dict[str, str | None] = {}
    remove: tuple[str, ...] = ()


class PaymentRecords(Struct, frozen=True):
    """Query: "processed", or None once it was refunded, by order; of these orders, or of all."""

    order_ids: tuple[str, ...] | None = None


class Blacklist(Struct, frozen=True):
    """Query: the orders whose payment is refused."""


# Shipping.


class PrepareShipment(Struct, frozen=True):
    """Make out the label and find out what the way costs.

    Attributes:
        country: decides the cost; empty if the customer named none, and then the address has to tell.
        address: the rest of it, in one line.
    """

    order_id: OrderId
    country: str
    units: int
    currency: str
    address: str = ""


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


class ScheduleShipment(Struct, frozen=True):
    """Book the parcel's way in one go; the address is whatever the customer wrote."""

    order_id: OrderId
    address: dict[str, str]


class CancelShipment(Struct, frozen=True):
    """Cancel what was scheduled for an order, once; nothing if nothing was."""

    order_id: OrderId


class SetShippingErrors(Struct, frozen=True):
    """Orders that can't be shipped: these more, these no longer."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class ShippingErrors(Struct, frozen=True):
    """Query: the orders that can't be shipped."""


# Notification.


class NotifyCustomer(Struct, frozen=True):
    """Tell the customer that the order holds."""

    order_id: OrderId
    user_id: UserId
    amount: Money
    shipping: Money | None = None


class SendConfirmation(Struct, frozen=True):
    """Tell the customer; its undo tells them again, after a short while."""

    order_id: OrderId
    user_id: UserId


class ResendConfirmation(Struct, frozen=True):
    """Tell the customer again, after a short while and once; nothing if nobody ever told them."""

    order_id: OrderId
    user_id: UserId
