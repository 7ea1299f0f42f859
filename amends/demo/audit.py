"""The audit: does what stands in the databases add up?

Reads the files by SQL and nothing else, on connections that can't write, so it needs no running
system and trusts none. Each check is one statement that finds the rows which can't be; no row
is the proof. It speaks of the end: while orders are open, some rows are not there yet.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import apsw
from msgspec import Struct

from amends import AmendsError

DATABASES = ("journal", "orders", "inventory", "payment", "shipping", "notification")
SERVICES = DATABASES[1:]
ROWS_MAX = 1_000
"""Of the rows that a check finds, no more are kept: one is enough to be wrong."""

Row = Mapping[str, object]
Check = Callable[[apsw.Connection], list[Row]]


class NotAuditable(AmendsError):  # noqa: N818 - reads as the fact it reports
    """A database is missing or can't be read; the message names the file."""


class Finding(Struct, frozen=True):
    """What a check found: no rows if all is well."""

    check: str
    title: str
    rows: list[Row]


def audit(folder: Path) -> list[Finding]:
    """Run every check on the databases of a folder."""
    with _open(folder) as db:
        return findings(db)


def findings(db: apsw.Connection) -> list[Finding]:
    """Run every check on a connection to which all of DATABASES are attached by name."""
    return [Finding(check.__name__, title(check), check(db)) for check in CHECKS]


def effect_counts(folder: Path) -> dict[str, int]:
    """How often the shop did what must be done once for an order."""
    with _open(folder) as db:
        rows = _rows(
            db,
            """
            select 'orders confirmed' as effect, count(*) as times from orders.orders where state = 'confirmed'
            union all select 'payments captured', count(*) from payment.entries
                      where movement = 'capture' and account = 'revenue'
            union all select 'parcels dispatched', count(*) from shipping.shipments where state = 'dispatched'
            union all select 'confirmations written', count(*) from notification.outbox
            """,
        )
        return {str(row["effect"]): int(str(row["times"])) for row in rows}


def title(check: Check) -> str:
    """What a check promises, for people."""
    return (check.__doc__ or check.__name__).rstrip(".")


def stock_adds_up(db: apsw.Connection) -> list[Row]:
    """Stock: on hand + reserved + shipped = received, for every item."""
    return _rows(
        db,
        """
        with received as (
            select item_id, sum(quantity) as units from inventory.receipts group by item_id
        ), ids as (select item_id from inventory.stock union select item_id from received)
        select item_id, on_hand, reserved, shipped, units as received
        from ids left join inventory.stock using (item_id) left join received using (item_id)
        where on_hand + reserved + shipped is not units
        """,
    )


def nothing_reserved(db: apsw.Connection) -> list[Row]:
    """Stock: nothing is still set aside."""
    return _rows(db, "select item_id, on_hand, reserved, shipped from inventory.stock where reserved <> 0")


def shipped_as_reserved(db: apsw.Connection) -> list[Row]:
    """Stock: what was shipped is what reservations were committed for."""
    return _rows(
        db,
        """
        with committed as (
            select item_id, sum(quantity) as units from inventory.reservations
            where state = 'committed' group by item_id
        ), ids as (select item_id from inventory.stock union select item_id from committed)
        select item_id, shipped, coalesce(units, 0) as committed
        from ids left join inventory.stock using (item_id) left join committed using (item_id)
        where coalesce(shipped, 0) <> coalesce(units, 0)
        """,
    )


def ledger_balanced(db: apsw.Connection) -> list[Row]:
    """Ledger: every movement of every order sums to zero, and so does the whole."""
    return _rows(
        db,
        """
        select order_id, movement, currency, sum(amount_minor) as off_by from payment.entries
        group by order_id, movement, currency having sum(amount_minor) <> 0
        union all
        select '(all orders)', '(all)', currency, sum(amount_minor) from payment.entries
        group by currency having sum(amount_minor) <> 0
        """,
    )


def ledger_as_payments(db: apsw.Connection) -> list[Row]:
    """Ledger: what was captured is revenue, what was voided is the customer's again."""
    return _rows(
        db,
        """
        with balances as (
            select order_id, sum(amount_minor) filter (where account = 'held') as held,
                   sum(amount_minor) filter (where account = 'revenue') as revenue
            from payment.entries group by order_id
        ), ids as (select order_id from payment.payments union select order_id from balances)
        select order_id, state, amount_minor, held, revenue
        from ids left join payment.payments using (order_id) left join balances using (order_id)
        where state is null or coalesce(held, -1) <> iif(state = 'held', amount_minor, 0)
           or coalesce(revenue, 0) <> iif(state = 'captured', amount_minor, 0)
        """,
    )


def amounts_agree(db: apsw.Connection) -> list[Row]:
    """Amounts: an order's lines, total, payment and shipping cost agree."""
    return _rows(
        db,
        """
        with lines as (
            select o.order_id, sum(item.value ->> 'quantity' * (item.value ->> 'unit_price_minor')) as total
            from orders.orders o, json_each(o.items) item group by o.order_id
        )
        select order_id, o.state, total as lines_minor, o.amount_minor, p.amount_minor as payment_minor,
               o.shipping_minor, s.cost_minor
        from orders.orders o join lines using (order_id)
        left join payment.payments p using (order_id) left join shipping.shipments s using (order_id)
        where total <> o.amount_minor or p.amount_minor <> o.amount_minor or p.currency <> o.currency
           or o.shipping_minor <> s.cost_minor
        """,
    )


def goods_agree(db: apsw.Connection) -> list[Row]:
    """Goods: what a confirmed order asked for is what was set aside for it."""
    return _rows(
        db,
        """
        with wanted as (
            select o.order_id, item.value ->> 'item_id' as item_id, sum(item.value ->> 'quantity') as units
            from orders.orders o, json_each(o.items) item where o.state = 'confirmed' group by 1, 2
        )
        select w.order_id, w.item_id, w.units as wanted, r.quantity as reserved
        from wanted w left join inventory.reservations r using (order_id, item_id)
        where w.units is not r.quantity
        """,
    )


def all_or_nothing(db: apsw.Connection) -> list[Row]:
    """Orders: each is fully done or fully undone, in all five databases."""
    return _rows(
        db,
        """
        with stock as (
            select order_id, group_concat(distinct state) as state from inventory.reservations group by order_id
        ), told as (
            select distinct order_id, 'told' as state from notification.outbox
        ), ids as (
            select order_id from orders.orders union select order_id from stock
            union select order_id from payment.payments union select order_id from shipping.shipments
            union select order_id from told
        ), facts as (
            select order_id, o.state as ordered, stock.state as stock, p.state as payment, s.state as shipment,
                   told.state as customer
            from ids left join orders.orders o using (order_id) left join stock using (order_id)
            left join payment.payments p using (order_id) left join shipping.shipments s using (order_id)
            left join told using (order_id)
        )
        select * from facts
        where (ordered, stock, payment, shipment, customer)
              is not ('confirmed', 'committed', 'captured', 'dispatched', 'told')
          and (coalesce(ordered, 'cancelled'), coalesce(stock, 'released'), coalesce(payment, 'voided'),
               coalesce(shipment, 'cancelled'), customer)
              is not ('cancelled', 'released', 'voided', 'cancelled', null)
        """,
    )


def effects_once(db: apsw.Connection) -> list[Row]:
    """Effects: no customer was told twice, no money moved twice."""
    return _rows(
        db,
        """
        select order_id, kind as effect, count(*) as times from notification.outbox
        group by order_id, kind having count(*) <> 1
        union all
        select order_id, movement || ' of ' || account, count(*) from payment.entries
        group by order_id, movement, account having count(*) <> 1
        """,
    )


def fences_closed(db: apsw.Connection) -> list[Row]:
    """Fences: no step is left begun; all of a completed order's are done, none of an undone one's."""
    fences = " union all ".join(
        f"select '{service}' as service, saga_id, step, state from {service}.amends_fence" for service in SERVICES
    )
    return _rows(
        db,
        f"""
        select service, saga_id, step, f.state, i.state as instance
        from ({fences}) as f left join journal.instances i using (saga_id)
        where f.state = 'begun' or (f.state = 'done' and i.state = 'compensated')
           or (f.state <> 'done' and i.state = 'completed')
        """,
    )


def instances_ended(db: apsw.Connection) -> list[Row]:
    """Journal: no instance is open or quarantined."""
    return _rows(
        db,
        "select saga_id, saga, key, state, started_at from journal.instances "
        "where state not in ('completed', 'compensated') or ended_at is null",
    )


def outcomes_agree(db: apsw.Connection) -> list[Row]:
    """Journal: an instance has completed exactly where its order is confirmed."""
    return _rows(
        db,
        """
        with placed as (
            select key as order_id, state from journal.instances
            where saga = 'place-order' and state in ('completed', 'compensated')
        ), confirmed as (
            select order_id, state from orders.orders where state = 'confirmed'
        ), ids as (select order_id from placed union select order_id from confirmed)
        select order_id, placed.state as instance, confirmed.state as "order"
        from ids left join placed using (order_id) left join confirmed using (order_id)
        where (placed.state is 'completed') <> (confirmed.state is not null)
          and order_id not in (select key from journal.instances where state not in ('completed', 'compensated'))
        """,
    )


CHECKS: tuple[Check, ...] = (
    stock_adds_up,
    nothing_reserved,
    shipped_as_reserved,
    ledger_balanced,
    ledger_as_payments,
    amounts_agree,
    goods_agree,
    all_or_nothing,
    effects_once,
    fences_closed,
    instances_ended,
    outcomes_agree,
)


def _rows(db: apsw.Connection, sql: str) -> list[Row]:
    cursor = db.execute(sql)
    try:
        names = [column[0] for column in cursor.get_description()]
    except apsw.ExecutionCompleteError:
        return []  # no row at all
    return [dict(zip(names, row, strict=True)) for row in islice(cursor, ROWS_MAX)]


@contextmanager
def _open(folder: Path) -> Iterator[apsw.Connection]:
    """One connection that sees all databases of the folder and can change none of them."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(":memory:", flags=flags)
    try:
        for name in DATABASES:
            file = folder / f"{name}.db"
            try:
                db.execute("attach ? as " + name, (f"{file.resolve().as_uri()}?mode=ro",))
                db.execute(f"select count(*) from {name}.sqlite_master").fetchall()
            except apsw.Error as error:
                raise NotAuditable(f"{file}: can't be read: {error}") from None
        try:
            yield db
        except apsw.SQLError as error:
            raise NotAuditable(f"{folder}: not the databases of the shop: {error}") from None
    finally:
        db.close()
