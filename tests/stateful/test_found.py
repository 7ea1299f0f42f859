"""Histories in which something was wrong once: each is the smallest that showed it, and stays mended."""

from contextlib import suppress

import pytest

from amends import AmendsError
from amends.protocol.events import CancelAnswer
from amends.testing import Schedule, SimulatedSystem
from tests.actors.trip import BookTrip, Fares, Script, Seats, Tickets, Trip


def trips(schedule: Schedule) -> SimulatedSystem:
    """Two trips under a schedule."""
    script = Script()
    services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
    system = SimulatedSystem(sagas=[BookTrip], services=services, schedule=schedule).open()
    for name in ("a", "b"):
        system.submit(BookTrip, Trip(name), key=name)
    return system


@pytest.mark.parametrize("killed", [3, 4])
def test_a_decision_is_read_back_only_from_disk(killed: int) -> None:
    """The journal is killed with a decision or an end in hand, and then the disk is full."""
    deviations = {f"turn of journal #{killed}": "kill", f"commit of journal #{killed - 1}": "full"}
    system = trips(Schedule(deviations))
    system.run_until_quiet()
    system.check()
    assert system.schedule.deviations == deviations
    system.close()


def test_a_cancel_is_not_answered_for_an_instance_that_goes_on() -> None:
    """The coordinator fails with the question on its way; nobody may say that the instance has ended."""
    system = trips(Schedule({"turn of a #1": "late 2", "turn of coordinator #3": "kill"}))
    system.run_until(lambda: bool(system.world.instances))
    saga_id = next(iter(system.world.instances))
    with suppress(AmendsError):
        assert system.cancel(saga_id) is not CancelAnswer.ALREADY_ENDED
    system.run_until_quiet()
    system.check()
    assert "kill" in system.schedule.deviations.values()
    system.close()
