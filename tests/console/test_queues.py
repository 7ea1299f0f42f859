"""How long the queues of a system are, and how long messages wait in them, on virtual time."""

import pytest

from amends.actors.status import QueueStatus
from amends.testing import Schedule, SimulatedSystem
from tests.actors.trip import BookTrip, Fares, Script, Seats, Tickets, Trip


def queues_after(schedule: Schedule) -> dict[str, QueueStatus]:
    """The queues after two trips, one after the other."""
    script = Script()
    services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
    with SimulatedSystem(sagas=[BookTrip], services=services, schedule=schedule) as system:
        for name in ("ann", "bob"):
            system.run(BookTrip, Trip(name), key=name)
        return system.status().mailboxes


def test_a_service_that_is_kept_waiting_shows() -> None:
    """Its queue, and no other, has the long wait."""
    queues = queues_after(Schedule({"turn of fares #2": "late 2", "turn of fares #3": "late 0.2"}))
    fares = queues["fares"]
    assert (fares.waits, fares.longest_s) == (2, 2.0)
    assert fares.waited_s == pytest.approx(2.2)
    assert fares.mean_s == pytest.approx(1.1)
    assert {name for name, queue in queues.items() if queue.longest_s >= 1.0} == {"fares"}


def test_where_nobody_waits_nothing_is_shown() -> None:
    """A queue that nothing was ever in has waited for nothing."""
    queues = queues_after(Schedule())
    assert queues["dead-letters"] == QueueStatus(0, 0, 0.0, 0.0)
    assert queues["dead-letters"].mean_s == 0.0
    assert all(queue.waiting == 0 for queue in queues.values())
