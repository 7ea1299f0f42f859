"""Inventory in one stage and by hand: what is taken at once, what things cost, what is counted."""

from itertools import count
from typing import Any

import pytest

from amends import Done, IdempotencyKey, Refused
from amends.demo.domain import CURRENCY, Money
from amends.demo.messages import (
    CommitStock,
    Price,
    Prices,
    ReceiveStock,
    Reserved,
    ReserveStock,
    ReturnStock,
    SetPrices,
    SetStock,
    StockLevels,
    Taken,
    TakeStock,
)
from amends.demo.services.inventory import Inventory
from amends.demo.versioned import WrongState
from amends.protocol.messages import SagaId
from tests.demo.services.test_inventory import shelves

TAKE = TakeStock("o-1", {"A": 2, "B": 1})
TAKEN = Taken(Money(2 * 250 + 199, CURRENCY))
UNTOUCHED = {"A": (5, 0, 0), "B": (1, 0, 0)}


@pytest.fixture
def inventory(opened: Any, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    """Five of A and one of B, with prices, and every command a step of its own."""
    steps = (IdempotencyKey(SagaId("s"), f"step-{n}") for n in count())
    monkeypatch.setattr(Inventory, "key", property(lambda inventory: next(steps)))
    made: Inventory = opened(Inventory)
    made.receive(ReceiveStock("d-1", {"A": 5, "B": 1}))
    made.set_prices(SetPrices({"A": 2.5, "B": "1.99"}))
    return made


def levels(inventory: Inventory) -> list[tuple[str, int]]:
    """The shelves as a caller sees them, in order."""
    return list(inventory.levels(StockLevels()).items())


def off(inventory: Inventory) -> list[Any]:
    """Items of which not every unit that came in is in one of the three places."""
    return inventory.db.execute(
        "select item_id, on_hand, reserved, shipped, units from stock left join "
        "(select item_id, sum(quantity) as units from receipts group by item_id) as came using (item_id) "
        "where coalesce(units, -1) <> on_hand + reserved + shipped"
    ).fetchall()


# Taken at once.


def test_what_is_taken_is_gone_at_once(inventory: Inventory) -> None:
    """From the shelf out of the house, at the prices of now."""
    assert inventory.take(TAKE) == Done(TAKEN)
    assert shelves(inventory) == {"A": (3, 0, 2), "B": (0, 0, 1)}


def test_what_was_taken_is_not_taken_again(inventory: Inventory) -> None:
    """An order that has it hears the same amount, whatever things cost by now."""
    inventory.take(TAKE)
    inventory.set_prices(SetPrices({"A": 100}))
    assert inventory.take(TAKE) == Done(TAKEN)
    assert shelves(inventory) == {"A": (3, 0, 2), "B": (0, 0, 1)}


@pytest.mark.parametrize("units", [{"A": 1}, {"A": 2}, {"A": 3, "B": 1}, {"A": 2, "B": 1, "C": 1}])
def test_what_was_taken_is_not_other_units(inventory: Inventory, units: dict[str, int]) -> None:
    """An order that wants others now, more or fewer, does not hear that it has them."""
    inventory.take(TAKE)
    assert inventory.take(TakeStock("o-1", units)) == Refused("order_exists: other units are taken for it")
    assert shelves(inventory) == {"A": (3, 0, 2), "B": (0, 0, 1)}


@pytest.mark.parametrize(
    ("units", "reason"),
    [({"A": 6}, "short_stock: A"), ({"A": 1, "B": 2}, "short_stock: B"), ({"A": 1, "C": 1}, "no_price: C")],
)
def test_all_is_taken_or_nothing(inventory: Inventory, units: dict[str, int], reason: str) -> None:
    """One item that is short or has no price, and nothing is."""
    assert inventory.take(TakeStock("o-1", units)) == Refused(reason)
    assert shelves(inventory) == UNTOUCHED


def test_an_item_with_a_price_that_never_was_there_is_unknown(inventory: Inventory) -> None:
    """A price puts nothing on a shelf."""
    inventory.set_prices(SetPrices({"C": 1}))
    assert inventory.take(TakeStock("o-1", {"C": 1})) == Refused("unknown_item: C")


def test_the_undo_puts_back_once(inventory: Inventory) -> None:
    """However often it is called, by whatever name."""
    inventory.take(TAKE)
    inventory.put_back(TAKE, TAKEN)
    assert shelves(inventory) == UNTOUCHED
    inventory.put_back(TAKE, TAKEN)
    assert inventory.take_back(ReturnStock("o-1")) == Done()
    assert shelves(inventory) == UNTOUCHED


def test_what_is_returned_is_put_back_once(inventory: Inventory) -> None:
    """And the undo that comes after it finds nothing more to do."""
    inventory.take(TAKE)
    assert inventory.take_back(ReturnStock("o-1")) == Done()
    inventory.put_back(TAKE, TAKEN)
    inventory.take_back(ReturnStock("o-1"))
    assert shelves(inventory) == UNTOUCHED


def test_nothing_comes_back_of_an_order_that_took_nothing(inventory: Inventory) -> None:
    """Nor of one that has units set aside: that is another stage's to undo."""
    assert inventory.take_back(ReturnStock("never")) == Done()
    inventory.reserve(ReserveStock("o-2", {"A": 2}))
    assert inventory.take_back(ReturnStock("o-2")) == Done()
    assert shelves(inventory) == {"A": (3, 2, 0), "B": (1, 0, 0)}


def test_what_was_returned_may_be_taken_again(inventory: Inventory) -> None:
    """By the same order, of what it wants now."""
    inventory.take(TAKE)
    inventory.take_back(ReturnStock("o-1"))
    for _ in range(2):
        assert inventory.take(TakeStock("o-1", {"A": 1})) == Done(Taken(Money(250, CURRENCY)))
    inventory.take_back(ReturnStock("o-1"))
    assert shelves(inventory) == UNTOUCHED


def test_what_is_set_aside_is_not_taken_as_well(inventory: Inventory) -> None:
    """An order goes one way or the other."""
    inventory.reserve(ReserveStock("o-1", {"A": 2}))
    with pytest.raises(WrongState, match="order 'o-1' is held, wanted taken"):
        inventory.take(TAKE)


def test_a_planned_shortage_takes_nothing(opened: Any) -> None:
    """The fault looks like an empty shelf."""
    assert opened(Inventory, short_stock=1.0).take(TAKE) == Refused("short_stock")


# Prices.


def test_a_priced_reservation_says_what_it_costs(inventory: Inventory) -> None:
    """If it is asked to; else prices are nobody's business."""
    assert inventory.reserve(ReserveStock("o-1", {"A": 2, "B": 1}, priced=True)) == Done(Reserved(3, TAKEN.amount))
    inventory.receive(ReceiveStock("d-2", {"C": 2}))
    assert inventory.reserve(ReserveStock("o-2", {"C": 1}, priced=True)) == Refused("no_price: C")
    assert inventory.reserve(ReserveStock("o-2", {"C": 1})) == Done(Reserved(1))


@pytest.mark.parametrize(
    ("prices", "minor"),
    [
        ({"A": "0.004", "B": "0.001"}, 1),  # 2 x 0.4 and 0.1 are 0.9: each for itself would be nothing
        ({"A": "0.0025", "B": 0}, 1),  # half up
        ({"A": "0.00249999999999999999999999999999", "B": 0}, 0),  # more digits than a Decimal reckons with
        ({"A": 0.1, "B": 1.1}, 130),  # a float is what it is written as
        ({"A": 3, "B": "1e2"}, 10600),
    ],
)
def test_an_amount_is_rounded_half_up_once(inventory: Inventory, prices: dict[str, Price | None], minor: int) -> None:
    """The sum, not each line."""
    inventory.set_prices(SetPrices(prices))
    assert inventory.take(TAKE) == Done(Taken(Money(minor, CURRENCY)))


def test_an_amount_that_is_none_is_refused(inventory: Inventory) -> None:
    """Before anything is taken."""
    inventory.set_prices(SetPrices({"A": 10**17}))
    assert inventory.take(TAKE) == Refused(f"too_dear: wanted at most {2**62} minor units")
    assert shelves(inventory) == UNTOUCHED


def test_prices_come_back_as_they_were_given(inventory: Inventory) -> None:
    """Of the same type, in the order of a dict."""
    inventory.set_prices(SetPrices({"C": 3, "A": None, "B": "2.50"}))
    inventory.set_prices(SetPrices({"A": 1.5}))
    found = inventory.prices(Prices())
    assert list(found.items()) == [("B", "2.50"), ("C", 3), ("A", 1.5)]
    assert [type(price) for price in found.values()] == [str, int, float]
    assert inventory.prices(Prices(("A", "X", "B"))) == {"B": "2.50", "A": 1.5}


@pytest.mark.parametrize("price", ["", "cheap", "-1", "NaN", "Infinity", "1e1000000", "0." + "1" * 60])
def test_what_is_no_price_is_refused_and_changes_none(inventory: Inventory, price: str) -> None:
    """The refusal names the item."""
    refused = inventory.set_prices(SetPrices({"A": 1, "B": price}))
    assert refused == Refused(f"bad_price: B: found {price!r}, wanted a number of at least 0")
    assert inventory.prices(Prices()) == {"A": 2.5, "B": "1.99"}


# What is counted.


def test_a_count_sets_what_is_on_hand(inventory: Inventory) -> None:
    """What is set aside and gone stays; the difference is booked, so that all units are accounted for."""
    inventory.reserve(ReserveStock("o-1", {"A": 2}))
    assert inventory.set_stock(SetStock({"A": 1, "B": 7, "C": 3})) == Done()
    assert shelves(inventory) == {"A": (1, 2, 0), "B": (7, 0, 0), "C": (3, 0, 0)}
    assert off(inventory) == []
    inventory.set_stock(SetStock({"A": 1, "C": 0, "D": 0}))
    assert shelves(inventory)["D"] == (0, 0, 0)
    assert off(inventory) == []


def test_items_stand_in_the_order_of_a_dict(inventory: Inventory) -> None:
    """Who is changed keeps its place, who is struck off and set again goes to the end."""
    inventory.set_stock(SetStock({"C": 3, "A": 4}))
    assert levels(inventory) == [("A", 4), ("B", 1), ("C", 3)]
    inventory.set_stock(SetStock({"A": None, "X": None}))
    assert levels(inventory) == [("B", 1), ("C", 3)]
    inventory.set_stock(SetStock({"A": 0}))
    assert levels(inventory) == [("B", 1), ("C", 3), ("A", 0)]
    assert inventory.levels(StockLevels(("A", "X", "B"))) == {"B": 1, "A": 0}
    assert inventory.levels(StockLevels(())) == {}


def test_an_item_struck_off_comes_back_with_its_units(inventory: Inventory) -> None:
    """What was set aside is accounted for meanwhile, and is listed again when it lies on the shelf again."""
    reserve = ReserveStock("o-1", {"A": 2})
    inventory.reserve(reserve)
    inventory.set_stock(SetStock({"A": None}))
    assert levels(inventory) == [("B", 1)]
    assert inventory.reserve(ReserveStock("o-2", {"A": 1})) == Refused("short_stock: A")
    inventory.release(reserve, Reserved(2))
    assert levels(inventory) == [("B", 1), ("A", 2)]
    assert off(inventory) == []


def test_an_item_struck_off_is_listed_again_when_it_comes_in(inventory: Inventory) -> None:
    """At the end, even if no unit came."""
    inventory.set_stock(SetStock({"A": None}))
    inventory.receive(ReceiveStock("d-2", {"A": 0}))
    assert levels(inventory) == [("B", 1), ("A", 0)]


def test_an_item_struck_off_may_still_leave(inventory: Inventory) -> None:
    """What was set aside goes out, and that lists nothing."""
    inventory.reserve(ReserveStock("o-1", {"A": 2}))
    inventory.set_stock(SetStock({"A": None}))
    inventory.commit(CommitStock("o-1"))
    assert levels(inventory) == [("B", 1)]
    assert off(inventory) == []
