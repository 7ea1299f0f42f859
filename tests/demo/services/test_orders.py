"""Orders: the book of what was asked for."""

from typing import Any

import pytest

from amends import Done, Refused
from amends.demo.domain import Item, Money
from amends.demo.faults import InjectedFault
from amends.demo.messages import ConfirmOrder, CreateOrder
from amends.demo.services.orders import Orders
from amends.demo.versioned import WrongState

CREATE = CreateOrder("o-1", "u-1", (Item("A", 2, 250),), Money(500, "GBP"))


def book(orders: Orders) -> list[tuple[Any, ...]]:
    """What stands in the book."""
    return orders.db.execute("select order_id, state, amount_minor, shipping_minor, version from orders").fetchall()


def test_an_order_is_pending_and_then_confirmed(opened: Any) -> None:
    """The confirmation brings what shipping costs."""
    orders = opened(Orders)
    assert orders.create(CREATE) == Done()
    assert book(orders) == [("o-1", "pending", 500, None, 1)]
    assert orders.confirm(ConfirmOrder("o-1", Money(395, "GBP"))) == Done()
    assert book(orders) == [("o-1", "confirmed", 500, 395, 2)]


def test_a_created_order_can_be_cancelled_but_not_confirmed_then(opened: Any) -> None:
    """What was undone stays undone."""
    orders = opened(Orders)
    orders.create(CREATE)
    orders.cancel(CREATE, None)
    assert book(orders) == [("o-1", "cancelled", 500, None, 2)]
    with pytest.raises(WrongState):
        orders.confirm(ConfirmOrder("o-1", Money(395, "GBP")))


def test_an_order_number_is_taken_once(opened: Any) -> None:
    """Someone else's order under the same number is refused."""
    orders = opened(Orders)
    orders.create(CREATE)
    assert orders.create(CREATE) == Refused("order_exists")


def test_the_lines_are_kept_and_can_be_read_by_sql(opened: Any) -> None:
    """The book is of use to people."""
    orders = opened(Orders)
    orders.create(CREATE)
    lines = orders.db.execute("select value ->> 'item_id', value ->> 'quantity' from orders, json_each(items)")
    assert lines.fetchall() == [("A", 2)]


def test_a_fault_strikes_after_the_write(opened: Any) -> None:
    """Where it hurts most."""
    orders = opened(Orders, raises=1.0)
    with pytest.raises(InjectedFault):
        orders.create(CREATE)
    assert len(book(orders)) == 1
