"""Exploring: every schedule with one deviation, or with two, and the smallest that still fails.

A *scenario* runs one whole history under a schedule and returns the system it ran in; it raises
what it finds. Everything here is a loop around that.
"""

from collections.abc import Callable, Iterator

from amends.testing.schedule import LATE, Schedule
from amends.testing.system import SimulatedSystem, observed

Scenario = Callable[[Schedule], SimulatedSystem]


def deviations(ran: SimulatedSystem, after: Schedule | None = None) -> Iterator[Schedule]:
    """Every schedule that deviates in one more place than the history that ran.

    Args:
        after: the schedule of that history; only places that come after its deviations are tried, so that no pair
            is tried twice.
    """
    before = {} if after is None else dict(after.deviations)
    labels = list(ran.world.fates.possible.items())
    begin = max((n for n, (label, _) in enumerate(labels, 1) if label in before), default=0)
    for label, possible in labels[begin:]:
        for fate in possible:
            yield Schedule({**before, label: fate})


def singles(scenario: Scenario) -> Iterator[Schedule]:
    """The schedule without deviations, and every one with a single deviation; the scenario is run once to find them."""
    calm = Schedule()
    yield calm
    yield from deviations(scenario(calm))


def pairs(scenario: Scenario) -> Iterator[Schedule]:
    """Every schedule with two deviations; the scenario is run once for each single one."""
    for single in deviations(scenario(Schedule())):
        yield from deviations(scenario(single), single)


def failure_of(scenario: Scenario, schedule: Schedule) -> BaseException | None:
    """What a history came to: None if all went well."""
    try:
        scenario(schedule).close()
    except Exception as error:  # noqa: BLE001 - whatever a scenario raises is a finding
        return error
    return None


def minimise(scenario: Scenario, schedule: Schedule) -> Schedule:
    """The smallest schedule found that fails in the same way: fewer deviations, and less late ones.

    Args:
        schedule: one that fails; if it has a seed, the deviations it led to are written down first.
    """
    wanted = kind_of(failure_of(scenario, schedule))

    def fails(candidate: Schedule) -> bool:
        return kind_of(failure_of(scenario, candidate)) == wanted

    smallest = _written_down(scenario, schedule)
    half = max(1, len(smallest.deviations) // 2)
    while half:
        smallest = _without(smallest, half, fails)
        half //= 2
    return _sooner(smallest, fails)


def kind_of(failure: BaseException | None) -> str:
    """What failed, without the particulars: two failures of one kind have one cause, as far as can be told."""
    if failure is None:
        return ""
    return f"{type(failure).__name__}: {str(failure).splitlines()[0].split(':')[0]}" if str(failure) else repr(failure)


def _written_down(scenario: Scenario, schedule: Schedule) -> Schedule:
    if schedule.seed is None:
        return schedule
    with observed() as systems:
        failure_of(scenario, schedule)
    return systems[-1].schedule


def _without(schedule: Schedule, size: int, fails: Callable[[Schedule], bool]) -> Schedule:
    """Leave out `size` deviations at a time, wherever that changes nothing."""
    kept = list(schedule.deviations.items())
    place = 0
    while place < len(kept):
        fewer = kept[:place] + kept[place + size :]
        if fails(Schedule(dict(fewer))):
            kept = fewer
        else:
            place += size
    return Schedule(dict(kept))


def _sooner(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Make what is late as little late as will do."""
    smallest = dict(schedule.deviations)
    for label, fate in schedule.deviations.items():
        for less in LATE[: LATE.index(fate)] if fate in LATE else ():
            if fails(Schedule({**smallest, label: less})):
                smallest[label] = less
                break
    return Schedule(smallest)
