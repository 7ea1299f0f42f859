"""Waiting for stock, as values: who gets what comes free, who waits in vain, and who has to give up for it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends.demo.services.shelves import Shelf
from amends.demo.services.stock_waits import Ask, Decision, Waiting, deadlocks, decide, orders_of, reduce, waits_for
from tests.demo.services.brute_force import never_satisfied

ITEMS = ("A", "B", "C")


def ring(size: int, items: str = "I") -> list[Waiting]:
    """Orders that each hold one unit and want that of the next one."""
    return [Waiting(f"o{n}", {f"{items}{(n + 1) % size}": 1}, {f"{items}{n}": 1}) for n in range(size)]


Situation = tuple[list[Ask[int]], dict[str, dict[str, int]], dict[str, Shelf]]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Orders that wait, some with several steps, for a few units of a few items; the rest is free or held by others."""
    units = st.dictionaries(st.sampled_from(ITEMS), st.integers(1, 3), min_size=1, max_size=2)
    asks = [
        Ask(n, order_id, draw(units))
        for n, order_id in enumerate(draw(st.lists(st.sampled_from("uvwxyz"), max_size=7)))
    ]
    held = {order_id: draw(st.one_of(units, st.just({}))) for order_id in {ask.order_id: None for ask in asks}}
    shelves = {}
    for item in ITEMS:
        held_here = sum(units.get(item, 0) for units in held.values())
        shelves[item] = Shelf(draw(st.integers(0, 2)), held_here + draw(st.integers(0, 2)))
    return asks, held, shelves


def loose_units(waiting: list[Waiting], shelves: dict[str, Shelf]) -> dict[str, int]:
    """What none of these orders holds."""
    return {item: sum(shelf) - sum(o.held.get(item, 0) for o in waiting) for item, shelf in shelves.items()}


def after(situation: Situation, decision: Decision[int]) -> dict[str, Waiting]:
    """The orders that still miss something when all is given out, those refused among them."""
    asks, held, _ = situation
    rest = []
    holding = {order_id: dict(units) for order_id, units in held.items()}
    for ask in asks:
        grant = decision.grants.get(ask.key, {})
        missing = {item: units - grant.get(item, 0) for item, units in ask.missing.items()}
        assert all(units >= 0 for units in missing.values())
        missing = {item: units for item, units in missing.items() if units}
        assert (not missing) == (ask.key in decision.complete)
        if missing:
            rest.append(Ask(ask.key, ask.order_id, missing))
        for item, units in grant.items():
            holding[ask.order_id][item] = holding[ask.order_id].get(item, 0) + units
    return {order.order_id: order for order in orders_of(rest, holding)}


def circle_in(reason: str) -> list[str]:
    """The orders that a refusal names."""
    return reason.removeprefix("deadlock: ").split(" -> ")


@given(situations())
def test_reduction_finds_what_trying_everything_finds(situation: Situation) -> None:
    """No deadlock is missed, and nobody is called deadlocked who might get all it wants."""
    asks, held, shelves = situation
    waiting = orders_of(asks, held)
    loose = loose_units(waiting, shelves)
    left, _ = reduce(waiting, loose)
    assert {order.order_id for order in left} == never_satisfied(waiting, loose)


@given(situations())
def test_when_the_victims_are_gone_nobody_is_deadlocked(situation: Situation) -> None:
    """Those that stay can all end; each victim was on a circle of orders that wait in vain, which begins with it."""
    _, _, shelves = situation
    decision = decide(*situation)
    orders = after(situation, decision)
    staying = [order for order in orders.values() if order.order_id not in decision.refused]
    assert never_satisfied(staying, loose_units(staying, shelves)) == set()

    circles = {order_id: circle_in(reason) for order_id, reason in decision.refused.items() if "deadlock" in reason}
    candidates = staying + [orders[order_id] for order_id in circles]
    stuck = never_satisfied(candidates, loose_units(candidates, shelves))
    for order_id, circle in circles.items():
        assert circle[0] == circle[-1] == order_id
        assert stuck.issuperset(circle)
        for here, there in pairwise(circle):
            assert set(orders[here].missing) & set(orders[there].held)


@given(situations())
def test_only_what_is_free_is_given_and_nobody_is_passed_over(situation: Situation) -> None:
    """Nothing is given twice; what is left on the shelf is missed by nobody who stays."""
    _, _, shelves = situation
    decision = decide(*situation)
    orders = after(situation, decision)
    for item, shelf in shelves.items():
        given_out = sum(grant.get(item, 0) for grant in decision.grants.values())
        assert 0 <= given_out <= shelf.on_hand
        if given_out < shelf.on_hand:
            assert all(item not in order.missing for order in orders.values() if order.order_id not in decision.refused)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_circle_is_named_and_its_youngest_gives_up(size: int) -> None:
    """All have as much to undo; one gives up and the others go on."""
    orders = ring(size)
    circle = [orders[-1].order_id, *(order.order_id for order in orders)]
    assert deadlocks(orders, {}) == {f"o{size - 1}": f"deadlock: {' -> '.join(circle)}"}


def test_who_has_least_to_undo_gives_up() -> None:
    """Fewest units held, however old it is."""
    orders = [Waiting("old", {"B": 2}, {"A": 1}), Waiting("new", {"A": 1}, {"B": 2})]
    assert deadlocks(orders, {}) == {"old": "deadlock: old -> new -> old"}


def test_who_only_waits_for_those_on_a_circle_is_no_victim() -> None:
    """It has nothing to undo, but its giving up would help nobody."""
    orders = [*ring(2), Waiting("bystander", {"I0": 1}, {})]
    assert list(deadlocks(orders, {})) == ["o1"]


def test_whose_units_are_to_be_had_elsewhere_is_no_victim() -> None:
    """There is enough of what one on the circle wants of it, so that would go on waiting without it."""
    orders = [
        Waiting("o1", {"B": 1, "C": 1}, {"A": 2}),
        Waiting("o2", {"A": 1}, {"B": 2}),
        Waiting("bystander", {"A": 1}, {"C": 1}),
    ]
    assert deadlocks(orders, {"C": 1}) == {"o2": "deadlock: o2 -> o1 -> o2"}


def test_a_circle_that_somebody_outside_can_open_is_no_deadlock() -> None:
    """A unit that is held by an order which does not wait may come free."""
    assert deadlocks(ring(2), {"I0": 1}) == {}


def test_two_circles_cost_two_orders() -> None:
    """After the first victim it is looked again."""
    other = [Waiting(f"p{order.order_id}", order.missing, order.held) for order in ring(3, "J")]
    assert sorted(deadlocks([*ring(2), *other], {})) == ["o1", "po2"]


def test_what_comes_free_goes_to_who_came_first() -> None:
    """The first one gets all it misses before the second one gets any."""
    asks = [Ask("k1", "first", {"A": 2}), Ask("k2", "second", {"A": 3})]
    decision = decide(asks, {"first": {"A": 1}}, {"A": Shelf(3, 2)})
    assert decision == Decision({"k1": {"A": 2}, "k2": {"A": 1}}, ["k1"], {})


def test_what_nobody_can_give_back_is_not_waited_for() -> None:
    """Units that are neither on the shelf nor held by another order are gone."""
    decision = decide([Ask("k", "o", {"A": 2})], {"o": {"A": 1}}, {"A": Shelf(0, 2)})
    assert decision == Decision({}, [], {"o": "short_stock: A"})


def test_an_order_waits_with_all_its_steps() -> None:
    """What one of them gets is not free for others while another one waits."""
    asks = [Ask("o1.a", "o1", {"A": 1}), Ask("o1.b", "o1", {"B": 1}), Ask("o2.b", "o2", {"B": 1})]
    held = {"o1": {}, "o2": {"A": 1, "C": 1}}
    decision = decide(asks, held, {"A": Shelf(0, 1), "B": Shelf(1, 0)})
    assert decision == Decision({"o1.b": {"B": 1}}, ["o1.b"], {"o1": "deadlock: o1 -> o2 -> o1"})


def test_a_long_chain_against_the_order_of_arrival_is_no_deadlock() -> None:
    """Each waits for the next one, and the last one for nobody that waits."""
    chain = ring(200)[:-1]
    assert reduce(chain, {"I199": 1})[0] == []


def test_who_waits_for_whom_is_who_holds_what_it_misses() -> None:
    """By item, and never itself."""
    orders = [
        Waiting("o1", {"A": 1, "B": 1}, {"A": 1}),
        Waiting("o2", {}, {"A": 1}),
        Waiting("o3", {"A": 1}, {"B": 1}),
    ]
    assert waits_for(orders, {}) == {"o1": ["o2", "o3"], "o2": [], "o3": ["o1", "o2"]}
