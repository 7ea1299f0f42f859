"""Many orders that wait for a few units of a few items, in running systems: every one ends, and none is wronged.

Every decision about those who wait is compared with what trying everything finds. `AMENDS_EXAMPLES=5000` in the
environment lets that many orders come, and runs a third as many simulated histories.
"""

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from amends import Compensated, Completed, Handle, Outcome, System
from amends.demo.faults import FaultPlan, Faults
from amends.demo.messages import StockLevels, StockWaits
from amends.demo.services import stock_queue
from amends.demo.services.inventory import Inventory
from amends.demo.services.shelves import Shelf
from amends.demo.services.stock_waits import Ask, Decision, Waiting, decide, orders_of
from amends.testing import Schedule, SimulatedSystem
from tests.actors.trip import LONG_S, rows_of
from tests.demo.services.brute_force import never_satisfied
from tests.demo.services.buying import BuyPatiently, Delivery, Judge, StockUp, Wish, system_of
from tests.stateful.asking import Caller, let_it_end
from tests.stateful.histories import plan_of

ORDERS = int(os.environ.get("AMENDS_EXAMPLES", "150"))
IN_FLIGHT = 10
CRASHES = 15
ITEMS = ("A", "B", "C", "D")

pytestmark = pytest.mark.timeout(60 + ORDERS)


class Witness:
    """Stands beside every decision about those who wait.

    Attributes:
        deadlocks: how many orders were refused for one; wrong: decisions that trying everything does not bear out.
    """

    def __init__(self) -> None:
        self.deadlocks = 0
        self.wrong: list[object] = []

    def decide(
        self, asks: Sequence[Ask[Any]], held: Mapping[str, Mapping[str, int]], shelves: Mapping[str, Shelf]
    ) -> Decision[Any]:
        """Decide, and look whether that was right."""
        decision = decide(asks, held, shelves)
        victims = {order_id for order_id, reason in decision.refused.items() if reason.startswith("deadlock: ")}
        self.deadlocks += len(victims)
        short = decision.refused.keys() - victims
        waiting = self._after(asks, held, decision, without=short)
        stuck = _stuck(waiting, shelves)
        staying = self._after(asks, held, decision, without=decision.refused.keys())
        if not stuck >= victims or bool(stuck) != bool(victims) or _stuck(staying, shelves):
            self.wrong.append((asks, held, shelves, decision))
        return decision

    def _after(
        self, asks: Sequence[Ask[Any]], held: Mapping[str, Mapping[str, int]], decision: Decision[Any], without: Any
    ) -> list[Waiting]:
        """The orders that wait when all is given out."""
        holding = {order_id: Counter(units) for order_id, units in held.items()}
        rest = []
        for ask in asks:
            grant = decision.grants.get(ask.key, {})
            holding.setdefault(ask.order_id, Counter()).update(grant)
            missing = Counter(ask.missing) - Counter(grant)
            if missing and ask.order_id not in without:
                rest.append(Ask(ask.key, ask.order_id, missing))
        return orders_of(rest, holding)


def _stuck(waiting: list[Waiting], shelves: Mapping[str, Shelf]) -> set[str]:
    loose = {item: sum(shelf) - sum(o.held.get(item, 0) for o in waiting) for item, shelf in shelves.items()}
    return never_satisfied(waiting, loose)


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    """Of every decision in this process."""
    witness = Witness()
    monkeypatch.setattr(stock_queue, "decide", witness.decide)
    return witness


def some_wishes(seed: int, count: int = ORDERS) -> list[Wish]:
    """Orders that want some items first and others then; one in three keeps what it gets."""
    chance = random.Random(seed)

    def some() -> dict[str, int]:
        return {item: chance.randint(1, 2) for item in chance.sample(ITEMS, chance.randint(1, 2))}

    return [Wish(f"o{n}", some(), some(), chance.random() < 1 / 3) for n in range(count)]


def place_all(system: System, wishes: Sequence[Wish], victims: Sequence[str] = ()) -> dict[str, Outcome]:
    """Let all of them buy, so many at a time, and as some begin let an actor crash; how each ended."""
    handles: dict[str, Handle] = {}
    pause = len(wishes) // CRASHES
    for n, wish in enumerate(wishes):
        if n >= IN_FLIGHT:
            handles[f"o{n - IN_FLIGHT}"].result(LONG_S)
        handle = handles[wish.order_id] = system.submit(BuyPatiently, wish, key=wish.order_id)
        if victims and n % pause == pause - 1:
            victim = victims[n // pause % len(victims)]
            system.kill(handle.saga_id if victim == "saga" else victim)
        if n % 20 == 19:
            system.run(StockUp, Delivery(f"d{n}", dict.fromkeys(ITEMS, 2)), timeout_s=LONG_S)
    return {order_id: handle.result(LONG_S) for order_id, handle in handles.items()}


@pytest.mark.parametrize("victims", [(), ("inventory", "saga", "judge", "journal")], ids=["in peace", "with crashes"])
def test_every_order_ends_and_nothing_stays_reserved(
    tmp_path: Path, witness: Witness, victims: tuple[str, ...]
) -> None:
    """No unit is lost; who was refused for a deadlock was in one, and nobody was left in one."""
    wishes = some_wishes(seed=len(victims))
    with system_of(tmp_path) as system:
        system.run(StockUp, Delivery("opening", dict.fromkeys(ITEMS, 4)), timeout_s=LONG_S)
        ends = place_all(system, wishes, victims)
        assert system.ask("inventory", StockWaits()) == {}
        levels = system.ask("inventory", StockLevels())
    assert witness.wrong == []
    assert witness.deadlocks > 0

    reasons = Counter(end.reason.partition(":")[0] for end in ends.values() if isinstance(end, Compensated))
    assert set(reasons) <= {"short_stock", "deadlock", "changed my mind"}
    sold = Counter[str]()
    for wish in wishes:
        if isinstance(ends[wish.order_id], Completed):
            sold += Counter(wish.first) + Counter(wish.then)
    received = dict(rows_of(tmp_path / "inventory.db", "select item_id, sum(quantity) from receipts group by item_id"))
    stock = rows_of(tmp_path / "inventory.db", "select item_id, on_hand, reserved, shipped from stock")
    assert stock == [(item, received[item] - sold[item], 0, sold[item]) for item in ITEMS]
    assert levels == {item: received[item] - sold[item] for item in ITEMS}


def test_whatever_goes_wrong_every_order_ends(witness: Witness) -> None:
    """The same in simulated histories: messages lost and doubled, handlers that hang, processes that die."""
    for seed in range(ORDERS // 3):
        with SimulatedSystem(
            sagas=[BuyPatiently, StockUp],
            services=[Inventory.spec(Faults(FaultPlan())), Judge],
            schedule=Schedule(seed=seed, faults=plan_of(seed)),
        ) as system:
            callers = [Caller(system, StockUp, Delivery("opening", dict.fromkeys(ITEMS, 3)), "opening")]
            callers += [Caller(system, BuyPatiently, wish, wish.order_id) for wish in some_wishes(seed, count=10)]
            for n, caller in enumerate(callers):
                caller.ask(after_s=n % 2 * n / 10)
            system.run_until_quiet()
            let_it_end(system, callers)
            system.check()
            assert system.query("inventory", _OFF) == [], seed
            assert system.query("inventory", "select * from waits") == [], seed
        assert witness.wrong == [], seed
    assert witness.deadlocks > 0


_OFF = """
select * from stock left join (select item_id, sum(quantity) as units from receipts group by item_id) using (item_id)
where reserved <> 0 or on_hand + shipped is not units
"""
