"""Inventory: how many units of each item are on the shelves, set aside, and gone.

Every unit that came in is in exactly one of the three places. An order takes all it wants or
nothing.
"""

from amends import Done, Refused, Service, handles, undoes
from amends.demo.faults import HANDLER_TIMEOUT_S, Faults
from amends.demo.messages import CommitStock, ReceiveStock, Reserved, ReserveStock
from amends.demo.services import migrations
from amends.demo.versioned import Stale, WrongState, on_fresh_data

SHORT_STOCK = "short_stock"
UNKNOWN_ITEM = "unknown_item"

_READ = "select on_hand, version from stock where item_id = ?"
_SET_ASIDE = (
    "update stock set on_hand = on_hand - ?1, reserved = reserved + ?1, version = version + 1 "
    "where item_id = ?2 and version = ?3"
)
_PUT_BACK = (
    "update stock set on_hand = on_hand + ?1, reserved = reserved - ?1, version = version + 1 "
    "where item_id = ?2 and version = ?3"
)
_SEND_OUT = (
    "update stock set reserved = reserved - ?1, shipped = shipped + ?1, version = version + 1 "
    "where item_id = ?2 and version = ?3"
)
_SHELVE = (
    "insert into stock (item_id, on_hand) values (?1, ?2) "
    "on conflict do update set on_hand = on_hand + ?2, version = version + 1"
)

Change = tuple[int, str, int]
"""How many units of which item, and the version its row was read with."""


class Inventory(Service, name="inventory", migrations=migrations("inventory"), handler_timeout_s=HANDLER_TIMEOUT_S):
    """On the shelf, then set aside, then gone or back on the shelf."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    @handles(ReceiveStock)
    def receive(self, command: ReceiveStock) -> Done[None]:
        lines = list(command.units.items())
        self.db.executemany(
            "insert into receipts (delivery_id, item_id, quantity) values (?, ?, ?)",
            [(command.delivery_id, item_id, units) for item_id, units in lines],
        )
        # No version is asked for: what is added does not depend on what was there.
        self.db.executemany(_SHELVE, lines)
        return Done()

    @handles(ReserveStock)
    def reserve(self, command: ReserveStock) -> Done[Reserved] | Refused:
        if self.faults.empties_the_shelf(command.order_id):
            return Refused(SHORT_STOCK)
        refused = on_fresh_data(self.db, lambda: self._set_aside(command), several=len(command.units) > 1)
        if refused is not None:
            return refused
        self.faults.strike("reserve", command.order_id)
        return Done(Reserved(sum(command.units.values())))

    @undoes(ReserveStock)
    def release(self, command: ReserveStock, result: Reserved) -> None:
        self._clear(command.order_id, "released", _PUT_BACK)
        self.faults.strike("release", command.order_id)

    @handles(CommitStock)
    def commit(self, command: CommitStock) -> Done[None]:
        self._clear(command.order_id, "committed", _SEND_OUT)
        self.faults.strike("commit", command.order_id)
        return Done()

    def _set_aside(self, command: ReserveStock) -> Refused | None:
        changes: list[Change] = []
        for item_id, units in command.units.items():
            row = self.db.execute(_READ, (item_id,)).fetchone()
            if row is None:
                return Refused(f"{UNKNOWN_ITEM}: {item_id}")
            on_hand, version = row
            if on_hand < units:
                return Refused(f"{SHORT_STOCK}: {item_id}")
            changes.append((units, item_id, version))
        self._write(_SET_ASIDE, changes)
        self.db.executemany(
            "insert into reservations (order_id, item_id, quantity, state) values (?, ?, ?, 'held')",
            [(command.order_id, item_id, units) for units, item_id, _ in changes],
        )
        return None

    def _clear(self, order_id: str, after: str, move: str) -> None:
        """Let what an order holds go, one way or the other."""
        on_fresh_data(self.db, lambda: self._clear_rows(order_id, after, move), several=True)

    def _clear_rows(self, order_id: str, after: str, move: str) -> None:
        held = self.db.execute(
            "select r.quantity, r.item_id, s.version from reservations r join stock s using (item_id) "
            "where r.order_id = ? and r.state = 'held'",
            (order_id,),
        )
        changes: list[Change] = [(units, item_id, version) for units, item_id, version in held]
        if not changes:
            raise WrongState("reservations", order_id, None, "held")
        self._write(move, changes)
        self.db.execute(
            "update reservations set state = ?, version = version + 1 where order_id = ? and state = 'held'",
            (after, order_id),
        )

    def _write(self, move: str, changes: list[Change]) -> None:
        before = self.db.total_changes()
        self.db.executemany(move, changes)
        if self.db.total_changes() - before != len(changes):
            raise Stale(f"stock: {len(changes)} rows read, some of them changed since")
