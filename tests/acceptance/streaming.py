"""What the acceptance tests of the stream share: lines, the command line, and the stream in a simulated world.

    python -m tests.acceptance.streaming FOLDER NAME

is one of several processes that sell from the same shelves: for each number on stdin so many at once.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from amends import Completed, Results, Saga, retriable
from amends.actors.service import ServiceSpec
from amends.demo.__main__ import main
from amends.demo.domain import PaymentInfo, Wanted
from amends.demo.faults import FaultPlan, Faults
from amends.demo.messages import SetLimits
from amends.demo.stocking import Delivery, StockUp
from amends.demo.systems.stream import SERVICES, Request, Stream, StreamedOrder, StreamOrder, numbers
from amends.testing import Schedule, SimulatedSystem

SHELVES = '{"item_id": "A", "quantity": 1000, "price": "2.50"}\n{"item_id": "B", "quantity": 3, "price": 4}\n'
STOCK = Delivery("opening", {"A": 10, "B": 3}, {"A": "2.50", "B": 4})
LONG_S = 60.0
UNSPECIFIED = "Unspecified"
"""A country no parcel goes to."""


class Limit(Saga, name="limit"):
    """How much may be taken from accounts."""

    input: SetLimits

    @retriable(to="payment")
    def limit(self, limits: SetLimits, done: Results) -> SetLimits:
        return limits


class HurriedOrder(StreamedOrder, name="hurried", deadline_s=1.0):
    """The same with so little time that it is over before the attempts are."""


OTHERS = (StockUp, Limit, HurriedOrder)


def line(number: int, items: Iterable[tuple[str, int]] = (("A", 1),), payment: str = "CreditCard") -> str:
    """An order in the customer's text form."""
    wanted = ", ".join(f"{{{item}, {quantity}}}" for item, quantity in items)
    return f"Order {number}, User 7, Items: [{wanted}], Payment: {payment}, Address: 1 High Street, Leeds"


def run(folder: Path, lines: Iterable[str], *options: str) -> Result:
    """`python -m amends.demo stream` over these lines, on a shop with 1,000 A and 3 B."""
    stock = folder / "shelves.jsonl"
    stock.write_text(SHELVES)
    arguments = ["stream", "-", "--data", str(folder / "data"), "--stock", str(stock), *options]
    return CliRunner().invoke(main, arguments, input="".join(f"{text}\n" for text in lines))


def an_order(
    order_id: str = "o-1", *, units: int = 2, item: str = "A", account: str = "ann", address: str = "Leeds"
) -> StreamOrder:
    """An order as the saga gets it."""
    return StreamOrder(order_id, 7, (Wanted(item, units),), PaymentInfo("account", account), "", address)


def services() -> list[ServiceSpec]:
    """The stream's services, with no faults of their own."""
    faults = Faults(FaultPlan())
    return [service.spec(faults) for service in SERVICES]


def simulated(schedule: Schedule | None = None) -> SimulatedSystem:
    """The stream's saga and services in a simulated world."""
    return SimulatedSystem(sagas=[StreamedOrder, *OTHERS], services=services(), schedule=schedule)


def stock_up(system: SimulatedSystem) -> None:
    """Ten A and three B, at their prices; and a customer without money."""
    system.run(StockUp, STOCK, key=STOCK.delivery_id)
    system.run(Limit, SetLimits({"poor": 0}), key="poor")


def shelves(system: SimulatedSystem) -> dict[str, tuple[int, int, int]]:
    """What is on the shelf, set aside and gone, by item."""
    rows = system.query("inventory", "select item_id, on_hand, reserved, shipped from stock")
    return {str(item): (int(str(a)), int(str(b)), int(str(c))) for item, a, b, c in rows}


def left_over(system: SimulatedSystem) -> dict[str, list[tuple[Any, ...]]]:
    """What stands neither at its beginning nor at its end, by service."""
    found = {
        "inventory": system.query("inventory", "select order_id from reservations where state = 'held'"),
        "payment": system.query("payment", "select order_id from payments where state = 'held'"),
        "shipping": system.query("shipping", "select order_id from shipments where state = 'prepared'"),
    }
    return {service: rows for service, rows in found.items() if rows}


def sell(folder: Path, name: str, counts: Iterable[str]) -> Iterator[str]:
    """What one of several processes does: for each number it gets, sell as many A at once, and say how it went."""
    sold = 0
    with Stream(folder) as stream:
        for count in map(int, counts):
            wanted, payment = (Wanted("A", 1),), {"account": name}
            orders = [Request(f"{name}-{sold + n}", 7, wanted, payment, "Leeds") for n in range(count)]
            outcomes = [handle.result(LONG_S) for handle in [stream.submit(order) for order in orders]]
            sold += count
            confirmed = sum(isinstance(outcome, Completed) for outcome in outcomes)
            yield json.dumps({"confirmed": confirmed, "conflicts": numbers(stream)["conflicts"]})


if __name__ == "__main__":
    for said in sell(Path(sys.argv[1]), sys.argv[2], sys.stdin):
        sys.stdout.write(said + "\n")
        sys.stdout.flush()
