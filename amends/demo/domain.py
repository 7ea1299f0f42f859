"""What an order is: the values the shop's saga and services speak of.

An `Order` that fits its types is sound: every bound of a field is part of its type, so bad
input is refused before anything is touched, with the field's path. A payment names an account
or a provider's token; card fields have no place in it, and no message repeats a field's value.
Amounts are integers in minor units; only text that is being read becomes a `Decimal`.
What can only be known by asking (is there stock, is the account good) is the services' to say.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, get_args

from msgspec import Meta, Struct

# What a description says is told to whoever writes something else; see `in_words`.
OrderId = Annotated[str, Meta(pattern=r"^[\w.:/-]{1,64}\Z", description="1 to 64 letters, digits and _ . : / -")]
ItemId = Annotated[
    str, Meta(pattern=r"^[\w.:/-][\w.:/ -]{0,63}\Z", description="1 to 64 letters, digits, spaces and _ . : / -")
]
UserId = Annotated[str, Meta(pattern=r"^[\w.:@+-]{1,64}\Z", description="1 to 64 letters, digits and _ . : @ + -")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z", description="three capital letters, as GBP")]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000)]
# With at most LINES_MAX lines of the largest quantity and price, an amount still fits SQLite's 64 bits.
PriceMinor = Annotated[int, Meta(ge=1, le=100_000_000)]
AmountMinor = Annotated[int, Meta(ge=0, le=2**62)]
LINES_MAX = 10_000

# A pattern and not a Literal: the error for a Literal quotes the value, and a value in the wrong
# field may be anything, a card number too.
Method = Annotated[str, Meta(pattern=r"^(account|card_token)\Z", description="account or card_token")]
# What looks like a card number, with or without separators, is no reference to one.
Account = Annotated[
    str,
    Meta(
        pattern=r"^(?!(?:[-.: _]?\d){13,19}\Z)[\w.:@+-]{1,64}\Z",
        description="1 to 64 letters, digits and _ . : @ + - that are no card number",
    ),
]
Line = Annotated[str, Meta(max_length=200)]

CURRENCY = "GBP"
"""The shop's own, where nobody says another."""

DIGITS = {"JPY": 0, "KRW": 0, "KWD": 3, "BHD": 3}
"""Digits after the point, for currencies that do not have two."""


class Money(Struct, frozen=True, forbid_unknown_fields=True):
    """An amount of one currency."""

    amount_minor: AmountMinor
    currency: Currency


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """So many of one item, at the price it has in the catalogue."""

    item_id: ItemId
    quantity: Quantity


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of an order, at the price it was offered for."""

    item_id: ItemId
    quantity: Quantity
    unit_price_minor: PriceMinor


class PaymentInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be charged, by reference."""

    method: Method
    account: Account


class Address(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the parcel goes; the country alone decides what that costs."""

    country: Annotated[str, Meta(min_length=1, max_length=60)]
    name: Line = ""
    street: Line = ""
    city: Line = ""
    postcode: Annotated[str, Meta(max_length=20)] = ""

    @property
    def in_one_line(self) -> str:
        """All but the country."""
        return ", ".join(filter(None, (self.name, self.street, self.city, self.postcode)))


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """What a customer asks for. An item may stand on several lines, at different prices even."""

    order_id: OrderId
    user_id: UserId
    items: Annotated[tuple[Item, ...], Meta(min_length=1, max_length=LINES_MAX)]
    payment_info: PaymentInfo
    shipping_address: Address
    currency: Currency = CURRENCY

    @property
    def amount(self) -> Money:
        """What the goods cost."""
        return Money(sum(item.quantity * item.unit_price_minor for item in self.items), self.currency)

    @property
    def units(self) -> int:
        """How many pieces there are to pack."""
        return sum(item.quantity for item in self.items)

    @property
    def wanted(self) -> dict[str, int]:
        """Units by item, each item once."""
        return total_units((item.item_id, item.quantity) for item in self.items)


_IN_WORDS = {
    f"Expected `str` matching regex {meta.pattern!r}": f"wanted {meta.description}"
    for _, meta in map(get_args, (OrderId, ItemId, UserId, Currency, Method, Account))
}


def in_words(problem: str) -> str:
    """What msgspec found wrong with a value, without its patterns."""
    return _IN_WORDS.get(problem, problem)


def total_units(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Merge lines of (item, units) that name the same item."""
    total: dict[str, int] = {}
    for item_id, units in lines:
        total[item_id] = total.get(item_id, 0) + units
    return total


def to_minor(amount: Decimal, currency: str) -> int:
    """An amount as it is written ("2.55") in minor units (255), or ValueError if it is not a whole number of them."""
    sound = amount.is_finite() and abs(amount.adjusted()) < 100  # beyond, moving the point may overflow
    minor = amount.scaleb(DIGITS.get(currency, 2)) if sound else Decimal("NaN")
    # The first test keeps a number of absurd size from being written out digit by digit.
    if not minor.is_finite() or minor.adjusted() > 18 or minor != minor.to_integral_value():
        raise ValueError(f"found an amount that is no whole number of minor units of {currency}")
    return int(minor)


def to_whole(amount: Money) -> Decimal:
    """An amount (255) as it is written ("2.55")."""
    return Decimal(amount.amount_minor).scaleb(-DIGITS.get(amount.currency, 2))
