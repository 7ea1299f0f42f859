"""A saga that wants stock and then thinks better of it, or does not; and a program that runs many of them.

python -m tests.demo.services.buying FOLDER-OR-URL NAME [JOURNAL-URL]
"""

import sys
from pathlib import Path

import msgspec

from amends import Completed, Done, Refused, Results, Retry, Saga, Service, System, handles, pivot, retriable, step
from amends.demo.faults import FaultPlan, Faults
from amends.demo.messages import AwaitStock, CommitStock, ReceiveStock, ReserveStock, StockConflicts
from amends.demo.services.inventory import Inventory
from tests.actors.trip import LONG_S

RETRY = Retry(attempts=1000, base_s=0.01, cap_s=0.1, slow_s=0.1)
BATCH = 40
ITEMS = ("A", "B", "C")


class Wish(msgspec.Struct, frozen=True):
    """What an order wants, first this and then that; and whether it will have it in the end."""

    order_id: str
    first: dict[str, int]
    then: dict[str, int] = {}
    keeps: bool = True


class Ponder(msgspec.Struct, frozen=True):
    """Whether to keep it."""

    keeps: bool


class Judge(Service, name="judge"):
    """Says yes or no."""

    @handles(Ponder)
    def ponder(self, command: Ponder) -> Done[None] | Refused:
        return Done() if command.keeps else Refused("changed my mind")


class Buy(Saga, name="buy"):
    """Reserve, ponder, commit."""

    input: Wish

    @step(to="inventory", retry=RETRY, timeout_s=1.0)
    def reserve(self, wish: Wish, done: Results) -> ReserveStock:
        return ReserveStock(wish.order_id, wish.first)

    @pivot(to="judge", after=[reserve], retry=RETRY, timeout_s=1.0)
    def ponder(self, wish: Wish, done: Results) -> Ponder:
        return Ponder(wish.keeps)

    @retriable(to="inventory", retry=RETRY, timeout_s=1.0)
    def commit(self, wish: Wish, done: Results) -> CommitStock:
        return CommitStock(wish.order_id)


class BuyPatiently(Saga, name="buy-patiently"):
    """Wait for this, then for that, ponder, commit."""

    input: Wish

    @step(to="inventory", retry=RETRY, timeout_s=1.0)
    def first(self, wish: Wish, done: Results) -> AwaitStock:
        return AwaitStock(wish.order_id, wish.first)

    @step(to="inventory", after=[first], retry=RETRY, timeout_s=1.0)
    def then(self, wish: Wish, done: Results) -> AwaitStock:
        return AwaitStock(wish.order_id, wish.then)

    @pivot(to="judge", after=[then], retry=RETRY, timeout_s=1.0)
    def ponder(self, wish: Wish, done: Results) -> Ponder:
        return Ponder(wish.keeps)

    @retriable(to="inventory", retry=RETRY, timeout_s=1.0)
    def commit(self, wish: Wish, done: Results) -> CommitStock:
        return CommitStock(wish.order_id)


class Delivery(msgspec.Struct, frozen=True):
    """What comes in."""

    name: str
    units: dict[str, int]


class StockUp(Saga, name="stock-up"):
    """A delivery."""

    input: Delivery

    @retriable(to="inventory", retry=RETRY)
    def receive(self, delivery: Delivery, done: Results) -> ReceiveStock:
        return ReceiveStock(delivery.name, delivery.units)


def system_of(place: Path | str, journal: str | None = None) -> System:
    """An inventory and who buys of it."""
    inventory = Inventory.spec(Faults(FaultPlan()))
    return System(place, sagas=[Buy, BuyPatiently, StockUp], services=[inventory, Judge], journal=journal)


def wishes(name: str, batch: int) -> list[Wish]:
    """A batch of orders that want a few of the same items each."""
    return [
        Wish(
            f"{name}-{batch}-{n}", {item: 1 + (n + k) % 2 for k, item in enumerate(ITEMS) if (n + k) % 4}, {}, n % 3 > 0
        )
        for n in range(BATCH)
    ]


def main(place: Path | str, name: str, journal: str | None) -> None:
    """A batch of orders for each line that is heard; then say which were kept, and how many conflicts there were."""
    with system_of(place, journal) as system:
        print("open", flush=True)  # noqa: T201 - it talks to its parent
        for batch, _ in enumerate(sys.stdin):
            placed = wishes(name, batch)
            handles = [system.submit(Buy, wish, key=wish.order_id) for wish in placed]
            ends = zip(placed, [handle.result(LONG_S) for handle in handles], strict=True)
            kept = [wish.order_id for wish, outcome in ends if isinstance(outcome, Completed)]
            print("batch", system.ask("inventory", StockConflicts()), *kept, flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    where = sys.argv[1]
    main(where if "://" in where else Path(where), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
