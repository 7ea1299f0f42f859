"""Bugs planted on purpose: the campaign finds every one, and only while it is there."""

import pytest

from tests.stateful.planted import BUGS
from tests.stateful.planted.campaign import FIRST_SEED, failure_of, find, histories, smallest
from tests.stateful.planted.scenarios import SCENARIOS


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    """Within its budget, and it is the bug that is found: without it the same history passes."""
    bug = BUGS[name]
    found = find(bug, FIRST_SEED, bug.budget)
    assert found is not None, f"{bug.name}: not found in {bug.budget} histories from seed {FIRST_SEED}"
    again = failure_of(found.case, found.schedule)
    assert again is None, f"{bug.name}: found without it too, by {found.case.text} with {found.schedule}: {again}"


@pytest.mark.parametrize("name", ["no dedupe", "undo leaves no tombstone", "undo gives up", "mailbox lost at restart"])
def test_what_shows_a_planted_bug_is_small(name: str) -> None:
    """Whatever else went wrong in the history that found it, at most three deviations are needed to see it again."""
    bug = BUGS[name]
    found = find(bug, FIRST_SEED, bug.budget)
    assert found is not None
    schedule, _ = smallest(bug, found)
    assert len(schedule.deviations) <= 3, schedule
    with bug.plant():
        assert failure_of(found.case, schedule) is not None
    assert failure_of(found.case, schedule) is None


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_found_where_nothing_is_wrong(scenario: str) -> None:
    """The same histories pass as long as no bug is planted."""
    for _, (case, schedule) in zip(range(10), histories(scenario, FIRST_SEED), strict=False):
        failure = failure_of(case, schedule)
        assert failure is None, f"{case.text} with {schedule}: {failure}"
