"""Waiting for stock: units as they come free, first come, first served, and no circle of orders that wait for ever."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from amends import Done, Refused
from amends.demo.faults import FaultPlan, Faults
from amends.demo.messages import AwaitStock, CommitStock, ReceiveStock, ReserveStock, SetStock, StockWaits
from amends.demo.services.inventory import Inventory
from amends.protocol.messages import Answer, Never, Reply, Unavailable, Undone
from tests.actors.world import ServiceUnderTest
from tests.demo.services.meddling import someone_changes
from tests.demo.services.test_inventory import shelves

Told = dict[str, Answer]


class Warehouse(ServiceUnderTest):
    """An inventory; the steps of orders are named after them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Inventory.spec(Faults(FaultPlan())))
        self.ids = 0

    @property
    def inventory(self) -> Inventory:
        assert isinstance(self.service, Inventory)
        return self.service

    def receive(self, **units: int) -> Told:
        return self.once(ReceiveStock(f"d-{self.ids}", units))

    def want(self, step: str, attempt: int = 1, **units: int) -> Told:
        """An order may want units in several steps: "o1" and "o1.more" are two of the same."""
        return told(self.tell(self.do(AwaitStock(step.partition(".")[0], units), step=step, attempt=attempt)))

    def reserve(self, order_id: str, **units: int) -> Told:
        return told(self.tell(self.do(ReserveStock(order_id, units), step=order_id)))

    def give_up(self, *order_ids: str) -> Told:
        return told(self.tell(*(self.undo(step=order_id) for order_id in order_ids)))

    def commit(self, order_id: str) -> Told:
        return self.once(CommitStock(order_id))

    def once(self, command: object) -> Told:
        """What others are told after a command that is done."""
        self.ids += 1
        step = f"once-{self.ids}"
        answers = told(self.tell(self.do(command, step=step)))
        assert isinstance(answers.pop(step), Done)
        return answers

    @property
    def waits(self) -> dict[str, list[str]]:
        return self.inventory.waits(StockWaits())


def told(replies: list[Reply]) -> Told:
    """The answers by order, in the order in which they were given."""
    return {reply.step: reply.answer for reply in replies}


def reserved(units: int) -> Done[msgspec.Raw]:
    """The answer of an order that has so many units, all it wanted."""
    return Done(msgspec.Raw(b'{"units":%d,"amount":null}' % units))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The inventory's file."""
    return tmp_path / "inventory.db"


@pytest.fixture
def house(path: Path) -> Iterator[Warehouse]:
    """Two of A and one of B."""
    house = Warehouse(path)
    house.receive(A=2, B=1)
    yield house
    house.stop()


def test_who_finds_all_it_wants_does_not_wait(house: Warehouse) -> None:
    """As with a reservation."""
    assert house.want("o1", A=2, B=1) == {"o1": reserved(3)}
    assert shelves(house.inventory) == {"A": (0, 2, 0), "B": (0, 1, 0)}
    assert house.waits == {}


def test_who_waits_holds_what_was_free(house: Warehouse) -> None:
    """A part of what it wants is set aside at once, and nobody else can have it."""
    house.want("o1", B=1)
    assert house.want("o2", A=1, B=1) == {}
    assert shelves(house.inventory) == {"A": (1, 1, 0), "B": (0, 1, 0)}
    assert house.waits == {"o2": ["o1"]}


def test_units_that_come_free_go_to_who_waits_in_the_same_turn(house: Warehouse) -> None:
    """It is told together with whoever gave them back."""
    house.want("o1", B=1)
    house.want("o2", A=1, B=1)
    assert house.give_up("o1") == {"o1": Undone(), "o2": reserved(2)}
    assert house.waits == {}
    house.commit("o2")
    assert shelves(house.inventory) == {"A": (1, 0, 1), "B": (0, 0, 1)}


def test_a_reservation_is_waited_for_as_well(house: Warehouse) -> None:
    """It never waits itself, but others may wait for what it holds."""
    house.reserve("o1", B=1)
    assert house.want("o2", B=1) == {}
    assert house.waits == {"o2": ["o1"]}
    assert house.give_up("o1") == {"o1": Undone(), "o2": reserved(1)}


def test_two_writers_of_one_wait_lose_nothing(house: Warehouse) -> None:
    """A decision is made again if a row it was made from has changed: units come, one leaves, one waits in vain."""
    house.want("o1", B=1)
    house.want("o2", A=1, B=1)
    given = someone_changes(house.inventory.db, "waits")
    assert house.give_up("o1") == {"o1": Undone(), "o2": reserved(2)}
    assert len(given) == 2, "it was not tried again"
    assert shelves(house.inventory) == {"A": (1, 1, 0), "B": (0, 1, 0)}
    house.want("o3", B=1)
    left = someone_changes(house.inventory.db, "waits")
    house.give_up("o3")
    assert len(left) == 2
    house.want("o4", B=1)
    refused = someone_changes(house.inventory.db, "waits")
    assert house.commit("o2") == {"o4": Refused("short_stock: B")}
    assert len(refused) == 2


def test_units_that_nobody_gave_out_are_found_when_the_step_is_asked_again(house: Warehouse) -> None:
    """Another process has put them on the shelf while this step began to wait, and neither saw the other."""
    house.want("o1", B=1)
    assert house.want("o2", B=1) == {}
    house.inventory.db.execute("update stock set on_hand = on_hand + 1, version = version + 1 where item_id = 'B'")
    assert house.want("o2", attempt=2, B=1) == {"o2": reserved(1)}
    assert shelves(house.inventory)["B"] == (0, 2, 0)


def test_a_delivery_and_a_count_serve_who_waits(house: Warehouse) -> None:
    """Whatever brings units to the shelf."""
    house.want("o1", A=2, B=1)
    house.want("o2", A=1)
    house.want("o3", A=2)
    assert house.receive(A=2) == {"o2": reserved(1)}
    assert house.once(SetStock({"A": 3})) == {"o3": reserved(2)}
    assert shelves(house.inventory)["A"] == (2, 5, 0)


def test_what_is_committed_can_no_longer_be_waited_for(house: Warehouse) -> None:
    """The refusal comes in the turn in which the units leave, and what the order held is given back."""
    house.want("o1", B=1)
    house.want("o2", A=2, B=1)
    house.want("o3", A=1)
    assert house.commit("o1") == {"o2": Refused("short_stock: B"), "o3": reserved(1)}
    assert shelves(house.inventory) == {"A": (1, 1, 0), "B": (0, 0, 1)}
    assert house.waits == {}


@pytest.mark.parametrize(("units", "reason"), [({"A": 3}, "short_stock: A"), ({"C": 1}, "unknown_item: C")])
def test_what_nobody_could_give_back_is_refused_at_once(house: Warehouse, units: dict[str, int], reason: str) -> None:
    """Nothing is held, nobody waits."""
    house.want("o1", A=1)
    assert house.want("o2", **units) == {"o2": Refused(reason)}
    assert shelves(house.inventory)["A"] == (1, 1, 0)
    assert house.waits == {}


def test_first_come_first_served(house: Warehouse) -> None:
    """Of those that wait, and before those that come later."""
    house.want("o1", A=2)
    house.want("o2", A=2)
    house.want("o3", A=1)
    assert house.receive(A=1) == {}
    # The one unit is not to be had for whoever asks for less, waiting or not.
    assert house.want("o4", A=1) == {}
    assert house.reserve("o5", A=1) == {"o5": Refused("short_stock: A")}
    assert house.receive(A=2) == {"o2": reserved(2), "o3": reserved(1)}
    assert house.give_up("o1") == {"o1": Undone(), "o4": reserved(1)}
    assert house.want("o6", A=1) == {"o6": reserved(1)}


def test_a_newcomer_in_the_turn_in_which_units_come_free_is_not_faster(house: Warehouse) -> None:
    """Also between the message that frees them and the end of the turn."""
    house.want("o1", B=1)
    house.want("o2", A=1, B=1)
    newcomer = house.do(ReserveStock("o3", {"B": 1}), step="o3")
    answers = told(house.tell(house.undo(step="o1"), newcomer))
    assert answers == {"o1": Undone(), "o2": reserved(2), "o3": Refused("short_stock: B")}


def test_who_gives_up_waiting_leaves_nothing(house: Warehouse, path: Path) -> None:
    """What it held goes to others, and nobody knows of it any more."""
    house.want("o1", B=1)
    house.want("o2", A=2, B=1)
    house.want("o3", A=1)
    assert house.give_up("o2") == {"o2": Undone(), "o3": reserved(1)}
    assert house.give_up("o1") == {"o1": Undone()}
    assert shelves(house.inventory) == {"A": (1, 1, 0), "B": (1, 0, 0)}
    assert house.want("o2", attempt=2, A=2, B=1) == {"o2": Refused("cancelled")}


def test_resolving_a_wait_ends_it(house: Warehouse) -> None:
    """Whoever is asked what became of it says: nothing, and nothing will."""
    house.want("o1", B=1)
    house.want("o2", A=2, B=1)
    assert house.tell(house.resolve(step="o2"))[0].answer == Never()
    assert shelves(house.inventory)["A"] == (2, 0, 0)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_circle_is_found_in_the_turn_that_closes_it(house: Warehouse, size: int) -> None:
    """Who closes it has no more to undo than the others and is the youngest: it is refused, the others wait on."""
    in_a_row(house, size)
    last = f"o{size - 1}"
    circle = " -> ".join([last, *(f"o{n}" for n in range(size))])
    assert house.want(f"{last}.more", I0=1) == {f"{last}.more": Refused(f"deadlock: {circle}")}
    assert house.waits == {f"o{n}": [f"o{n + 1}"] for n in range(size - 1)}
    # As each gives way, the one that waits for it goes on.
    for n in range(size - 1, 0, -1):
        assert house.give_up(f"o{n}") == {f"o{n}": Undone(), f"o{n - 1}.more": reserved(1)}
        house.give_up(f"o{n - 1}.more")
    assert house.waits == {}


def in_a_row(house: Warehouse, size: int) -> None:
    """Orders that each have an item, and want that of the next one but for the last."""
    house.receive(**{f"I{n}": 1 for n in range(size)})
    for n in range(size):
        assert house.want(f"o{n}", **{f"I{n}": 1}) == {f"o{n}": reserved(1)}
    for n in range(size - 1):
        assert house.want(f"o{n}.more", **{f"I{n + 1}": 1}) == {}


def test_who_has_least_to_undo_is_refused_though_another_one_closed_the_circle(house: Warehouse) -> None:
    """It is told in the same turn, and what its waiting step held is free; the rest comes when it is undone."""
    house.receive(C=1)
    house.want("o1", B=1)
    house.want("o2", A=2)
    house.want("o3", C=1)
    house.want("o2.more", C=1)
    house.give_up("o3")
    assert house.want("o1.more", A=1) == {}
    assert house.waits == {"o1": ["o2"]}
    assert house.want("o2.rest", B=1) == {"o1.more": Refused("deadlock: o1 -> o2 -> o1")}
    assert house.waits == {"o2": ["o1"]}
    assert house.give_up("o1") == {"o1": Undone(), "o2.rest": reserved(1)}


def test_a_victim_gives_back_what_its_waiting_step_held(house: Warehouse) -> None:
    """At once, to whoever waits for it."""
    house.receive(C=1)
    house.want("o1", B=1)
    house.want("o2", A=2)
    assert house.want("o1.more", A=1, C=1) == {}
    assert house.want("o3", C=1) == {}
    assert house.receive(D=3) == {}
    house.want("o2.d", D=3)
    refusal = Refused("deadlock: o1 -> o2 -> o1")
    assert house.want("o2.more", B=1) == {"o1.more": refusal, "o3": reserved(1)}


def test_where_the_newcomer_is_refused_nobody_else_is(house: Warehouse) -> None:
    """Without it there are none of the circles it would close, though another one has less to undo."""
    house.receive(N=3, V=1, X=5)
    for order_id, item, units in (("new", "N", 3), ("v", "V", 1), ("x", "X", 5)):
        house.want(order_id, **{item: units})
    house.want("v.more", N=1)
    house.want("x.more", N=1)
    assert house.want("new.more", V=1, X=1) == {"new.more": Refused("deadlock: new -> x -> new")}
    assert house.waits == {"v": ["new"], "x": ["new"]}
    assert house.give_up("new") == {"new": Undone(), "v.more": reserved(1), "x.more": reserved(1)}


def test_what_has_left_is_not_waited_for_again(house: Warehouse) -> None:
    """An order that is committed can't begin anew."""
    house.want("o1", A=1)
    house.commit("o1")
    assert house.want("o1.more", A=1) == {"o1.more": Unavailable("the handler raised WrongState")}


def test_a_wait_that_goes_on_is_asked_for_again_in_vain(house: Warehouse) -> None:
    """Another attempt changes nothing."""
    house.want("o1", B=1)
    house.want("o2", A=1, B=1)
    before = shelves(house.inventory)
    assert house.want("o2", attempt=2, A=1, B=1) == {}
    assert shelves(house.inventory) == before


def test_waits_outlive_the_service(house: Warehouse) -> None:
    """Another incarnation knows who waits; who was not heard of yet is answered when it asks again."""
    house.want("o1", B=1)
    house.want("o2", A=1, B=1)
    house.restart()
    assert house.waits == {"o2": ["o1"]}
    assert house.give_up("o1") == {"o1": Undone()}
    assert house.want("o3", B=1) == {}
    assert house.want("o2", attempt=2, A=1, B=1) == {"o2": reserved(2)}


def test_a_verdict_outlives_the_service(house: Warehouse) -> None:
    """Who is to give up and can't be told yet is told when it asks again, and holds nobody up for longer."""
    in_a_row(house, 2)
    house.receive(C=5)
    house.want("o1.c", C=5)
    house.restart()
    assert house.want("o1.more", I0=1) == {}
    refusal = Refused("deadlock: o0 -> o1 -> o0")
    # Nothing more is kept for it.
    assert house.receive(I1=1) == {}
    assert shelves(house.inventory)["I1"] == (1, 1, 0)
    assert house.want("o0.more", attempt=2, I1=1) == {"o0.more": refusal}
    assert house.give_up("o0") == {"o0": Undone(), "o1.more": reserved(1)}


def test_each_step_of_an_order_gives_back_its_own(house: Warehouse) -> None:
    """What another step of the order holds of the same item stays."""
    house.receive(A=3)
    house.want("o1.a", A=2)
    house.want("o1.b", A=1, B=1)
    house.give_up("o1.a")
    assert shelves(house.inventory) == {"A": (4, 1, 0), "B": (0, 1, 0)}
    house.commit("o1")
    assert shelves(house.inventory) == {"A": (4, 0, 1), "B": (0, 0, 1)}
