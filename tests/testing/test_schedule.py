"""Schedules as values, and the fates drawn from them."""

import pytest

from amends import InputError
from amends.testing import FaultPlan, Schedule
from amends.testing.schedule import LATE, Fates, lateness_s

POSSIBLE = (*LATE, "lost", "doubled", "crash")
EVERYTHING = FaultPlan(lost=1.0, most=1000)


def met(schedule: Schedule, visits: int = 300) -> list[str]:
    """The fates of so many visits to one place."""
    fates = Fates(schedule)
    return [fates.meet("a > b: do x", POSSIBLE)[1] for _ in range(visits)]


def test_nothing_is_unusual_without_a_word() -> None:
    """The empty schedule is the usual course of things."""
    assert met(Schedule()) == [""] * 300


def test_a_deviation_is_met_by_its_label_alone() -> None:
    """Each visit to a place has a label of its own."""
    assert met(Schedule({"a > b: do x #2": "lost"}), 3) == ["", "lost", ""]


def test_a_fate_that_is_not_possible_there_is_the_usual_one() -> None:
    """A schedule of another version of the code does no harm."""
    fates = Fates(Schedule({"a > b: do x #1": "hang"}))
    assert fates.meet("a > b: do x", POSSIBLE) == ("a > b: do x #1", "")
    assert fates.recorded == Schedule()


def test_what_was_drawn_is_written_down() -> None:
    """The recorded schedule gives the same fates without a seed."""
    drawn = Schedule(seed=7, faults=FaultPlan(late=0.3, lost=0.1, most=5))
    fates = Fates(drawn)
    found = [fates.meet("p", POSSIBLE)[1] for _ in range(300)]
    again = Fates(Schedule.from_json(fates.recorded.to_json()))
    assert [again.meet("p", POSSIBLE)[1] for _ in range(300)] == found
    assert fates.recorded.seed is None


def test_a_fate_depends_on_its_label_only() -> None:
    """What happens elsewhere changes nothing here, so that leaving out a deviation leaves the others."""
    schedule = Schedule(seed=1, faults=FaultPlan(late=0.5))
    alone, among = Fates(schedule), Fates(schedule)
    for number in range(100):
        among.meet(f"elsewhere {number}", POSSIBLE)
        assert alone.meet("p", POSSIBLE) == among.meet("p", POSSIBLE)


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_rates_are_shares_of_places(rate: float) -> None:
    """About as many as were asked for; `late` is one rate for all kinds of lateness."""
    lost = met(Schedule(seed=3, faults=FaultPlan(lost=rate, most=10_000)), 5_000).count("lost")
    late = [fate for fate in met(Schedule(seed=3, faults=FaultPlan(late=rate)), 5_000) if fate]
    assert 0.7 * rate < lost / 5_000 < 1.3 * rate
    assert 0.7 * rate < len(late) / 5_000 < 1.3 * rate
    assert set(late) == set(LATE)


def test_no_more_trouble_than_asked_for() -> None:
    """`most` counts trouble; lateness is none."""
    plan = FaultPlan(late=0.5, lost=0.5, most=3)
    found = met(Schedule(seed=1, faults=plan))
    assert found.count("lost") == 3
    assert sum(fate in LATE for fate in found) > 50


def test_calm_ends_all_trouble() -> None:
    """Said deviations, too."""
    fates = Fates(Schedule({"p #2": "lost"}, seed=1, faults=EVERYTHING))
    assert fates.meet("p", POSSIBLE)[1] == "lost"
    fates.calm = True
    assert [fates.meet("p", POSSIBLE)[1] for _ in range(9)] == [""] * 9


def test_labels_tell_what_would_have_been_possible() -> None:
    """For whoever wants to try all of it."""
    fates = Fates(Schedule())
    fates.meet("p", ("lost",))
    fates.meet("q", ("hang",))
    assert fates.possible == {"p #1": ("lost",), "q #1": ("hang",)}


def test_json_with_an_unknown_field_is_refused() -> None:
    """By its name."""
    with pytest.raises(InputError, match="sede"):
        Schedule.from_json('{"sede": 1}')


def test_lateness() -> None:
    """In virtual seconds; other fates are not late."""
    assert [lateness_s(fate) for fate in (*LATE, "lost", "")] == [0.2, 2.0, 8.0, 20.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"deviations": {"p #1": "lsot"}}', "p #1.*found 'lsot', wanted one of"),
        ('{"deviations": {"p #1": "late x"}}', "found 'late x'"),
        ('{"seed": 1, "faults": {"lost": 1.5}}', r"\$.lost: found 1.5, wanted a share from 0 to 1"),
        ('{"seed": 1, "faults": {"late": -1}}', r"\$.late: found -1"),
        ('{"seed": 1, "faults": {"most": -1}}', r"\$.most: found -1"),
        ('{"faults": {"lost": 0.1}}', r"\$.seed: found none, wanted one to draw the faults from"),
    ],
)
def test_a_schedule_that_would_do_nothing_is_refused(text: str, told: str) -> None:
    """With the field, what was found and what is wanted."""
    with pytest.raises(InputError, match=told):
        Schedule.from_json(text)
