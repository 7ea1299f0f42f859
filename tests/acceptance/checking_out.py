"""What the acceptance tests of the checkout share: requests, a stocked shop, and what its databases say of an order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from amends.demo.audit import audit
from amends.demo.stocking import Delivery, stock_up
from amends.demo.systems.checkout import Checkout
from tests.actors.trip import rows_of

T = TypeVar("T")

STOCK = {"1": 10, "2": 5}
COMMITTED = ("confirmed", "committed", "captured")


def a_request(order_id: str = "order-1", *items: tuple[int, int], **changes: Any) -> dict[str, Any]:
    """A sound request: two of product 1, or these products, for 12.50."""
    lines = [{"product_id": product, "quantity": quantity} for product, quantity in items or [(1, 2)]]
    request = {
        "user_id": 7,
        "order_id": order_id,
        "items": lines,
        "payment_info": {"account": "a-7", "amount": "12.50"},
    }
    return request | changes


@contextmanager
def shop(folder: Path, units: dict[str, int] = STOCK, **rest: Any) -> Iterator[Checkout]:
    """An open checkout with goods on its shelves."""
    with Checkout(folder, **rest) as checkout:
        stock_up(checkout.system, Delivery("opening", units))
        yield checkout


def states(folder: Path, order_id: str) -> tuple[str | None, str | None, str | None]:
    """What orders, inventory and payment say of an order; None is nothing."""
    found = []
    for service, table in (("orders", "orders"), ("inventory", "reservations"), ("payment", "payments")):
        rows = rows_of(folder / f"{service}.db", f"select distinct state from {table} where order_id = ?", order_id)
        assert len(rows) <= 1
        found.append(rows[0][0] if rows else None)
    return (found[0], found[1], found[2])


def left_in_stock(folder: Path, item_id: str = "1") -> int:
    """Units on the shelf."""
    return int(rows_of(folder / "inventory.db", "select on_hand from stock where item_id = ?", item_id)[0][0])


def movements(folder: Path, order_id: str) -> list[str]:
    """How money moved for an order, in order."""
    rows = rows_of(
        folder / "payment.db",
        "select movement from entries where order_id = ? and amount_minor > 0 order by id",
        order_id,
    )
    return [movement for (movement,) in rows]


def instances(folder: Path) -> int:
    """How many orders the journal knows."""
    rows = rows_of(folder / "journal.db", "select count(*) from instances where saga = 'checkout'")
    return int(rows[0][0])


def wrong(folder: Path) -> list[Any]:
    """What an audit of the folder finds."""
    return [finding for finding in audit(folder) if finding.rows]


def at_once(calls: Iterable[Callable[[], T]]) -> list[T]:
    """What the calls return, each made in a thread of its own."""
    todo = list(calls)
    with ThreadPoolExecutor(len(todo)) as threads:
        return [future.result() for future in [threads.submit(call) for call in todo]]
