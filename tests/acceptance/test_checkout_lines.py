"""The checkout from the command line, and real orders as its input."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from amends import InputError
from amends.demo.__main__ import main
from amends.demo.domain import Address, Item, Order, PaymentInfo
from amends.demo.systems.checkout import from_order
from tests.acceptance.checking_out import COMMITTED, a_request, states, wrong


def a_real_order(*, item_id: str = "85048", user_id: str = "13085", method: str = "account") -> Order:
    """An order as the shop recorded it."""
    items = (Item(item_id, 12, 695), Item("21232", 2, 165), Item(item_id, 1, 700))
    return Order("489434", user_id, items, PaymentInfo(method, "a-1"), Address("United Kingdom"))


def test_C1_each_line_of_the_input_gets_its_answer(tmp_path: Path) -> None:
    """True or False in the order of the lines; what can't be an order is told of with its line."""
    wanting = [a_request("order-1"), a_request("order-2", (1, 0)), a_request("order-3", (1, 5)), a_request("order-1")]
    requests, stock = tmp_path / "requests", tmp_path / "stock"
    requests.write_text("\n".join(json.dumps(request) for request in wanting))
    stock.write_text('{"item_id": "1", "quantity": 4, "price": "1"}')
    data = tmp_path / "data"
    result = CliRunner().invoke(main, ["checkout", str(requests), "--stock", str(stock), "--data", str(data)])
    assert result.stdout.splitlines() == ["order-1 True", "order-3 False", "order-1 True"]
    assert "line 2: order: items[0].quantity: wanted `int` >= 1, found 0" in result.stderr
    assert "short_stock" in result.stderr
    assert result.exit_code == 1
    assert states(data, "order-1") == COMMITTED
    assert wrong(data) == []


def test_a_real_order_is_a_request_of_the_customers() -> None:
    """With what its lines cost as the amount, and the reference that pays."""
    request = from_order(a_real_order())
    assert (request.user_id, request.order_id) == (13085, "489434")
    assert request.units == {"85048": 13, "21232": 2}
    assert request.payment_info == {"account": "a-1", "amount": "93.70", "currency": "GBP"}
    assert from_order(a_real_order(method="card_token")).payment_info.keys() == {"token", "amount", "currency"}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"item_id": "85123A"}, "items[0].item_id"),
        ({"item_id": "POST"}, "items[0].item_id"),
        ({"item_id": "0085"}, "items[0].item_id"),
        ({"item_id": "٣"}, "items[0].item_id"),
        ({"item_id": "9" * 19}, "items[0].item_id"),
        ({"user_id": "anna"}, "user_id"),
    ],
)
def test_a_real_order_without_numbers_says_so(given: dict[str, str], field: str) -> None:
    """Here customers and products have numbers, and no two names have the same."""
    with pytest.raises(InputError, match="wanted a number") as refused:
        from_order(a_real_order(**given))
    assert refused.value.path == field


def test_a_request_says_nothing_of_what_it_is_paid_with() -> None:
    """Wherever somebody shows it."""
    request = from_order(a_real_order())
    assert "a-1" not in repr(request) + str(request)
