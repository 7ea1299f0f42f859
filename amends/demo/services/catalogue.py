"""The catalogue: what each item costs, kept as it was given, and what several cost together."""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import cast

import msgspec

from amends import Database, Refused
from amends.demo.domain import CURRENCY, DIGITS, Money
from amends.demo.messages import Price
from amends.demo.services.dialects import listed

NO_PRICE = "no_price"
BAD_PRICE = "bad_price"
TOO_DEAR = "too_dear"

AMOUNT_MAX = 2**62
_DIGITS_MAX = 40

_SET = (
    "insert into prices (item_id, price, place) values (?1, ?2, (select coalesce(max(place), 0) + 1 from prices)) "
    "on conflict (item_id) do update set price = excluded.price, version = prices.version + 1"
)


def set_prices(db: Database, prices: Mapping[str, Price | None]) -> Refused | None:
    """Set these and strike off those that are None; all or, if one is no price, none."""
    for item_id, price in prices.items():
        if price is not None and not _is_sound(price):
            return Refused(f"{BAD_PRICE}: {item_id}: found {price!r}, wanted a number of at least 0")
    for item_id, price in prices.items():
        if price is None:
            db.execute("delete from prices where item_id = ?", (item_id,))
        else:
            db.execute(_SET, (item_id, msgspec.json.encode(price).decode()))
    return None


def prices(db: Database, item_ids: Iterable[str] | None) -> dict[str, Price]:
    """As they were given, in the order in which they were first set."""
    these, values = "", tuple[str, ...]()
    if item_ids is not None:
        these, values = f"where item_id in ({listed(db)})", (msgspec.json.encode(list(item_ids)).decode(),)
    rows = db.execute(f"select item_id, price from prices {these} order by place", values)
    return {str(item_id): cast("Price", msgspec.json.decode(str(price))) for item_id, price in rows}


def look_up(db: Database, units: Mapping[str, int]) -> dict[str, str] | Refused:
    """The price of each item as it is kept, if all of them have one and together are an amount."""
    found: dict[str, str] = {}
    for item_id in units:
        price = db.execute("select price from prices where item_id = ?", (item_id,)).get
        if price is None:
            return Refused(f"{NO_PRICE}: {item_id}")
        found[item_id] = str(price)
    if _minor((found[item_id], quantity) for item_id, quantity in units.items()) > AMOUNT_MAX:
        return Refused(f"{TOO_DEAR}: wanted at most {AMOUNT_MAX} minor units")
    return found


def cost(lines: Iterable[tuple[str, int]]) -> Money:
    """What so many units at these prices cost together, rounded half up once."""
    return Money(_minor(lines), CURRENCY)


def _minor(lines: Iterable[tuple[str, int]]) -> int:
    # Fractions, for a sum of Decimals is rounded to the digits of their context.
    whole = sum((Fraction(Decimal(price.strip('"'))) * quantity for price, quantity in lines), Fraction(0))
    minor_per_whole = Fraction(10) ** DIGITS.get(CURRENCY, 2)
    return math.floor(whole * minor_per_whole + Fraction(1, 2))


def _is_sound(price: Price) -> bool:
    """Whether it is a number that can be reckoned with, and not one of absurd size."""
    try:
        number = Decimal(str(price))
    except InvalidOperation:
        return False
    return (
        number.is_finite() and number >= 0 and len(str(price)) <= _DIGITS_MAX and abs(number.adjusted()) < _DIGITS_MAX
    )
