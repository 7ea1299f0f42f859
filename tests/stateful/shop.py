"""The demo's shop in a simulated system, its customers, and what must be true of its tables.

Its services and sagas are the demo's own, without the faults the demo has of its own: what goes
wrong is the schedule's to say, or the test's.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import apsw

from amends.demo.audit import findings
from amends.demo.databases import SERVICES as AUDITED
from amends.demo.databases import attach_unused
from amends.demo.domain import Address, Item, Order, PaymentInfo
from amends.demo.faults import FaultPlan, Faults
from amends.demo.stocking import Delivery, StockUp
from amends.demo.systems.coordinator import SERVICES, PlaceOrder
from amends.protocol.records import Started
from amends.testing import Schedule, SimulatedSystem
from tests.stateful.asking import Caller, everyone_was_told_the_truth, let_it_end

OPENING: Final = Delivery("opening", {"apple": 12, "pear": 6, "plum": 1})
PRICES: Final = {"apple": 30, "pear": 45, "plum": 250, "quince": 900}
"""Nobody has quinces."""

NAMES: Final = tuple(service.name for service in SERVICES)
USERS: Final = ("ann", "ben")
COUNTRIES: Final = ("United Kingdom", "France", "Japan", "Unspecified")
"""To the last one no parcel can go."""

_STOCK_OFF: Final = """
select item_id, on_hand, reserved, shipped, units from stock
left join (select item_id, sum(quantity) as units from receipts group by item_id) using (item_id)
where on_hand + reserved + shipped is not units
"""
_MONEY_OFF: Final = """
select order_id, movement, sum(amount_minor), count(*) from entries
group by order_id, movement, currency having sum(amount_minor) <> 0 or count(*) <> 2
"""
_PAYMENTS_OFF: Final = """
select order_id, state, amount_minor, held, revenue from payments left join (
    select order_id, sum(amount_minor) filter (where account = 'held') as held,
           coalesce(sum(amount_minor) filter (where account = 'revenue'), 0) as revenue
    from entries group by order_id
) using (order_id)
where held is not iif(state = 'held', amount_minor, 0) or revenue is not iif(state = 'captured', amount_minor, 0)
"""


def an_order(number: int, lines: Iterable[tuple[str, int]], country: str = COUNTRIES[0], user: str = USERS[0]) -> Order:
    """An order of these items and quantities."""
    return Order(
        order_id=f"o{number}",
        user_id=user,
        items=tuple(Item(item, quantity, PRICES[item]) for item, quantity in lines),
        payment_info=PaymentInfo("account", user),
        shipping_address=Address(country),
    )


class Shop:
    """One simulated shop.

    Attributes:
        callers: everyone who ever asked for something, in order.
    """

    def __init__(self, schedule: Schedule) -> None:
        faults = Faults(FaultPlan())
        self.system = SimulatedSystem(
            sagas=[PlaceOrder, StockUp], services=[service.spec(faults) for service in SERVICES], schedule=schedule
        )
        self.callers: list[Caller] = []

    def stock_up(self, delivery: Delivery = OPENING) -> Caller:
        """Have the shelves filled, while the first customers come."""
        return self._ask(Caller(self.system, StockUp, delivery, delivery.delivery_id), 0.0)

    def order(self, order: Order, after_s: float = 0.0) -> Caller:
        """Somebody wants it, now or later, and does not give up."""
        return self._ask(Caller(self.system, PlaceOrder, order, order.order_id), after_s)

    def _ask(self, caller: Caller, after_s: float) -> Caller:
        self.callers.append(caller)
        caller.ask(after_s)
        return caller

    def always(self) -> None:
        """What holds at any moment: each piece is somewhere, and money only moves."""
        for service, sql in (("inventory", _STOCK_OFF), ("payment", _MONEY_OFF), ("payment", _PAYMENTS_OFF)):
            rows = self.system.query(service, sql)
            assert not rows, f"{service}: {rows}"

    def close_well(self, others: Sequence[Caller] = ()) -> None:
        """Let everything end with nothing going wrong any more: then every checker, the audit and all callers agree.

        Args:
            others: callers who have to be told something too.
        """
        for name in NAMES:
            self.system.service(name).recovers()
        let_it_end(self.system, [*self.callers, *others])
        self.system.check()
        self.always()
        found = "\n".join(audit(self.system))
        assert not found, found
        everyone_was_told_the_truth(self.system, self.callers)


def audit(system: SimulatedSystem) -> list[str]:
    """What the demo's audit finds in copies of the simulated databases, a line for each check that finds something."""
    db = apsw.Connection(":memory:")
    try:
        for name in NAMES:
            db.execute("attach ':memory:' as " + name)
            db.deserialize(name, system._disk._readers[name].connection.serialize("main"))
        for name in set(AUDITED) - set(NAMES):
            attach_unused(db, name)
        _attach_journal(db, system)
        return [f"{finding.title}: {finding.rows}" for finding in findings(db) if finding.rows]
    finally:
        db.close()


def _attach_journal(db: apsw.Connection, system: SimulatedSystem) -> None:
    """The journal's instances as a table, for the simulated journal has none."""
    db.execute("attach ':memory:' as journal")
    db.execute("create table journal.instances (saga_id, saga, key, state, started_at, ended_at)")
    db.execute("create table journal.records (saga_id, type, body)")
    for saga_id, known in system.world.instances.items():
        started, state = known.records[0], known.state
        assert isinstance(started, Started)
        assert state is not None
        ended = state.ended and ("completed" if state.ended.completed else "compensated")
        row = (saga_id, started.saga, started.key, ended or "open", started.at, started.at if ended else None)
        db.execute("insert into journal.instances values (?, ?, ?, ?, ?, ?)", row)
