"""What the acceptance tests of the placement system share: a shop with goods, customers, and what its databases say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import msgspec

from amends import Handle
from amends.demo import shop
from amends.demo.audit import audit
from amends.demo.stocking import Delivery, stock_up
from amends.demo.systems.placement import Placement, Request
from amends.demo.systems.placement_sagas import PlacementOrder
from amends.protocol.messages import SagaId
from amends.testing import Schedule, SimulatedSystem

NUMBER: Final = "4539578763621486"
"""A card's number, with a sound check digit."""

CVV: Final = "7391"
CARD: Final = {"card_number": NUMBER, "expiry_date": "12/49", "cvv": CVV}
GOODS: Final = Delivery(
    "opening", {"apple": 10, "pear": 5, "vase": 1}, {"apple": "0.30", "pear": 0.45, "vase": 99, "quince": 9}
)

FOR_EVER: Final = float("inf")
SUCCESS: Final = {"status": "success", "order_id": "o1"}
PENDING: Final = {"status": "pending", "order_id": "o1"}
LATE: Final = {"status": "failure", "error": "Order timed out", "reason": "No decision within 4 seconds"}


class SimulatedPlacement(Placement):
    """A placement system in virtual time, on real files."""

    system: SimulatedSystem

    def __init__(self, folder: Path, schedule: Schedule | None = None, **options: Any) -> None:
        def make(folder: Path, *, transport: None, **parts: Any) -> SimulatedSystem:
            assert transport is None
            return SimulatedSystem(folder=folder, schedule=schedule, **parts)

        with patch.object(shop, "System", make):
            super().__init__(folder, **options)
        self.folder = folder

    def close(self) -> None:
        self.system.close()
        super().close()

    def now_s(self) -> float:
        return self.system.now_s


@contextmanager
def simulated(folder: Path, goods: Delivery = GOODS, **options: Any) -> Iterator[SimulatedPlacement]:
    """A placement system in virtual time with goods on its shelves."""
    with SimulatedPlacement(folder, **options) as placement:
        stock_up(placement.system, goods)
        yield placement


def a_request(*items: tuple[str, int], order_id: str | None = "o1", **others: Any) -> dict[str, Any]:
    """A customer's request for these items, by card."""
    lines = [{"item_id": item, "quantity": quantity} for item, quantity in items or [("apple", 1)]]
    request = {"customer_id": "user123", "items": lines, "payment_info": dict(CARD), **others}
    return request if order_id is None else {**request, "order_id": order_id}


def take(placement: Placement, *items: tuple[str, int], order_id: str) -> PlacementOrder:
    """An order as it is taken at the door, at today's prices."""
    request = msgspec.convert(a_request(*items, order_id=order_id), Request)
    return placement.take(request, None, placement.now_s() + 1.0)


def start(placement: Placement, *items: tuple[str, int], order_id: str) -> Handle:
    """An order for which nobody waits: its saga starts, and nothing more has happened."""
    return placement.start(take(placement, *items, order_id=order_id))


def stuck(placement: SimulatedPlacement) -> list[tuple[SagaId, str]]:
    """The steps for which a person is asked."""
    return [(saga_id, step) for saga_id, steps in placement.system.status().stuck.items() for step in steps]


def come_to_rest(placement: SimulatedPlacement) -> None:
    """Every service works again, and a person tries again what was given up: then nothing is left of anything."""
    for service in placement.services:
        placement.system.service(service).recovers()
    placement.system.run_until_quiet()
    while left := stuck(placement):
        for saga_id, step in left:
            placement.system.retry(saga_id, step, by="ann", reason="it works again")
        placement.system.run_until_quiet()
    placement.system.check()
    all_is_well(placement.folder)


def all_is_well(folder: Path) -> None:
    """The audit finds nothing: no unit is set aside, no money held, no order half done."""
    assert [(finding.title, finding.rows) for finding in audit(folder) if finding.rows] == []


def rows(placement: SimulatedPlacement, service: str, sql: str) -> Sequence[tuple[Any, ...]]:
    """What a query finds in a service's database."""
    return placement.system.query(service, sql)


def set_limit(placement: SimulatedPlacement, account: str, minor: int) -> None:
    """The account is good for no more than that."""
    placement.system.query("payment", "insert into limits values (?, ?, 0, 1)", account, minor)
