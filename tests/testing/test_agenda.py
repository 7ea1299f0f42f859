"""Virtual time, and what is due in it."""

import pytest

from amends.testing.agenda import STEPS_MAX, Agenda, Livelock


def drain(agenda: Agenda) -> None:
    """Until nothing is left."""
    while agenda.next_s < float("inf"):
        agenda.step()


def test_what_is_due_first_happens_first() -> None:
    """And time moves to each; what is due at the same moment happens in the order it was put there."""
    agenda, seen = Agenda(), []
    for delay_s, name in ((5.0, "last"), (1.0, "first"), (1.0, "second")):
        agenda.put(delay_s, lambda name=name: seen.append((agenda.now_s, name)))  # type: ignore[misc]
    drain(agenda)
    assert seen == [(1.0, "first"), (1.0, "second"), (5.0, "last")]


def test_an_alarm_replaces_the_one_before() -> None:
    """Only the last one set for somebody rings."""
    agenda, rings = Agenda(), []
    for at_s in (3.0, 7.0, 5.0):
        agenda.set_alarm("ann", at_s, lambda at_s=at_s: rings.append(at_s))  # type: ignore[misc]
    agenda.set_alarm("bob", 4.0, lambda: rings.append(4.0))
    agenda.set_alarm("bob", None, lambda: None)
    drain(agenda)
    assert rings == [5.0]


def test_an_alarm_of_the_past_rings_now() -> None:
    """Time never runs back."""
    agenda, rings = Agenda(), []
    agenda.put(2.0, lambda: agenda.set_alarm("ann", 1.0, lambda: rings.append(agenda.now_s)))
    drain(agenda)
    assert rings == [2.0]


def test_alarms_keep_nobody_busy() -> None:
    """Only what was put there counts as still to come."""
    agenda = Agenda()
    agenda.set_alarm("ann", 1.0, lambda: None)
    assert agenda.busy == 0
    agenda.put(0.0, lambda: None)
    assert agenda.busy == 1
    agenda.step()
    assert agenda.busy == 0


def test_going_round_in_circles_is_an_error() -> None:
    """A livelock is a bug too."""
    agenda = Agenda()

    def again() -> None:
        agenda.put(0.0, again)

    again()
    with pytest.raises(Livelock, match=str(STEPS_MAX)):
        drain(agenda)
