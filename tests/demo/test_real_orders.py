"""Real orders: every line becomes an order or is counted, and nothing is hidden."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from amends.demo.domain import Item, Order
from amends.demo.real_orders import (
    CANCELLATION,
    NEGATIVE_PRICE,
    NO_USER,
    NOT_POSITIVE,
    PART_OF_A_PENNY,
    SEEN_BEFORE,
    UNKNOWN_ITEM,
    UNREADABLE,
    UNSOUND,
    ZERO_PRICE,
    CatalogueItem,
    FileUnreadable,
    order_or_problems,
    read_catalogue,
    read_orders,
)

CATALOGUE = {"A": CatalogueItem("A", "a lamp", Decimal("2.55"), 10)}
CARD = "4111111111111111"


def a_line(item: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A good line, with changes to it or to its item."""
    line = {
        "order_id": "536365",
        "placed_at": "2010-12-01 08:26:00",
        "user_id": 17850,
        "items": [{"item_id": "A", "quantity": 6, "unit_price": "2.55"} | (item or {})],
        "payment_info": {"method": "account", "account": "17850"},
        "shipping_address": {"country": "United Kingdom"},
    }
    return json.dumps(line | changes).encode()


def test_a_good_line_is_an_order() -> None:
    """Prices become pence, the customer's number becomes text."""
    order = order_or_problems(a_line(), CATALOGUE)
    assert isinstance(order, Order)
    assert (order.order_id, order.user_id, order.items) == ("536365", "17850", (Item("A", 6, 255),))


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        (b"{", [UNREADABLE]),
        (b"", [UNREADABLE]),
        (a_line(items="A"), [UNREADABLE]),
        (a_line(order_id="C536379"), [CANCELLATION]),
        (a_line(user_id=None), [NO_USER]),
        (a_line({"unit_price": "0"}), [ZERO_PRICE]),
        (a_line({"unit_price": "-11062.06"}), [NEGATIVE_PRICE]),
        (a_line({"unit_price": "0.001"}), [PART_OF_A_PENNY]),
        (a_line({"unit_price": "NaN"}), [PART_OF_A_PENNY]),
        (a_line({"quantity": 0}), [NOT_POSITIVE]),
        (a_line({"item_id": "Z"}), [UNKNOWN_ITEM]),
        (a_line({"quantity": 5_000_000}), [UNSOUND]),
        (a_line(items=[]), [UNSOUND]),
        (a_line({"quantity": -1, "unit_price": "0"}, order_id="C1", user_id=None),
         [CANCELLATION, NO_USER, ZERO_PRICE, NOT_POSITIVE]),
    ],
)  # fmt: skip
def test_a_bad_line_has_all_its_reasons(line: bytes, reasons: list[str]) -> None:
    """One line may be wrong in several ways."""
    problems = order_or_problems(line, CATALOGUE)
    assert isinstance(problems, list)
    assert [reason for reason, _ in problems] == reasons


@pytest.mark.parametrize(
    "payment",
    [
        {"method": "account", "account": CARD},
        {"method": CARD, "account": "1"},
        {"method": "card", "card_number": CARD, "account": None},
    ],
)
def test_card_numbers_are_refused_and_not_repeated(payment: dict[str, str]) -> None:
    """The example that a person reads names the field only."""
    problems = order_or_problems(a_line(payment_info=payment), CATALOGUE)
    assert isinstance(problems, list)
    assert len(problems) == 1
    assert "payment_info" in problems[0][1]
    assert CARD not in str(problems)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_each_line_is_an_order_or_counted_by_reason(tmp_path: Path, pack: Any) -> None:
    """Plain or gzipped, whatever the file's name; the example is the first one and says where it is."""
    lines = [a_line(), b"?", a_line(), a_line(order_id="2"), a_line({"quantity": 0}, order_id="3"), b"??"]
    file = tmp_path / "orders"
    file.write_bytes(pack(b"\n".join(lines)))
    reading = read_orders(file, CATALOGUE)
    assert reading.lines == 6
    assert [order.order_id for order in reading.orders] == ["536365", "2"]
    assert {reason: lines.count for reason, lines in reading.refused.items()} == {
        UNREADABLE: 2,
        SEEN_BEFORE: 1,
        NOT_POSITIVE: 1,
    }
    assert reading.refused[UNREADABLE].example.startswith("line 2: JSON is malformed")
    assert reading.refused[NOT_POSITIVE].example == "line 5: order 3, item A: 0"


def test_a_line_with_a_reason_on_many_items_counts_once(tmp_path: Path) -> None:
    """Lines are counted, not items; the first item is the example."""
    items = [{"item_id": f"Z{n}", "quantity": 1, "unit_price": "1"} for n in range(3)]
    file = tmp_path / "orders.jsonl"
    file.write_bytes(a_line(items=items))
    refused = read_orders(file, CATALOGUE).refused[UNKNOWN_ITEM]
    assert (refused.count, refused.example) == (1, "line 1: order 536365, item Z0")


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    """Absent, or broken off in the middle."""
    file = tmp_path / "orders.jsonl.gz"
    with pytest.raises(FileUnreadable, match=r"orders\.jsonl\.gz"):
        read_orders(file, CATALOGUE)
    file.write_bytes(gzip.compress(a_line() * 100)[:-20])
    with pytest.raises(FileUnreadable, match=r"orders\.jsonl\.gz"):
        read_orders(file, CATALOGUE)


def test_the_catalogue_must_be_right(tmp_path: Path) -> None:
    """Without it no order can be judged, so its errors are errors."""
    item = b'{"item_id": "A", "description": "a lamp", "unit_price": "2.55", "units_sold": 10}\n'
    file = tmp_path / "catalogue.jsonl"
    file.write_bytes(item)
    assert read_catalogue(file) == CATALOGUE
    for bad, message in ((b"{}\n", "line 2: "), (item, "line 2: item 'A' stands there twice")):
        file.write_bytes(item + bad)
        with pytest.raises(FileUnreadable, match=message):
            read_catalogue(file)
