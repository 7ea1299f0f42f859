"""Orders and money: what is sound, what is refused, and what a refusal says."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from amends import InputError
from amends.demo.domain import Item, Money, Order, to_minor
from amends.protocol.codec import checked

CARD = "4111111111111111"


def an_order(**changes: Any) -> dict[str, Any]:
    """A sound order as plain values, with changes."""
    order = {
        "order_id": "o-1",
        "user_id": "u-1",
        "items": [{"item_id": "A", "quantity": 2, "unit_price_minor": 250}],
        "payment_info": {"method": "account", "account": "17850"},
        "shipping_address": {"country": "United Kingdom"},
    }
    return order | changes


def test_an_order_knows_its_amount_units_and_needs() -> None:
    """Lines of the same item are merged for the stock, and each counts at its own price for the amount."""
    items = [("A", 2, 250), ("B", 1, 100), ("A", 3, 200)]
    order = msgspec.convert(an_order(items=[dict(zip(Item.__struct_fields__, i, strict=True)) for i in items]), Order)
    assert order.amount == Money(1_200, "GBP")
    assert order.units == 6
    assert order.wanted == {"A": 5, "B": 1}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"items": []}, "$.items"),
        ({"items": [{"item_id": "A", "quantity": 0, "unit_price_minor": 1}]}, "$.items[0].quantity"),
        ({"items": [{"item_id": "A", "quantity": 1.5, "unit_price_minor": 1}]}, "$.items[0].quantity"),
        ({"items": [{"item_id": "A", "quantity": 1, "unit_price_minor": 0}]}, "$.items[0].unit_price_minor"),
        ({"items": [{"item_id": "", "quantity": 1, "unit_price_minor": 1}]}, "$.items[0].item_id"),
        ({"order_id": ""}, "$.order_id"),
        ({"order_id": "a\n"}, "$.order_id"),
        ({"user_id": None}, "$.user_id"),
        ({"currency": "pounds"}, "$.currency"),
        ({"shipping_address": {"country": ""}}, "$.shipping_address.country"),
        ({"payment_info": {"method": CARD, "account": "1"}}, "$.payment_info.method"),
        ({"payment_info": {"method": "account", "account": CARD}}, "$.payment_info.account"),
        ({"payment_info": {"method": "account", "account": "4111-1111-1111-1111"}}, "$.payment_info.account"),
        ({"payment_info": {"method": "account", "account": "1", "card_number": CARD}}, "$.payment_info"),
        ({"payment_info": {"method": "account", "account": "1", "cvv": "123"}}, "$.payment_info"),
    ],
)
def test_bad_input_is_refused_with_its_path_and_without_its_value(changes: dict[str, Any], path: str) -> None:
    """Whoever reads the error learns which field it is, and never what stood in it."""
    with pytest.raises(InputError) as caught:
        checked(Order, an_order(**changes), "place-order")
    assert caught.value.path == path
    assert not any(secret in str(caught.value) for secret in (CARD, "4111-1111", "'123'"))


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("2.55", "GBP", 255), ("2.1", "GBP", 210), ("2", "GBP", 200), ("-0.5", "GBP", -50), ("7", "JPY", 7),
     ("1.234", "KWD", 1_234), ("2.550", "GBP", 255)],
)  # fmt: skip
def test_amounts_are_read_exactly(text: str, currency: str, minor: int) -> None:
    """An amount has as many digits after the point as its currency."""
    assert to_minor(Decimal(text), currency) == minor


@pytest.mark.parametrize("text", ["0.001", "NaN", "Infinity", "1E+400", "1E-400"])
def test_amounts_that_are_no_whole_minor_units_are_refused(text: str) -> None:
    """Nothing is rounded in silence."""
    with pytest.raises(ValueError, match="whole number of minor units of GBP"):
        to_minor(Decimal(text), "GBP")
