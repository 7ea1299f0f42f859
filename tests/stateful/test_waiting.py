"""Steps that wait with `Later`, while anything that can go wrong once does."""

from functools import partial

import pytest

from amends import Compensated, Completed
from amends.testing import FaultPlan, Schedule
from amends.testing.explore import Scenario, deviations
from amends.testing.facts import Answered, Told
from tests.stateful import waiting

SCENARIOS = [
    pytest.param(partial(waiting.run), id="one waits"),
    pytest.param(partial(waiting.run, nuisance=True), id="one waits and is refused"),
]


def test_the_second_waits_and_is_woken() -> None:
    """Without trouble the second enters in the moment the first has left, and at its first attempt."""
    calm = waiting.run(Schedule())
    assert calm.effects() == [
        "rooms.enter",
        "bank.pay",
        "rooms.leave",
        "rooms.enter",
        "bank.pay",
        "rooms.leave",
    ]
    entered = [fact for fact in calm.facts if isinstance(fact, Answered) and fact.reply.step == "enter"]
    left = [fact for fact in calm.facts if isinstance(fact, Answered) and fact.reply.step == "leave"]
    assert (entered[1].reply.attempt, entered[1].at_s) == (1, left[0].at_s)


def test_a_refusal_after_waiting() -> None:
    """Who waited for nothing leaves nothing behind."""
    outcomes = [fact.value for fact in waiting.run(Schedule(), nuisance=True).facts if isinstance(fact, Told)]
    assert Compensated("enter", "not you") in outcomes
    assert Completed in map(type, outcomes)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_deviation_anywhere(scenario: Scenario) -> None:
    """Whatever happens once, wherever it happens, every saga ends and nobody is left in the room or in its queue."""
    tried = 0
    for schedule in deviations(scenario(Schedule())):
        assert scenario(schedule).schedule == schedule, "the deviation was not met"
        tried += 1
    assert tried > 200


@pytest.mark.parametrize("seed", range(40))
def test_trouble_everywhere(seed: int) -> None:
    """The same with several things at a time."""
    faults = FaultPlan(
        late=0.1, lost=0.03, doubled=0.03, raises=0.03, hangs=0.01, killed=0.02, crashes=0.02, cancelled=0.02, most=8
    )
    waiting.run(Schedule(seed=seed, faults=faults), nuisance=seed % 3 == 0)
