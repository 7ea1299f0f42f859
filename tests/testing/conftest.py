"""Simulated systems of the small trip, closed at the end of each test."""

from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest

from amends.testing import SimulatedSystem
from tests.actors.trip import BookTrip, Fares, Script, Seats, Tickets, Trip

ANN = Trip("ann")
Make = Callable[..., SimulatedSystem]


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Each test ends with an empty registry."""
    yield
    assert pykka.ActorRegistry.get_all() == []


@pytest.fixture
def make(nobody_left: None) -> Iterator[Make]:
    """Opens the trip's system; every one is closed at the end."""
    made: list[SimulatedSystem] = []

    def make(**rest: Any) -> SimulatedSystem:
        script = Script()
        services = rest.pop("services", [Seats.spec(script), Fares.spec(script), Tickets.spec(script)])
        system = SimulatedSystem(sagas=rest.pop("sagas", [BookTrip]), services=services, **rest)
        made.append(system)
        return system.open()

    yield make
    for system in made:
        system.close()


@pytest.fixture
def system(make: Make) -> SimulatedSystem:
    """The trip's system, open."""
    return make()
