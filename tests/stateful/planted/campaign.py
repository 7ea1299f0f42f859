"""The campaign: how many histories until a planted bug is found.

Histories with up to three deviations and histories full of trouble take turns, in sagas of all
shapes; the same ones for every bug of a scenario, given by a first seed alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from random import Random
from time import perf_counter
from typing import Final
from unittest.mock import patch

from amends.testing import Schedule, SimulatedSystem, Stalled, agenda
from amends.testing.agenda import Livelock
from amends.testing.explore import minimise
from amends.testing.facts import Fell
from amends.testing.system import observed
from tests.stateful.planted.bug import Bug
from tests.stateful.planted.scenarios import SCENARIOS, Case

FIRST_SEED: Final = 0
MORE_DEVIATIONS: Final = (0, 1, 1, 2)
NEAR: Final = 16
"""How many places further on the next deviation may be."""

STEPS_MAX: Final = 20_000
"""Several times what the longest history takes; a livelock shows sooner than it would by the usual limit."""
_BROKEN: Final = ("AttributeError", "ImportError", "NameError", "TypeError", "ValueError")


@dataclass(frozen=True, slots=True)
class Found:
    """A history that shows a bug.

    Attributes:
        histories: how many it took, this one included.
        seconds: of this machine.
        what: what was found, in a line.
    """

    histories: int
    seconds: float
    case: Case
    schedule: Schedule
    what: str


def histories(scenario: str, first_seed: int) -> Iterator[tuple[Case, Schedule]]:
    """Endlessly many."""
    family = SCENARIOS[scenario]
    for seed in count(first_seed):
        random = Random(seed)
        if family.calm_cases and random.random() < 0.5:
            number = random.randrange(family.calm_cases)
            yield family.case(number), Schedule(_few_deviations(random, scenario, number))
        else:
            yield family.case(seed), family.schedule(seed)


def _few_deviations(random: Random, scenario: str, number: int) -> dict[str, str]:
    """Up to three deviations from a calm history, close to each other: trouble seldom comes alone."""
    places = _places(scenario, number)
    label, fate = _one_of(random, places)
    first = [place for place, _ in places].index(label)
    drawn = {label: fate}
    for _ in range(random.choice(MORE_DEVIATIONS)):
        label, fate = _one_of(random, places[first : first + NEAR])
        # A calm history does not have the visits that only an earlier deviation makes.
        place, _, visit = label.rpartition("#")
        drawn[f"{place}#{int(visit) + random.choice((0, 1))}"] = fate
    return drawn


def _one_of(random: Random, places: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[str, str]:
    """A fate by its kind first: of places where something may be late there are so many more than of all others."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for label, possible in places:
        for fate in possible:
            by_kind.setdefault(fate.split()[0], []).append((label, fate))
    return random.choice(by_kind[random.choice(list(by_kind))])


@cache
def _places(scenario: str, number: int) -> Sequence[tuple[str, tuple[str, ...]]]:
    """Where a calm history may go another way, in the order of its events."""
    return tuple(SCENARIOS[scenario].case(number).run(Schedule()).world.fates.possible.items())


def failure_of(case: Case, schedule: Schedule) -> AssertionError | Stalled | Livelock | None:
    """What a history came to; whatever is neither a finding nor None is a mistake of a test's own, and raised."""
    try:
        with patch.object(agenda, "STEPS_MAX", STEPS_MAX):
            case.run(schedule).close()
    except (AssertionError, Stalled, Livelock) as error:
        return error
    return None


def find(bug: Bug, first_seed: int, budget: int) -> Found | None:
    """The first of `budget` histories in which the bug shows; None if none does."""
    for number in range(SCENARIOS[bug.scenario].calm_cases):
        _places(bug.scenario, number)
    began = perf_counter()
    with bug.plant():
        for tried, (case, schedule) in enumerate(histories(bug.scenario, first_seed), start=1):
            if tried > budget:
                return None
            with observed() as systems:
                failure = failure_of(case, schedule)
            if failure is not None:
                _not_broken(bug, systems[-1])
                return Found(tried, perf_counter() - began, case, schedule, str(failure).splitlines()[0])
    raise AssertionError("there is always another history")


def _not_broken(bug: Bug, system: SimulatedSystem) -> None:
    """A variant that no longer fits the code it stands in for is found at once, but shows nothing."""
    for fact in system.facts:
        if isinstance(fact, Fell) and fact.error in _BROKEN:
            raise RuntimeError(f"{bug.name}: its variant raises {fact.error}: {fact.frames}")


def smallest(bug: Bug, found: Found) -> tuple[Schedule, int]:
    """The smallest schedule that shows the bug in the same way, and how many steps its history takes to do so."""
    with bug.plant(), patch.object(agenda, "STEPS_MAX", STEPS_MAX), observed() as systems:
        schedule = minimise(found.case.run, found.schedule)
        failure_of(found.case, schedule)
    return schedule, systems[-1].world.agenda.steps
