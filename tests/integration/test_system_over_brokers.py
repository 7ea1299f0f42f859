"""Sagas whose services are elsewhere: the same plans, the same services, joined by each of the brokers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import Compensated, Completed, PlanError, Refused, Results, Retry, Saga, System, retriable, step
from tests.actors.patience import refuse_some
from tests.actors.trip import LONG_S, BookTrip, Fares, Script, Seats, TakeSeat, Tickets, Trip, effects
from tests.brokers import ABroker
from tests.rabbitmq import Rabbit

FOREIGN = Path(__file__).with_name("foreign_meals.py")
PATIENT = Retry(attempts=100, base_s=0.05, cap_s=0.5)


class OrderMeal(msgspec.Struct, frozen=True):
    """What the foreign service takes."""

    name: str


class Meal(msgspec.Struct, frozen=True):
    """What it answers."""

    meal: str
    served: int


class DineOnBoard(Saga, name="dine-on-board"):
    """A meal at the foreign service, then a seat, then another meal; a seat for nobody undoes the first."""

    input: Trip

    @step(to="meals", retry=PATIENT)
    def starter(self, trip: Trip, done: Results) -> OrderMeal:
        return OrderMeal(trip.name)

    @step(to="seats", after=[starter], retry=PATIENT)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(done.of("starter", Meal).meal)

    @retriable(to="meals", after=[seat], retry=PATIENT)
    def dessert(self, trip: Trip, done: Results) -> OrderMeal:
        return OrderMeal(f"{trip.name}, again")


@contextmanager
def the_foreign_service(broker: ABroker) -> Iterator[None]:
    """A process of its own, which knows nothing of amends."""
    program = subprocess.Popen([sys.executable, "-I", str(FOREIGN), *broker.place])
    try:
        yield
    finally:
        program.kill()
        program.wait()


@pytest.fixture
def stack(broker: ABroker) -> Iterator[ExitStack]:
    """What is open, closed before the queues are deleted."""
    with ExitStack() as stack:
        yield stack


def test_services_in_another_system(broker: ABroker, tmp_path: Path, stack: ExitStack) -> None:
    """What completes is done once in each of them, and what is refused is undone."""
    script = Script(fare=refuse_some)
    services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
    node = System(
        tmp_path / "node",
        sagas=[BookTrip],
        services=[],
        elsewhere=[Seats, Fares, Tickets],
        node="node",
        broker=broker.settings(),
    )
    stack.enter_context(node)
    # The commands wait in their queues for whoever comes to serve them.
    handles = [node.start(BookTrip, Trip(f"trip-{number}")) for number in range(1, 31)]
    stack.enter_context(System(tmp_path / "services", sagas=[], services=services, broker=broker.settings()))
    outcomes = [handle.result(LONG_S) for handle in handles]
    assert [type(outcome) for outcome in outcomes] == [Completed, Completed, Compensated] * 10
    done = effects(tmp_path / "services")
    assert (done["seats"].count("seat"), done["seats"].count("free seat")) == (30, 10)
    assert done["tickets"].count("ticket") == 20


def test_services_beside_the_sagas_and_in_another_process(broker: ABroker, tmp_path: Path, stack: ExitStack) -> None:
    """A process may have both, and all of it goes through the broker."""
    script = Script()
    here = [Seats.spec(script), Tickets.spec(script)]
    stack.enter_context(System(tmp_path / "fares", sagas=[], services=[Fares.spec(script)], broker=broker.settings()))
    node = System(
        tmp_path / "node", sagas=[BookTrip], services=here, elsewhere=[Fares], node="node", broker=broker.settings()
    )
    stack.enter_context(node)
    assert isinstance(node.run(BookTrip, Trip("trip"), timeout_s=LONG_S), Completed)


def test_service_in_another_language_takes_part(broker: ABroker, tmp_path: Path) -> None:
    """Written against the page on the wire format, it does, refuses and undoes like any other."""

    def no_seat_for_bob(service: Any, name: str) -> Any:
        return Refused("no seat") if "Bob" in name else None

    seats = Seats.spec(Script(seat=no_seat_for_bob))
    system = System(tmp_path, sagas=[DineOnBoard], services=[seats], elsewhere=["meals"], broker=broker.settings())
    with system, the_foreign_service(broker):
        guests = ("Ada", "Bob", "Greedy", "Eve")
        outcomes = {name: system.run(DineOnBoard, Trip(name), timeout_s=LONG_S) for name in guests}
    assert outcomes["Bob"] == Compensated("seat", "no seat")
    assert outcomes["Greedy"] == Compensated("starter", "no meal is large enough")
    ada, eve = outcomes["Ada"], outcomes["Eve"]
    assert isinstance(ada, Completed)
    assert isinstance(eve, Completed)
    # Bob's starter was undone, so his place was free again.
    assert [of.results.of("dessert", Meal).served for of in (ada, eve)] == [2, 4]
    assert effects(tmp_path)["seats"] == ["seat", "seat"]


def test_open_instance_goes_on_in_the_next_process(broker: ABroker, tmp_path: Path, stack: ExitStack) -> None:
    """Of the same node, whose replies have waited for it."""
    node = {"sagas": [BookTrip], "services": [], "elsewhere": [Seats, Fares, Tickets]}
    with System(tmp_path / "node", node="node", broker=broker.settings(), **node) as system:  # type: ignore[arg-type]  # as above
        system.start(BookTrip, Trip("trip"), key="trip")
    script = Script()
    services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
    stack.enter_context(System(tmp_path / "services", sagas=[], services=services, broker=broker.settings()))
    system = System(tmp_path / "node", node="node", broker=broker.settings(), **node)  # type: ignore[arg-type]  # as above
    stack.enter_context(system)
    outcome = system.run(BookTrip, Trip("trip"), key="trip", timeout_s=LONG_S)
    assert isinstance(outcome, Completed)
    assert effects(tmp_path / "services")["seats"] == ["seat"]


def test_services_elsewhere_need_a_broker(tmp_path: Path) -> None:
    """Nothing else leads to them."""
    with pytest.raises(PlanError, match="broker"):
        System(tmp_path, sagas=[BookTrip], services=[], elsewhere=[Seats, Fares, Tickets])


@pytest.mark.parametrize(
    ("elsewhere", "told"),
    [([Seats, Fares], "tickets"), ([Seats, Fares, Tickets, "seats"], "twice"), (["seats", "fares", "fares"], "twice")],
)
def test_services_elsewhere_are_checked_as_far_as_they_are_known(
    tmp_path: Path, elsewhere: list[Any], told: str
) -> None:
    """A step to nobody is found when the system is made."""
    broker = Rabbit("amqp://localhost", None, None).settings()
    with pytest.raises(PlanError, match=told):
        System(tmp_path, sagas=[BookTrip], services=[], elsewhere=elsewhere, broker=broker)
