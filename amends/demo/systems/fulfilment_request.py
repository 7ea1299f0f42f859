"""What a customer hands to fulfilment's functions, and what of it is written down.

Everything that can be known without asking a service is checked here, before anything is touched;
an InputError names the function and the field. `payment_info` and `shipping_address` hold whatever
they hold: of the one a reference is kept, and of the other its text.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from amends import InputError
from amends.demo import cards
from amends.demo.domain import (
    CURRENCY,
    LINES_MAX,
    ItemId,
    Money,
    OrderId,
    PaymentInfo,
    Quantity,
    UserId,
    to_minor,
    total_units,
)
from amends.protocol import codec

AMOUNT_MAX = 10**15
"""In whole units; an amount beyond is a mistake."""

_PENNY = Decimal("0.01")

S = TypeVar("S")


class Wanted(Struct, frozen=True):
    """So many of one item."""

    item_id: ItemId
    quantity: Quantity


Items = Annotated[tuple[Wanted, ...], Meta(min_length=1, max_length=LINES_MAX)]


class Request(Struct, frozen=True):
    """A whole order."""

    order_id: OrderId
    items: Items
    user_id: UserId
    payment_info: dict[str, Any]
    shipping_address: dict[str, Any]

    def __repr__(self) -> str:
        return f"Request(order_id={self.order_id!r})"  # there may be a card in it


class _Items(Struct, frozen=True):
    items: Items


class _Units(Struct, frozen=True):
    items: dict[ItemId, Quantity]


class _Payment(Struct, frozen=True):
    payment_info: dict[str, Any]


class _Address(Struct, frozen=True):
    shipping_address: dict[str, Any]


# As it comes in.


def read_request(fields: dict[str, Any], where: str) -> Request:
    """A whole order, whose units are still to be added up."""
    return _sound(Request, fields, where)


def read_units(items: object, where: str) -> dict[str, int]:
    """Units by item."""
    return units_of(_sound(_Items, {"items": items}, where).items, where)


def read_payment(payment_info: object, secret: bytes, where: str) -> PaymentInfo:
    """Who pays, by reference."""
    return payment_of(_sound(_Payment, {"payment_info": payment_info}, where).payment_info, secret)


def read_address(shipping_address: object, where: str) -> dict[str, str]:
    """An address, as text."""
    return address_of(_sound(_Address, {"shipping_address": shipping_address}, where).shipping_address)


def read_amount(amount: object, where: str) -> Money:
    """An amount in whole units, rounded to minor ones, since sums of floats are off by a hair."""
    if not isinstance(amount, int | float | Decimal) or isinstance(amount, bool):
        raise InputError(where, "$.total_amount", f"found {type(amount).__name__}, wanted a number")
    whole = Decimal(str(amount))
    if not whole.is_finite() or not 0 <= whole <= AMOUNT_MAX:
        raise InputError(where, "$.total_amount", f"wanted a number from 0 to {AMOUNT_MAX}")
    return Money(to_minor(whole.quantize(_PENNY, ROUND_HALF_UP), CURRENCY), CURRENCY)


# As it is kept.


def units_of(items: Iterable[Wanted], where: str) -> dict[str, int]:
    """Units by item, each item once; together they must be a quantity, too."""
    units = total_units((item.item_id, item.quantity) for item in items)
    return _sound(_Units, {"items": units}, where).items


def payment_of(payment_info: Mapping[str, object], secret: bytes) -> PaymentInfo:
    """What may be written down of a payment: this customer's may say anything, and no card of theirs is turned away."""
    try:
        return cards.reference(payment_info, secret, date.min)
    except InputError:
        return PaymentInfo("account", cards.UNSPECIFIED)


def address_of(address: Mapping[str, object]) -> dict[str, str]:
    """An address as it was written, with what is no text as JSON."""
    return {line: told if isinstance(told, str) else codec.encode(told).decode() for line, told in address.items()}


def _sound(kind: type[S], fields: dict[str, Any], where: str) -> S:
    """The fields as a `kind`; the error names the one that can't be."""
    return codec.decode(kind, codec.checked(dict, fields, where), where)
