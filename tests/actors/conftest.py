"""What all tests of actors share: systems that are stopped at the end, and the check that nothing is left alive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

from amends import System
from tests.actors.trip import BookTrip, Fares, HastyTrip, LossyTrip, Script, Seats, Tickets

OpenSystem = Callable[..., System]


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Each test ends with an empty registry."""
    yield
    left = pykka.ActorRegistry.get_all()
    pykka.ActorRegistry.stop_all(block=False)
    assert left == []


@pytest.fixture
def booking(tmp_path: Path, nobody_left: None) -> Iterator[OpenSystem]:
    """Open the trip's system on the test's folder; every one is stopped at the end."""
    opened: list[System] = []

    def make(script: Script | None = None, **rest: Any) -> System:
        played = script or Script()
        services = [Seats.spec(played), Fares.spec(played), Tickets.spec(played)]
        folder = rest.pop("folder", tmp_path)
        system = System(folder, sagas=[BookTrip, LossyTrip, HastyTrip], services=services, **rest)
        opened.append(system)
        return system.open()

    yield make
    for system in opened:
        system.stop()
