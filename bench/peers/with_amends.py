"""amends: a saga with two steps that can be undone, a pivot, and two retriable ones.

Settings: all defaults. Services and journal in one folder of SQLite files, or in one PostgreSQL
database. An order is accepted when its start is on disk.
"""

from concurrent.futures import Future
from dataclasses import dataclass

from amends import Done, Outcome, Refused, Results, Saga, Service, System, handles, pivot, retriable, step, undoes
from bench.peers import work
from bench.peers.databases import SCHEMA, is_url
from bench.peers.drive import Place
from bench.peers.flow import Flow
from bench.peers.work import Order


@dataclass(frozen=True)
class _Command:
    order: Order


class Create(_Command):
    """To orders."""


class Confirm(_Command):
    """To orders."""


class Reserve(_Command):
    """To stock."""


class Authorize(_Command):
    """To payment."""


class Capture(_Command):
    """To payment."""


class Orders(Service, name="orders", migrations=work.SCHEMAS["orders"]):
    """Writes orders down."""

    @handles(Create)
    def create(self, command: Create) -> Done[None]:
        work.create(self.db, command.order)
        return Done()

    @undoes(Create)
    def cancel(self, command: Create, result: None) -> None:
        work.cancel(self.db, command.order)

    @handles(Confirm)
    def confirm(self, command: Confirm) -> Done[None]:
        work.confirm(self.db, command.order)
        return Done()


class Stock(Service, name="stock", migrations=work.SCHEMAS["stock"]):
    """Sets units aside."""

    @handles(Reserve)
    def reserve(self, command: Reserve) -> Done[None]:
        work.reserve(self.db, command.order)
        return Done()

    @undoes(Reserve)
    def release(self, command: Reserve, result: None) -> None:
        work.release(self.db, command.order)


class Payment(Service, name="payment", migrations=work.SCHEMAS["payment"]):
    """Holds and takes money."""

    @handles(Authorize)
    def authorize(self, command: Authorize) -> Done[None] | Refused:
        return Done() if work.authorize(self.db, command.order) else Refused("the account is empty")

    @handles(Capture)
    def capture(self, command: Capture) -> Done[None]:
        work.capture(self.db, command.order)
        return Done()


class PlaceOrder(Saga, name="place-order"):
    """One order, all of it or nothing."""

    input: Order

    @step(to="orders")
    def create(self, order: Order, done: Results) -> Create:
        return Create(order)

    @step(to="stock", after=[create])
    def reserve(self, order: Order, done: Results) -> Reserve:
        return Reserve(order)

    @pivot(to="payment", after=[reserve])
    def authorize(self, order: Order, done: Results) -> Authorize:
        return Authorize(order)

    @retriable(to="payment", after=[authorize])
    def capture(self, order: Order, done: Results) -> Capture:
        return Capture(order)

    @retriable(to="orders", after=[capture])
    def confirm(self, order: Order, done: Results) -> Confirm:
        return Confirm(order)


class _Amends:
    def __init__(self, place: Place) -> None:
        where = f"{place.databases}?schema={SCHEMA}" if is_url(place.databases) else place.databases
        self._system = System(where, sagas=[PlaceOrder], services=[Orders, Stock, Payment]).open()

    def run(self, flow: Flow, in_flight: int) -> None:
        for _ in range(in_flight):
            self._next(flow)
        flow.wait()

    def _next(self, flow: Flow) -> None:
        if (order := flow.take()) is None:
            return
        handle = self._system.submit(PlaceOrder, order, key=order.order_id)

        def ended(outcome: "Future[Outcome]") -> None:
            outcome.result()
            flow.ended(order)
            self._next(flow)

        handle.on_answer(lambda _: flow.accepted(order), ended)

    def close(self) -> None:
        self._system.stop()


def open_peer(place: Place) -> _Amends:
    return _Amends(place)
