"""Trying every deviation, and making what fails small."""

from pathlib import Path

import pytest

from amends import InputError
from amends.testing import FaultPlan, HistoryFailed, Schedule, SimulatedSystem
from amends.testing.checkers import Checker
from amends.testing.explore import deviations, failure_of, kind_of, minimise, pairs, singles
from amends.testing.facts import Effect
from amends.testing.recording import Recording, replay
from tests.actors.trip import BookTrip, Fares, Script, Seats, Tickets, Trip


class NobodyGetsAFareLate(Checker):
    """Stands for an invariant that a slow network breaks; bob does not mind."""

    def effect(self, fact: Effect) -> None:
        assert fact.step != "fare" or fact.who == "bob" or fact.at_s < 5.0, f"late fare: {fact}"


def trip(schedule: Schedule, *, name: str = "ann") -> SimulatedSystem:
    """One trip."""
    script = Script()
    services = [Seats.spec(script), Fares.spec(script), Tickets.spec(script)]
    with SimulatedSystem(
        sagas=[BookTrip], services=services, schedule=schedule, checkers=[NobodyGetsAFareLate]
    ) as system:
        system.submit(BookTrip, Trip(name), key=name)
        system.run_until_quiet()
        return system


LATE_FARE = Schedule({"ann > fares: do fare #1": "late 20"})


def test_every_single_deviation_once() -> None:
    """The calm schedule first, then each fate of each label."""
    tried = list(singles(trip))
    assert tried[0] == Schedule()
    assert len({schedule.to_json() for schedule in tried}) == len(tried) > 100
    assert all(len(schedule.deviations) == 1 for schedule in tried[1:])
    assert LATE_FARE in tried


def test_every_pair_once() -> None:
    """The second deviation comes after the first, in the history that the first one made."""
    first = Schedule({"bob > seats: do seat #1": "lost"})
    further = list(deviations(trip(first, name="bob"), first))
    labels = [next(label for label in schedule.deviations if label not in first.deviations) for schedule in further]
    assert "bob > seats: do seat #2" in labels
    assert "bob > seats: do seat #1" not in labels
    assert len({schedule.to_json() for schedule in further}) == len(further)
    assert len(next(pairs(lambda schedule: trip(schedule, name="bob"))).deviations) == 2


def test_the_smallest_that_fails() -> None:
    """Of all that was late or lost, only what broke the invariant is left, and as little late as will do."""
    noisy = Schedule(
        {
            "turn of seats #1": "late 2",
            "seats > ann: do seat #1": "doubled",
            "ann > tickets: do ticket #1": "late 20",
            **LATE_FARE.deviations,
        }
    )
    assert minimise(trip, noisy) == Schedule({"ann > fares: do fare #1": "late 8"})


def test_a_seed_is_written_down_first() -> None:
    """What was drawn becomes deviations, and they become fewer."""
    plan = FaultPlan(late=0.3)
    found = ((n, failure_of(trip, Schedule(seed=n, faults=plan))) for n in range(100))
    seed, failure = next((n, failure) for n, failure in found if failure is not None)
    assert f"seed {seed}" in str(failure).splitlines()
    smallest = minimise(trip, Schedule(seed=seed, faults=plan))
    assert smallest.seed is None
    assert 1 <= len(smallest.deviations) <= 3
    assert kind_of(failure_of(trip, smallest)) == "HistoryFailed: late fare"


def test_a_failure_tells_how_to_see_it_again() -> None:
    """The schedule stands in its text as it can be pasted, below the end of the trace."""
    with pytest.raises(HistoryFailed) as failed:
        trip(LATE_FARE)
    said = str(failed.value)
    assert said.startswith("late fare: ")
    assert "ann > fares: do fare, attempt 1" in said
    assert f"Schedule.from_json({LATE_FARE.to_json()!r})" in said


def test_a_recording_runs_again(tmp_path: Path) -> None:
    """From its file, to the same failure."""
    path = tmp_path / "new" / "found.json"
    Recording(f"{__name__}:trip", Schedule(), {"name": "bob"}).save(path)
    assert "bob > fares" in replay(path).trace
    Recording(f"{__name__}:trip", LATE_FARE, {"name": "ann"}, "late fare").save(path)
    with pytest.raises(HistoryFailed, match="late fare"):
        replay(path)


@pytest.mark.parametrize("scenario", ["nothing", "tests.testing.test_explore:nothing", "no.such.module:f"])
def test_a_recording_of_an_unknown_scenario(scenario: str) -> None:
    """Is refused by its name."""
    with pytest.raises(InputError, match="scenario"):
        Recording(scenario, Schedule()).run()


def test_a_recording_with_an_unknown_field(tmp_path: Path) -> None:
    """Is refused by the field."""
    path = tmp_path / "odd.json"
    path.write_text('{"scenario": "a:b", "schedule": {}, "seed": 3}')
    with pytest.raises(InputError, match="seed"):
        replay(path)
