"""Histories in which something was wrong once: each is the smallest that showed it, and stays mended."""

from contextlib import suppress
from random import Random

import pytest

from amends import AmendsError
from amends.protocol.events import CancelAnswer
from amends.protocol.saga import Kind
from amends.testing import Schedule, SimulatedSystem
from tests.actors.trip import BookTrip, Fares, Script, Seats, Tickets, Trip
from tests.soak.scenarios import random_saga, saga
from tests.stateful import drawn
from tests.stateful.histories import plan_of
from tests.stateful.plans import PlanSpec, StepSpec


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


def test_a_cancel_between_the_end_and_its_commit_is_answered() -> None:
    """The journal had forgotten how long a history is whose end it had not written yet."""
    seed = 2690
    saga(Schedule(seed=seed, faults=plan_of(seed)), **random_saga(Random(seed)))


def test_a_cancel_put_aside_while_the_end_is_written_is_answered() -> None:
    """An instance is restarted with a cancel in its mailbox, while the end that its predecessor wrote is under way."""
    steps = (
        StepSpec("c0", Kind.COMPENSATABLE, attempts=3, refuses=True),
        StepSpec("c1", Kind.COMPENSATABLE, ("c0",), attempts=1),
    )
    deviations = {
        "turn of coordinator #4": "late 2",
        "north > o1: do c0 #1": "late 2",
        "turn of journal #4": "late 2",
        "o1 > north: do c0 #2": "cancel",
        "turn of o1 #5": "kill",
    }
    ran = drawn.run(PlanSpec(steps), Schedule(deviations), instances=3)
    assert ran.schedule.deviations == deviations
