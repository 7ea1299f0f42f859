"""The audit: does what stands in the databases add up?

Reads the files by SQL and nothing else, on connections that can't write, so it needs no running
system and trusts none. Each check is one statement that finds the rows which can't be; no row
is the proof. It speaks of the end: while orders are open, some rows are not there yet.
One audit for all systems: a service without a file is one that nobody used, and the journal's
sagas say which services have to know of an order.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

import apsw
from msgspec import Struct

from amends.demo.databases import SERVICES, opened

ROWS_MAX = 1_000
"""Of the rows that a check finds, no more are kept: one is enough to be wrong."""

SAGAS = {
    "fulfilment": ("inventory", "payment", "shipping", "notification"),
    "checkout": ("orders", "inventory", "payment"),
    "stream": ("inventory", "payment", "shipping"),
    "placement": ("orders", "payment", "inventory", "notification"),
    # Of an order that is split, the second saga has the last word, which is why there must be one.
    "placement-accept": ("orders", "payment", "inventory", "notification"),
    "placement-rest": ("orders", "payment", "inventory", "notification"),
    "place-order": ("orders", "inventory", "payment", "shipping"),
}
"""The sagas whose key is an order's number, and the services that each of them uses."""

BY_HAND = "fulfilment-"
"""How the names of those sagas begin with which a person does, or takes back, one thing about an order."""

ENDS = {
    "orders": (("confirmed",), ("cancelled",)),
    "inventory": (("committed", "taken"), ("released", "returned")),
    "payment": (("captured", "charged"), ("voided", "refunded")),
    "shipping": (("dispatched", "scheduled"), ("cancelled",)),
    # Whoever was told too early is told again, where the customer wants it so.
    "notification": (("told", "told again"), ("told again",)),
}
"""What a service says in the end of an order that was placed, and of one that was not, if it says anything."""

Row = Mapping[str, object]
Check = Callable[[apsw.Connection], list[Row]]


class Finding(Struct, frozen=True):
    """What a check found: no rows if all is well."""

    check: str
    title: str
    rows: list[Row]


def audit(place: Path | str) -> list[Finding]:
    """Run every check on the databases of a folder, or of a PostgreSQL URL."""
    with opened(place) as db:
        return findings(db)


def findings(db: apsw.Connection) -> list[Finding]:
    """Run every check on a connection to which all the shop's databases are attached by name."""
    return [Finding(check.__name__, title(check), check(db)) for check in CHECKS]


def effect_counts(place: Path | str) -> dict[str, int]:
    """How often the shop did what must be done once for an order."""
    with opened(place) as db:
        rows = _rows(
            db,
            """
            select 'orders confirmed' as effect, count(*) as times from orders.orders where state = 'confirmed'
            union all select 'payments captured', count(*) from payment.entries
                      where movement = 'capture' and account = 'revenue'
            union all select 'parcels dispatched', count(*) from shipping.shipments where state = 'dispatched'
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
    """Stock: what was shipped is what reservations were committed for, or what was taken."""
    return _rows(
        db,
        """
        with committed as (
            select item_id, sum(quantity) as units from inventory.reservations
            where state in ('committed', 'taken') group by item_id
        ), ids as (select item_id from inventory.stock union select item_id from committed)
        select item_id, shipped, coalesce(units, 0) as committed
        from ids left join inventory.stock using (item_id) left join committed using (item_id)
        where coalesce(shipped, 0) <> coalesce(units, 0)
        """,
    )


def nobody_waits(db: apsw.Connection) -> list[Row]:
    """Stock: no order waits for what another one holds."""
    return _rows(db, "select * from inventory.waits")


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
    """Ledger: what was captured or charged is revenue, what was voided or refunded is the customer's again."""
    return _rows(
        db,
        """
        with balances as (
            select order_id, coalesce(sum(amount_minor) filter (where account = 'held'), 0) as held,
                   coalesce(sum(amount_minor) filter (where account = 'revenue'), 0) as revenue
            from payment.entries group by order_id
        ), ids as (select order_id from payment.payments union select order_id from balances)
        select order_id, state, amount_minor, held, revenue
        from ids left join payment.payments using (order_id) left join balances using (order_id)
        where state is null or held is not iif(state = 'held', amount_minor, 0)
           or revenue is not iif(state in ('captured', 'charged'), amount_minor, 0)
        """,
    )


def limits_as_payments(db: apsw.Connection) -> list[Row]:
    """Limits: what counts against an account's limit is what its payments hold or took."""
    return _rows(
        db,
        """
        with used as (
            select account, sum(amount_minor) as minor from payment.payments
            where state in ('held', 'captured', 'charged') group by account
        )
        select account, used_minor, minor as payments_minor
        from payment.limits left join used using (account) where used_minor <> coalesce(minor, 0)
        """,
    )


def amounts_agree(db: apsw.Connection) -> list[Row]:
    """Amounts: an order's lines, total, payment and shipping cost agree, as far as it has them."""
    return _rows(
        db,
        """
        with lines as (
            select o.order_id, item.value ->> 'quantity' * (item.value ->> 'unit_price_minor') as price
            from orders.orders o, json_each(o.items) item
        ), totals as (
            select order_id, iif(count(*) = count(price), sum(price), null) as total from lines group by order_id
        )
        select order_id, o.state, total as lines_minor, o.amount_minor, p.amount_minor as payment_minor,
               o.shipping_minor, s.cost_minor
        from orders.orders o join totals using (order_id)
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
    """Orders: each is fully done if its saga has completed, else fully undone, in every service that saga uses."""
    wrong = " or ".join(f"({_is_wrong(service)})" for service in SERVICES)
    return _rows(
        db,
        f"""
        with {_FACTS}, {_BY_HAND}, placed as (
            select key as order_id, saga, state,
                   row_number() over (partition by key order by started_at desc, saga desc) as place
            from journal.instances where saga in {_listed(SAGAS)}
        )
        select order_id, saga, p.state, by_hand, {", ".join(SERVICES)}
        from placed p left join facts using (order_id) left join by_hand using (order_id)
        where place = 1 and p.state in ('completed', 'compensated') and ({wrong})
        """,
    )


def orders_known(db: apsw.Connection) -> list[Row]:
    """Journal: it knows every order that a service knows."""
    return _rows(
        db,
        f"""
        with {_FACTS}, {_BY_HAND}
        select * from facts where order_id not in (
            select key from journal.instances where saga in {_listed(SAGAS)} union select order_id from by_hand
        )
        -- A long order that was cancelled before its own saga began.
        and (
            (orders, inventory, payment, shipping, notification) is not ('cancelled', null, null, null, null)
            or order_id not in (
                select key from journal.instances where saga = 'placement-accept' and state = 'compensated'
            )
        )
        """,
    )


def effects_once(db: apsw.Connection) -> list[Row]:
    """Effects: no customer was told twice, no money moved twice."""
    return _rows(
        db,
        f"""
        with {_BY_HAND}
        select order_id, kind as effect, count(*) as times from notification.outbox
        group by order_id, kind having count(*) <> 1
        union all
        select order_id, movement || ' of ' || account, count(*) from payment.entries
        where not (movement in ('charge', 'refund') and order_id in (select order_id from by_hand))
        group by order_id, movement, account having count(*) <> 1
        union all
        -- Who pays by hand may pay again after a refund.
        select order_id, 'charge, less refunds', sum(iif(movement = 'charge', 1, -1)) as times from payment.entries
        where account = 'revenue' and movement in ('charge', 'refund') and order_id in (select order_id from by_hand)
        group by order_id having times not in (0, 1)
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


CHECKS: tuple[Check, ...] = (
    stock_adds_up,
    nothing_reserved,
    shipped_as_reserved,
    nobody_waits,
    ledger_balanced,
    ledger_as_payments,
    limits_as_payments,
    amounts_agree,
    goods_agree,
    all_or_nothing,
    effects_once,
    fences_closed,
    instances_ended,
    orders_known,
)


def _listed(names: Iterable[str]) -> str:
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"


_BY_HAND = f"""
    by_hand as (
        select distinct body ->> '$.input.order_id' as order_id, true as by_hand
        from journal.instances join journal.records using (saga_id)
        where saga glob '{BY_HAND}*' and type = 'started' and body ->> '$.input.order_id' is not null
    )
"""
"""The orders of which a person did, or took back, one thing or another."""

_FACTS = """
    stock as (
        select order_id, group_concat(distinct state) as inventory from inventory.reservations group by order_id
    ), told as (
        select order_id, case group_concat(distinct kind)
            when 'confirmation' then 'told'
            when 'resend' then 'told for the second time only' else 'told again' end as notification
        from notification.outbox group by order_id
    ), ids as (
        select order_id from orders.orders union select order_id from stock
        union select order_id from payment.payments union select order_id from shipping.shipments
        union select order_id from told
    ), facts as (
        select order_id, o.state as orders, stock.inventory, p.state as payment, s.state as shipping, told.notification
        from ids left join orders.orders o using (order_id) left join stock using (order_id)
        left join payment.payments p using (order_id) left join shipping.shipments s using (order_id)
        left join told using (order_id)
    )
"""
"""What each service says of each order, in a column of its name; null is nothing."""


def _is_wrong(service: str) -> str:
    """The condition under which what a service says of an order is not what the order's saga says."""
    done, undone = ENDS[service]
    users = [saga for saga, services in SAGAS.items() if service in services]
    said = f"coalesce({service}, '')"
    return f"""case
        when saga not in {_listed(users)} then {service} is not null
        when by_hand then {said} not in {_listed(("", *done, *undone))}
        when p.state = 'completed' then {said} not in {_listed(done)}
        else {said} not in {_listed(("", *undone))} end"""


def _rows(db: apsw.Connection, sql: str) -> list[Row]:
    cursor = db.execute(sql)
    try:
        names = [column[0] for column in cursor.get_description()]
    except apsw.ExecutionCompleteError:
        return []  # no row at all
    return [dict(zip(names, row, strict=True)) for row in islice(cursor, ROWS_MAX)]
