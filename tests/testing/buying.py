"""A small shop for the tests of `check_saga`: sound, so that each test may make one thing of it wrong."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import pytest

from amends import Done, Refused, Results, Retry, Saga, Service, handles, retriable, step, undoes
from amends.testing import SimulatedSystem, check_saga
from amends.testing.check import Invariant
from amends.testing.report import Report, SagaFailed

UNITS = 10
SHELF = ("create table shelf (units int not null); insert into shelf values (10)",)
SLIPS = ("create table slips (id integer primary key)",)
QUICK = Retry(attempts=4, base_s=0.1, cap_s=1.0, slow_s=10.0)


class Order(msgspec.Struct, frozen=True):
    """The saga's input."""

    quantity: int


class Reserve(msgspec.Struct, frozen=True):
    """Take units from the shelf."""

    quantity: int


class Charge(msgspec.Struct, frozen=True):
    """Take the money."""

    amount: int


class Ship(msgspec.Struct, frozen=True):
    """Send the parcel."""

    quantity: int


class Stock(Service, name="stock", migrations=SHELF):
    """Units on a shelf."""

    @handles(Reserve)
    def reserve(self, command: Reserve) -> Done[None] | Refused:
        self.db.execute("update shelf set units = units - ?1 where units >= ?1", (command.quantity,))
        return Done() if self.db.changes() else Refused("short stock")

    @undoes(Reserve)
    def put_back(self, command: Reserve, result: None) -> None:
        self.db.execute("update shelf set units = units + ?", (command.quantity,))


class Payment(Service, name="payment", migrations=SLIPS):
    """A slip for each charge."""

    @handles(Charge)
    def charge(self, command: Charge) -> Done[int]:
        self.db.execute("insert into slips default values")
        return Done(int(self.db.execute("select last_insert_rowid()").get))

    @undoes(Charge)
    def refund(self, command: Charge, result: int) -> None:
        self.db.execute("delete from slips where id = ?", (result,))


class Shipping(Service, name="shipping", migrations=("create table parcels (quantity int not null)",)):
    """Parcels that have left."""

    @handles(Ship)
    def ship(self, command: Ship) -> Done[None]:
        self.db.execute("insert into parcels values (?)", (command.quantity,))
        return Done()


class Buy(Saga, name="buy"):
    """Stock and money, then the parcel."""

    input: Order

    @step(to="stock", retry=QUICK)
    def reserve(self, order: Order, done: Results) -> Reserve:
        return Reserve(order.quantity)

    @step(to="payment", after=[reserve], retry=QUICK)
    def charge(self, order: Order, done: Results) -> Charge:
        return Charge(order.quantity * 5)

    @retriable(to="shipping", retry=QUICK)
    def ship(self, order: Order, done: Results) -> Ship:
        return Ship(order.quantity)


def nothing_vanishes(system: SimulatedSystem) -> None:
    """What is not on the shelf is in a parcel."""
    shelf, shipped = units(system), sent(system)
    assert shelf + shipped == UNITS, f"{shelf} units on the shelf and {shipped} shipped, wanted {UNITS}"


def paid_is_shipped(system: SimulatedSystem) -> None:
    """A slip for each parcel."""
    slips = system.query("payment", "select count(*) from slips")
    assert slips == system.query("shipping", "select count(*) from parcels"), f"{slips} slips"


def units(system: SimulatedSystem) -> Any:
    """On the shelf."""
    return system.query("stock", "select units from shelf")[0][0]


def sent(system: SimulatedSystem) -> Any:
    """In parcels."""
    return system.query("shipping", "select coalesce(sum(quantity), 0) from parcels")[0][0]


def check(
    *instead: type[Service], saga: type[Saga] = Buy, invariants: Sequence[Invariant] | None = None, **rest: Any
) -> Report:
    """The shop, with other services instead of those of the same name."""
    shop: tuple[type[Service], ...] = (Stock, Payment, Shipping, *instead)
    by_name = {service.name: service for service in shop}
    kept = (nothing_vanishes, paid_is_shipped) if invariants is None else invariants
    return check_saga(saga, list(by_name.values()), kept, given=rest.pop("given", Order(2)), **rest)


@cache
def failure(*instead: type[Service], **rest: Any) -> SagaFailed:
    """What is said of a wrong shop; said once."""
    with pytest.raises(SagaFailed) as failed:
        check(*instead, **rest)
    return failed.value


def names(report: Report) -> set[str]:
    """Cases that fail."""
    return {tried.case.name for tried in report.failed}
