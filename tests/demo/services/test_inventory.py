"""Inventory: every unit is on the shelf, set aside or gone, and an order takes all or nothing."""

from collections.abc import Sequence
from typing import Any

import pytest

from amends import Done, Refused
from amends.demo.messages import CommitStock, ReceiveStock, Reserved, ReserveStock, StockConflicts
from amends.demo.services.inventory import Inventory
from amends.demo.versioned import WrongState
from tests.demo.services.meddling import before_each, someone_changes

RESERVE = ReserveStock("o-1", {"A": 2, "B": 1})


@pytest.fixture
def inventory(opened: Any) -> Inventory:
    """Five of A and one of B."""
    made: Inventory = opened(Inventory)
    made.receive(ReceiveStock("d-1", {"A": 5, "B": 1}))
    return made


def shelves(inventory: Inventory) -> dict[str, tuple[int, int, int]]:
    """On hand, reserved and shipped, by item."""
    rows = inventory.db.execute("select item_id, on_hand, reserved, shipped from stock")
    return {item_id: (on_hand, reserved, shipped) for item_id, on_hand, reserved, shipped in rows}


def test_reserved_units_go_out_when_committed(inventory: Inventory) -> None:
    """From the shelf, aside, and out of the house."""
    assert inventory.reserve(RESERVE) == Done(Reserved(3))
    assert shelves(inventory) == {"A": (3, 2, 0), "B": (0, 1, 0)}
    assert inventory.commit(CommitStock("o-1")) == Done()
    assert shelves(inventory) == {"A": (3, 0, 2), "B": (0, 0, 1)}


def test_released_units_are_on_the_shelf_again(inventory: Inventory) -> None:
    """The undo puts back what the step took."""
    inventory.reserve(RESERVE)
    inventory.release(RESERVE, Reserved(3))
    assert shelves(inventory) == {"A": (5, 0, 0), "B": (1, 0, 0)}


@pytest.mark.parametrize(
    ("units", "reason"),
    [({"A": 6}, "short_stock: A"), ({"A": 1, "B": 2}, "short_stock: B"), ({"A": 1, "C": 1}, "unknown_item: C")],
)
def test_all_or_nothing(inventory: Inventory, units: dict[str, int], reason: str) -> None:
    """One item that is short or unknown, and nothing is taken."""
    assert inventory.reserve(ReserveStock("o-1", units)) == Refused(reason)
    assert shelves(inventory) == {"A": (5, 0, 0), "B": (1, 0, 0)}


def test_what_is_not_reserved_can_be_neither_committed_nor_released(inventory: Inventory) -> None:
    """Nothing happens twice."""
    with pytest.raises(WrongState):
        inventory.commit(CommitStock("o-1"))
    inventory.reserve(RESERVE)
    inventory.release(RESERVE, Reserved(3))
    with pytest.raises(WrongState):
        inventory.release(RESERVE, Reserved(3))
    assert shelves(inventory) == {"A": (5, 0, 0), "B": (1, 0, 0)}


def test_a_delivery_adds_to_what_is_there(inventory: Inventory) -> None:
    """New items and known ones."""
    inventory.receive(ReceiveStock("d-2", {"A": 1, "C": 0}))
    assert shelves(inventory) == {"A": (6, 0, 0), "B": (1, 0, 0), "C": (0, 0, 0)}


def test_a_planned_shortage_takes_nothing(opened: Any) -> None:
    """The fault looks like an empty shelf."""
    inventory = opened(Inventory, short_stock=1.0)
    inventory.receive(ReceiveStock("d-1", {"A": 5, "B": 1}))
    assert inventory.reserve(RESERVE) == Refused("short_stock")
    assert shelves(inventory) == {"A": (5, 0, 0), "B": (1, 0, 0)}


def test_two_writers_of_one_shelf_lose_nothing(inventory: Inventory) -> None:
    """A row that changed between the read and the write is read again, and the other rows are taken back."""
    db, left = inventory.db, [1]

    def someone_buys_b(sql: str, _: object) -> None:
        if sql.startswith("update stock") and "'B'" not in sql and left[0]:
            left[0] -= 1
            for _ in range(2):
                db.execute("update stock set shipped = shipped + 1, version = version + 1 where item_id = 'B'")

    before_each(db, someone_buys_b)
    assert inventory.reserve(RESERVE) == Done(Reserved(3))
    # The other writer's purchases were taken back with our first try, as both share this connection.
    assert shelves(inventory) == {"A": (3, 2, 0), "B": (0, 1, 0)}
    assert left == [0]


def by_another_process(inventory: Inventory, item_id: str, units: int) -> None:
    """Somebody else who has the same file takes units, so far as there are any."""
    inventory.db.execute(
        "update stock set on_hand = on_hand - ?1, shipped = shipped + ?1, version = version + 1 "
        "where item_id = ?2 and on_hand >= ?1",
        (units, item_id),
    )


def reads(inventory: Inventory) -> list[str]:
    """From here on, the items whose rows are read."""
    seen: list[str] = []

    def look(sql: str, values: Sequence[Any]) -> None:
        if sql.endswith("from stock where item_id = ?"):
            seen.extend(values)

    before_each(inventory.db, look)
    return seen


def test_what_is_remembered_is_not_read_again(inventory: Inventory) -> None:
    """A row that was read or written once; our own writes are no conflicts."""
    conflicts = inventory.conflicts(StockConflicts())
    seen = reads(inventory)
    inventory.reserve(ReserveStock("o-1", {"A": 1}))
    inventory.commit(CommitStock("o-1"))
    inventory.reserve(ReserveStock("o-2", {"A": 1, "B": 1}))
    assert seen == ["A", "B"]
    assert inventory.reserve(ReserveStock("o-3", {"B": 1})) == Refused("short_stock: B")
    inventory.receive(ReceiveStock("d-2", {"A": 1, "B": 1}))
    inventory.reserve(ReserveStock("o-3", {"A": 1, "B": 1}))
    assert inventory.conflicts(StockConflicts()) == conflicts


def test_wrong_memory_changes_nothing_and_is_counted(inventory: Inventory) -> None:
    """Somebody else was here: the items are read again, and nothing is lost."""
    conflicts = inventory.conflicts(StockConflicts())
    inventory.reserve(ReserveStock("o-1", {"A": 1, "B": 1}))
    inventory.release(ReserveStock("o-1", {"A": 1, "B": 1}), Reserved(2))
    by_another_process(inventory, "A", 3)
    seen = reads(inventory)
    assert inventory.reserve(ReserveStock("o-2", {"A": 2, "B": 1})) == Done(Reserved(3))
    assert seen == ["A", "B"]
    assert shelves(inventory) == {"A": (0, 2, 3), "B": (0, 1, 0)}
    assert inventory.conflicts(StockConflicts()) == conflicts + 1


def test_no_order_is_refused_from_memory(inventory: Inventory) -> None:
    """Where too few are remembered, the row is read before anybody is told; and where too many are."""
    conflicts = inventory.conflicts(StockConflicts())
    inventory.reserve(ReserveStock("o-1", {"A": 5}))
    inventory.db.execute("update stock set on_hand = 1, version = version + 1 where item_id = 'A'")
    assert inventory.reserve(ReserveStock("o-2", {"A": 1})) == Done(Reserved(1))
    assert inventory.conflicts(StockConflicts()) == conflicts
    inventory.release(ReserveStock("o-1", {"A": 5}), Reserved(5))
    by_another_process(inventory, "A", 4)
    assert inventory.reserve(ReserveStock("o-3", {"A": 2})) == Refused("short_stock: A")


def test_memory_that_is_ahead_is_no_conflict(inventory: Inventory) -> None:
    """Of a turn that was rolled back: nobody else was here, until somebody is."""
    conflicts = inventory.conflicts(StockConflicts())
    for order_id in ("o-1", "o-2"):
        inventory.db.begin()
        inventory.reserve(ReserveStock(order_id, {"A": 1, "B": 1}))
        inventory.db.rollback()
    inventory.reserve(ReserveStock("o-3", {"A": 1, "B": 1}))
    inventory.release(ReserveStock("o-3", {"A": 1, "B": 1}), Reserved(2))
    assert inventory.conflicts(StockConflicts()) == conflicts
    by_another_process(inventory, "A", 1)
    inventory.reserve(ReserveStock("o-4", {"A": 1, "B": 1}))
    assert inventory.conflicts(StockConflicts()) == conflicts + 1


@pytest.mark.parametrize("units", [{"A": 2, "B": 1}, {"A": 1}])
def test_two_writers_of_one_reservation_lose_nothing(inventory: Inventory, units: dict[str, int]) -> None:
    """One that changed since it was read is read again, whether all of it is given back or a part."""
    inventory.reserve(RESERVE)
    tried = someone_changes(inventory.db, "reservations")
    inventory.release(ReserveStock("o-1", units), Reserved(0))
    assert len(tried) == 2, "it was not tried again"
    assert shelves(inventory)["A"] == (3 + units["A"], 2 - units["A"], 0)


def test_two_writers_of_one_reservation_commit_it_once(inventory: Inventory) -> None:
    """What went out is what is there when it goes."""
    inventory.reserve(RESERVE)
    tried = someone_changes(inventory.db, "reservations")
    inventory.commit(CommitStock("o-1"))
    assert len(tried) == 2, "it was not tried again"
    assert shelves(inventory) == {"A": (3, 0, 2), "B": (0, 0, 1)}


def test_memory_of_what_was_taken_back_does_no_harm(inventory: Inventory) -> None:
    """A turn that is rolled back leaves versions and units that never were, and may be again."""
    inventory.reserve(ReserveStock("o-1", {"B": 1}))
    inventory.release(ReserveStock("o-1", {"B": 1}), Reserved(1))
    inventory.db.begin()
    inventory.receive(ReceiveStock("d-2", {"B": 5}))
    inventory.reserve(ReserveStock("o-2", {"B": 1}))
    inventory.db.rollback()
    # Another process brings the row to the very version that is remembered, with fewer units than that had.
    for _ in range(2):
        inventory.db.execute("update stock set version = version + 1 where item_id = 'B'")
    assert inventory.reserve(ReserveStock("o-3", {"B": 2})) == Refused("short_stock: B")
    assert inventory.reserve(ReserveStock("o-4", {"B": 1})) == Done(Reserved(1))
    assert shelves(inventory)["B"] == (0, 1, 0)
