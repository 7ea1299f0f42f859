"""The shelves: the rows of `stock`, changed by optimistic locking from what is remembered of them.

A row that was read or written once is not read again: a change is first tried with the version
that is remembered, and another process may have changed the row since. Then, or because a
turn that wrote it was taken back, memory is wrong; that can do no harm, for a write finds its row
only while the version is current *and* enough units are there, and adds to what stands in
the row, not to what is remembered. Such a change is made again on rows read afresh. No order
is ever refused from memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Literal, NamedTuple

from amends import Database, Refused
from amends.demo.versioned import Stale, on_fresh_data

SHORT_STOCK = "short_stock"
UNKNOWN_ITEM = "unknown_item"

_READ = "select on_hand, version from stock where item_id = ?"
_READ_ALL = "select on_hand, reserved, version from stock where item_id = ?"
_SHELVE = (
    "insert into stock (item_id, on_hand, place) values (?1, ?2, ?3) "
    "on conflict (item_id) do update set on_hand = stock.on_hand + ?2, place = coalesce(stock.place, ?3), "
    "version = stock.version + 1"
)
_COUNT = "update stock set on_hand = ?1, place = ?2, version = version + 1 where item_id = ?3 and version = ?4"
_RECEIPT = "insert into receipts (delivery_id, item_id, quantity) values (?, ?, ?)"
_LAST_PLACE = "select coalesce(max(place), 0) from stock"

Place = Literal["on_hand", "reserved", "shipped"]


class Move:
    """From one of an item's three places to another."""

    def __init__(self, source: Place, target: Place) -> None:
        self.takes = source == "on_hand"
        self.on_hand = -1 if self.takes else int(target == "on_hand")
        # What lies on the shelf is listed, whatever was struck off meanwhile.
        listed = f", place = coalesce(place, ({_LAST_PLACE}) + 1)" if target == "on_hand" else ""
        self.sql = (
            f"update stock set {source} = {source} - ?1, {target} = {target} + ?1{listed}, version = version + 1 "
            f"where item_id = ?2 and version = ?3 and {source} >= ?1"
        )


SET_ASIDE: Final = Move("on_hand", "reserved")
PUT_BACK: Final = Move("reserved", "on_hand")
SEND_OUT: Final = Move("reserved", "shipped")
TAKE: Final = Move("on_hand", "shipped")
TAKE_BACK: Final = Move("shipped", "on_hand")


class Shelf(NamedTuple):
    """What there is of one item that has not left."""

    on_hand: int
    reserved: int


class Shelves:
    """The rows of `stock`, and what is remembered of them.

    Attributes:
        conflicts: how often somebody else had changed a row since it was read, by database; kept for the whole
            process, since an incarnation of the service that fails takes its memory with it.
    """

    conflicts: ClassVar[Counter[str]] = Counter()

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[str, tuple[int, int]] = {}
        # Versions that were not current any more, or never were: the rows themselves say which.
        self._doubted: dict[str, int] = {}

    def move(self, move: Move, units: Mapping[str, int]) -> Refused | None:
        """Move units of all these items, or of none."""
        return on_fresh_data(self._db, lambda: self._try_to_move(move, units), several=len(units) > 1)

    def _try_to_move(self, move: Move, units: Mapping[str, int]) -> Refused | None:
        known = self._known
        changes: list[tuple[int, str, int]] = []
        for item_id, wanted in units.items():
            row = known.get(item_id)
            if row is None or (move.takes and row[0] < wanted):
                row = self._read(item_id)
                if row is None and not move.takes:
                    raise Stale(f"stock: the row of {item_id!r} is gone")
                if row is None:
                    return Refused(f"{UNKNOWN_ITEM}: {item_id}")
                if move.takes and row[0] < wanted:
                    return Refused(f"{SHORT_STOCK}: {item_id}")
            changes.append((wanted, item_id, row[1]))
        before = self._db.total_changes()
        # In one order, so that two processes that change the same rows wait for each other at the first of them.
        self._db.executemany(move.sql, sorted(changes, key=lambda change: change[1]))
        if self._db.total_changes() - before != len(changes):
            raise self._stale(units)
        for wanted, item_id, version in changes:
            known[item_id] = (known[item_id][0] + move.on_hand * wanted, version + 1)
        return None

    def read(self, item_ids: Iterable[str]) -> dict[str, Shelf]:
        """What there is of these items, read afresh; an item that was never there is missing."""
        found = {}
        for item_id in item_ids:
            row = self._db.execute(_READ_ALL, (item_id,)).fetchone()
            if row is not None:
                on_hand, reserved, version = row
                self._remember(item_id, on_hand, version)
                found[item_id] = Shelf(on_hand, reserved)
        return found

    def receive(self, delivery_id: str, units: Mapping[str, int]) -> None:
        """Add what came in."""
        self._forget(units)
        last = self._last_place()
        self._db.executemany(_RECEIPT, [(delivery_id, item_id, came) for item_id, came in units.items()])
        # No version is asked for: what is added does not depend on what was there.
        self._db.executemany(
            _SHELVE, [(item_id, came, last + n) for n, (item_id, came) in enumerate(units.items(), start=1)]
        )

    def count(self, count_id: str, counts: Mapping[str, int | None]) -> None:
        """Set what is on hand, or strike items off, and book the difference as a receipt."""
        on_fresh_data(self._db, lambda: self._try_to_count(count_id, counts), several=True)

    def _try_to_count(self, count_id: str, counts: Mapping[str, int | None]) -> None:
        # Never from memory: the difference depends on what is there.
        self._forget(counts)
        last = self._last_place()
        for n, (item_id, counted) in enumerate(counts.items(), start=1):
            row = self._db.execute("select on_hand, version, place from stock where item_id = ?", (item_id,)).fetchone()
            if row is None:
                if counted is not None:
                    self.receive(count_id, {item_id: counted})
                continue
            on_hand, version, place = row
            place = None if counted is None else place or last + n
            self._db.execute(_COUNT, (counted or 0, place, item_id, version))
            if self._db.changes() != 1:
                raise self._stale(counts)
            if (counted or 0) != on_hand:
                self._db.execute(_RECEIPT, (count_id, item_id, (counted or 0) - on_hand))

    def _read(self, item_id: str) -> tuple[int, int] | None:
        row: tuple[int, int] | None = self._db.execute(_READ, (item_id,)).fetchone()
        if row is not None:
            self._remember(item_id, *row)
        return row

    def _remember(self, item_id: str, on_hand: int, version: int) -> None:
        # Memory that is ahead of the row is of a turn that was taken back, and nobody else's doing.
        if self._doubted and version > self._doubted.pop(item_id, version):
            self.conflicts[self._db.name] += 1
        self._known[item_id] = (on_hand, version)

    def _last_place(self) -> int:
        found: int = self._db.execute(_LAST_PLACE).get
        return found

    def _stale(self, item_ids: Iterable[str]) -> Stale:
        self._doubted.update((item_id, self._known[item_id][1]) for item_id in item_ids if item_id in self._known)
        self._forget(item_ids)
        return Stale(f"stock: some of {list(item_ids)} changed since their rows were read")

    def _forget(self, item_ids: Iterable[str]) -> None:
        for item_id in item_ids:
            self._known.pop(item_id, None)
