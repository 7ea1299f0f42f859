"""What would pass without looking is told instead."""

from pathlib import Path

import pytest

from amends.protocol.errors import AmendsError
from amends.testing import HistoryFailed, Schedule, SimulatedSystem, Stalled
from amends.testing.checkers import Checker
from amends.testing.facts import Fell, Recorded
from tests.actors.trip import BookTrip, PrintTicket, TakeFare
from tests.testing.conftest import ANN, Make


@pytest.mark.parametrize("label", ["ann > seat: do seat #1", "commit of journal #99", "seats.take for ann #1"])
def test_a_schedule_of_another_history(make: Make, label: str) -> None:
    """A deviation that is never met, or not possible there, is told when all is over."""
    system = make(schedule=Schedule({label: "lost"}))
    system.run(BookTrip, ANN, key="ann")
    with pytest.raises(HistoryFailed, match=f"the schedule speaks of .*{label}"):
        system.check()


def test_stuck_is_not_at_rest(system: SimulatedSystem) -> None:
    """An instance that waits for a person has not ended, and the step that keeps it is named."""
    system.service("tickets").unavailable(PrintTicket, reason="no paper")
    system.start(BookTrip, ANN, key="ann")
    system.run_until_quiet()
    with pytest.raises(HistoryFailed, match=r"ann: step 'ticket' is stuck \(no paper"):
        system.check()


def test_a_checker_that_breaks(make: Make) -> None:
    """Its error is the finding; no actor is restarted for it."""

    class Broken(Checker):
        def recorded(self, fact: Recorded) -> None:
            raise KeyError("oops")

    system = make(checkers=[Broken])
    with pytest.raises(HistoryFailed, match="KeyError: 'oops'"):
        system.run(BookTrip, ANN)
    assert not any(isinstance(fact, Fell) for fact in system.facts)


def test_what_waits_in_vain_names_what_it_waits_for(system: SimulatedSystem) -> None:
    """Instances that are still open stand in the error with their steps."""
    system.service("fares").unavailable(TakeFare, reason="closed")
    system.start(BookTrip, ANN, key="ann")
    with pytest.raises(Stalled, match=r"not within 0\.01 virtual seconds; still open: ann: step"):
        system.run_until(lambda: False, 0.01)


def test_a_journal_of_another_system(make: Make, tmp_path: Path) -> None:
    """What happened there was not seen, so nothing can be said of it."""
    first = make(folder=tmp_path)
    first.run(BookTrip, ANN)
    first.stop()
    with pytest.raises(AmendsError, match="instances of an earlier system; wanted an empty folder"):
        make(folder=tmp_path)
