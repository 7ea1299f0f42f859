"""What one would write by hand: plain functions, a thread pool, one SQLite commit for each step.

The same databases, the same SQL (the shop's own handlers, called as functions), the same
refusals and undos. It keeps no journal and recovers nothing, which makes it faster than an
honest rival would be.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from amends import Refused, Results, Service
from amends.actors.storage.folder import open_file
from amends.demo.domain import Order
from amends.demo.faults import Faults
from amends.demo.messages import Prepared, ReceiveStock
from amends.demo.services.inventory import Inventory
from amends.demo.services.orders import Orders
from amends.demo.services.payment import Payment
from amends.demo.services.shipping import Shipping
from amends.demo.systems.coordinator import PlaceOrder
from amends.protocol import codec
from bench.work import PLAN, Stopwatch, Timing, orders, stock_for


class _Database:
    """One service's tables, a connection and the lock that every thread takes for a step."""

    def __init__(self, service: type[Service], folder: Path) -> None:
        # The handlers need nothing of a service but its database and the plan of refusals.
        self.handlers = cast("Any", object.__new__(service))
        self.handlers.faults = Faults(PLAN)
        self.handlers.db = open_file(folder / f"{service.name}.db", {"service": service.migrations})
        self._lock = threading.Lock()

    @contextmanager
    def step(self) -> Iterator[Any]:
        """One transaction, committed for itself."""
        with self._lock:
            self.handlers.db.execute("begin immediate")
            try:
                yield self.handlers
            except BaseException:
                self.handlers.db.execute("rollback")
                raise
            self.handlers.db.execute("commit")


class ByHand:
    """The shop without amends."""

    def __init__(self, folder: Path) -> None:
        self.orders = _Database(Orders, folder)
        self.inventory = _Database(Inventory, folder)
        self.payment = _Database(Payment, folder)
        self.shipping = _Database(Shipping, folder)
        self._saga = PlaceOrder()

    def stock_up(self, units: dict[str, int]) -> None:
        """Put stock on the shelves."""
        with self.inventory.step() as inventory:
            inventory.receive(ReceiveStock("bench", units))

    def place(self, order: Order) -> bool:
        """All of one order, or nothing."""
        plan = PlaceOrder.plan.steps
        nothing = Results("by hand", {})

        def command(name: str, done: Results = nothing) -> Any:
            return plan[name].build(self._saga, order, done)

        undo: list[Callable[[], None]] = []
        create = command("create")
        with self.orders.step() as service:
            service.create(create)
        undo.append(lambda: self._undo(self.orders, "cancel", create, None))
        reserve = command("reserve")
        with self.inventory.step() as service:
            reserved = service.reserve(reserve)
        if isinstance(reserved, Refused):
            return self._undo_all(undo)
        undo.append(lambda: self._undo(self.inventory, "release", reserve, reserved.result))
        authorize = command("authorize")
        with self.payment.step() as service:
            authorized = service.authorize(authorize)
        if isinstance(authorized, Refused):
            return self._undo_all(undo)
        undo.append(lambda: self._undo(self.payment, "void", authorize, None))
        with self.shipping.step() as service:
            prepared = service.prepare(command("prepare"))
        if isinstance(prepared, Refused):
            return self._undo_all(undo)
        self._finish(command, prepared.result)
        return True

    def _finish(self, command: Callable[[str, Results], Any], prepared: Prepared) -> None:
        done = Results("by hand", {"prepare": msgspec.Raw(codec.encode(prepared))})
        for database, name in (
            (self.orders, "confirm"),
            (self.inventory, "commit"),
            (self.payment, "capture"),
            (self.shipping, "dispatch"),
        ):
            with database.step() as service:
                getattr(service, name)(command(name, done))

    def _undo(self, database: _Database, name: str, command: Any, result: Any) -> None:
        with database.step() as service:
            getattr(service, name)(command, result)

    def _undo_all(self, undo: list[Callable[[], None]]) -> bool:
        for call in reversed(undo):
            call()
        return False


def measure(folder: Path, in_flight: int, count: int) -> Timing:
    """Run `count` orders in a pool of `in_flight` threads."""
    placed = orders(count)
    shop = ByHand(folder)
    shop.stock_up(stock_for(placed).units)
    watch = Stopwatch()

    def place(order: Order) -> None:
        began_s = time.perf_counter()
        shop.place(order)
        watch.latencies_s.append(time.perf_counter() - began_s)

    if in_flight == 1:
        for order in placed:
            place(order)
    else:
        with ThreadPoolExecutor(in_flight) as pool:
            list(pool.map(place, placed))
    return watch.timing("by hand", in_flight)
