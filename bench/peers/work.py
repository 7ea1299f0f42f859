"""The work that everyone does: the orders, the services and their tables, and the audit at the end.

    create the order - reserve the stock - authorize the payment == decided == capture the payment - confirm the order

One after the other. Every tenth order's account is empty: its payment is refused, and then the stock is
released and the order cancelled. After the authorization nothing is refused any more, so it needs no undo.

Each function is one service's part of one step. Its caller runs it in one transaction of that
service's database, and its SQL is the same in SQLite and PostgreSQL. Each may be asked again for the same
order, which changes nothing and is counted, so an orchestrator that runs a step twice is correct, and seen.
Imports the standard library alone: it runs in every peer's environment.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

ITEMS = 100
ACCOUNTS = 1_000
STOCK = 1_000_000_000
MONEY = 1_000_000_000_000
REFUSED_EVERY = 10
"""One order in so many is refused."""


@dataclass(frozen=True)
class Order:
    """What a customer wants."""

    order_id: str
    item_id: str
    quantity: int
    amount_minor: int
    account: str


def order(number: int, prefix: str = "o") -> Order:
    """The order of that number, always the same one."""
    account = "empty" if number % REFUSED_EVERY == REFUSED_EVERY - 1 else f"account-{number * 7919 % ACCOUNTS}"
    quantity = 1 + number % 3
    return Order(f"{prefix}-{number}", f"item-{number * 31 % ITEMS}", quantity, quantity * 1_250, account)


class Db(Protocol):
    """What a function needs of the database that its transaction is in."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any: ...


def _numbers(count: int) -> str:
    return f"with recursive n(i) as (select 0 union all select i + 1 from n where i + 1 < {count})"


_ITEM = "item_id text not null, quantity bigint not null"
_AMOUNT = "account text not null, amount_minor bigint not null"
_STATE = "state text not null, calls bigint not null"

SCHEMAS: dict[str, list[str]] = {
    "orders": [
        f"create table orders (order_id text primary key, {_ITEM}, amount_minor bigint not null, {_STATE})",
    ],
    "stock": [
        "create table stock (item_id text primary key, free bigint not null)",
        f"create table reservations (order_id text primary key, {_ITEM}, {_STATE})",
        f"{_numbers(ITEMS)} insert into stock select 'item-' || i, {STOCK} from n",
    ],
    "payment": [
        "create table accounts (account text primary key, free bigint not null, taken bigint not null)",
        f"create table payments (order_id text primary key, {_AMOUNT}, {_STATE})",
        f"{_numbers(ACCOUNTS)} insert into accounts select 'account-' || i, {MONEY}, 0 from n",
        "insert into accounts values ('empty', 0, 0)",
    ],
}
"""What each service's database begins with."""


def _one(db: Db, sql: str, *values: object) -> Any:
    """The first column of the row that a statement returns, None if there is none."""
    rows = db.execute(sql, values).fetchall()
    return rows[0][0] if rows else None


def create(db: Db, order: Order) -> None:
    """Orders: write the order down."""
    db.execute(
        "insert into orders values (?, ?, ?, ?, 'created', 1)"
        " on conflict (order_id) do update set calls = orders.calls + 1",
        (order.order_id, order.item_id, order.quantity, order.amount_minor),
    )


def cancel(db: Db, order: Order) -> None:
    """Orders: undo `create`."""
    db.execute("update orders set state = 'cancelled' where order_id = ? and state = 'created'", (order.order_id,))


def confirm(db: Db, order: Order) -> None:
    """Orders: the last step."""
    db.execute("update orders set state = 'confirmed' where order_id = ? and state = 'created'", (order.order_id,))


def reserve(db: Db, order: Order) -> None:
    """Stock: set the units aside, of which there are always enough."""
    calls = _one(
        db,
        "insert into reservations values (?, ?, ?, 'held', 1)"
        " on conflict (order_id) do update set calls = reservations.calls + 1 returning calls",
        order.order_id,
        order.item_id,
        order.quantity,
    )
    if calls == 1:
        db.execute("update stock set free = free - ? where item_id = ?", (order.quantity, order.item_id))


def release(db: Db, order: Order) -> None:
    """Stock: undo `reserve`."""
    sql = "update reservations set state = 'released' where order_id = ? and state = 'held' returning 1"
    if _one(db, sql, order.order_id):
        db.execute("update stock set free = free + ? where item_id = ?", (order.quantity, order.item_id))


def authorize(db: Db, order: Order) -> bool:
    """Payment: hold the amount; False if the account has not got it."""
    calls = _one(
        db,
        "insert into payments values (?, ?, ?, 'authorized', 1)"
        " on conflict (order_id) do update set calls = payments.calls + 1 returning calls",
        order.order_id,
        order.account,
        order.amount_minor,
    )
    if calls > 1:
        return bool(_one(db, "select state from payments where order_id = ?", order.order_id) != "refused")
    sql = "update accounts set free = free - ? where account = ? and free >= ? returning 1"
    if _one(db, sql, order.amount_minor, order.account, order.amount_minor):
        return True
    db.execute("update payments set state = 'refused' where order_id = ?", (order.order_id,))
    return False


def capture(db: Db, order: Order) -> None:
    """Payment: take what is held."""
    sql = "update payments set state = 'captured' where order_id = ? and state = 'authorized' returning 1"
    if _one(db, sql, order.order_id):
        db.execute("update accounts set taken = taken + ? where account = ?", (order.amount_minor, order.account))


Function = Callable[[Db, Order], Any]

SERVICE_OF: dict[Function, str] = {
    create: "orders",
    cancel: "orders",
    confirm: "orders",
    reserve: "stock",
    release: "stock",
    authorize: "payment",
    capture: "payment",
}
"""In whose database each function works."""


class Audit(NamedTuple):
    """What the services' tables say.

    Attributes:
        completed, compensated: orders that ended, all done or all undone.
        lost: orders that were accepted and that no service knows.
        half_done: orders that some service knows and that have neither end.
        doubled: items and accounts whose books do not agree with the orders: something was done or undone twice.
        repeated: calls of a function for an order that it had served before, which changed nothing.
    """

    completed: int
    compensated: int
    lost: int
    half_done: int
    doubled: int
    repeated: int


def audit(databases: dict[str, Db], accepted: Sequence[str] = ()) -> Audit:
    """Read all of it.

    Args:
        databases: by service.
        accepted: ids of the orders that a client was told are taken.
    """
    orders = dict(_rows(databases["orders"], "select order_id, state from orders"))
    held = dict(_rows(databases["stock"], "select order_id, state from reservations"))
    paid = dict(_rows(databases["payment"], "select order_id, state from payments"))
    known = orders.keys() | held.keys() | paid.keys()
    ends = [(orders.get(key), held.get(key), paid.get(key)) for key in known]
    completed = sum(end == ("confirmed", "held", "captured") for end in ends)
    compensated = sum(end[0] == "cancelled" and end[1] != "held" and end[2] in (None, "refused") for end in ends)
    return Audit(
        completed,
        compensated,
        lost=len(set(accepted) - known),
        half_done=len(ends) - completed - compensated,
        doubled=sum(1 for _ in _wrong_books(databases["stock"], databases["payment"])),
        # A server's sum of integers is a number of another type.
        repeated=sum(
            int(_one(databases[service], f"select coalesce(sum(calls - 1), 0) from {table}"))
            for service, table in (("orders", "orders"), ("stock", "reservations"), ("payment", "payments"))
        ),
    )


def _rows(db: Db, sql: str) -> list[Any]:
    found: list[Any] = db.execute(sql).fetchall()
    return found


def _wrong_books(stock: Db, payment: Db) -> Iterator[str]:
    held = dict(_rows(stock, "select item_id, sum(quantity) from reservations where state = 'held' group by item_id"))
    for item_id, free in _rows(stock, "select item_id, free from stock"):
        if free + held.get(item_id, 0) != STOCK:
            yield item_id
    sums = "select account, sum(amount_minor) from payments where state in ({}) group by account"
    taken = dict(_rows(payment, sums.format("'captured'")))
    owed = dict(_rows(payment, sums.format("'captured', 'authorized'")))
    for account, free, was_taken in _rows(payment, "select account, free, taken from accounts"):
        began_with = 0 if account == "empty" else MONEY
        if free + owed.get(account, 0) != began_with or was_taken != taken.get(account, 0):
            yield account
