"""Instances that began with another plan than the program has: they wait for theirs, and are never bent to it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from amends import AmendsError, Completed, Results, Saga, System, retriable, step
from amends.actors.journal.store import checksum
from tests.actors.patience import Gate, until
from tests.actors.trip import (
    COMPLETED,
    LONG_S,
    QUICK,
    BookTrip,
    Fares,
    PrintTicket,
    Script,
    Seats,
    TakeFare,
    TakeSeat,
    Tickets,
    Trip,
    effects,
    rows_of,
)


class FareFirst(Saga, name="book-trip"):
    """The steps in another order, and the version as it was: a mistake."""

    input: Trip

    @step(to="fares", retry=QUICK)
    def fare(self, trip: Trip, done: Results) -> TakeFare:
        return TakeFare(trip.name)

    @step(to="seats", after=[fare], retry=QUICK)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(trip.name)

    @retriable(to="tickets", after=[seat], retry=QUICK)
    def ticket(self, trip: Trip, done: Results) -> PrintTicket:
        return PrintTicket(trip.name)


class FreeTrip(Saga, name="book-trip", version=2):
    """A change as it is made: another version. Nobody pays any more."""

    input: Trip

    @step(to="seats", retry=QUICK)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(trip.name)

    @retriable(to="tickets", after=[seat], retry=QUICK)
    def ticket(self, trip: Trip, done: Results) -> PrintTicket:
        return PrintTicket(trip.name)


class Deployments:
    """One folder, and the programs that work on it, one after the other."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.gate = Gate()
        self._folder = folder
        self._stack = stack
        self._running: System | None = None

    def deploy(self, *sagas: type[Saga]) -> System:
        """Stop the program that runs, and start the next."""
        self.stop()
        services = [of.spec(Script(ticket=self.gate)) for of in (Seats, Fares, Tickets)]
        self._running = System(self._folder, sagas=sagas, services=services)
        return self._stack.enter_context(self._running)

    def stop(self) -> None:
        """Nothing runs."""
        if self._running is not None:
            self._running.stop()


@pytest.fixture
def programs(tmp_path: Path, nobody_left: None) -> Iterator[Deployments]:
    """Whatever still runs is stopped at the end."""
    with ExitStack() as stack:
        yield Deployments(tmp_path, stack)


def begun(system: System) -> Any:
    """A trip that has a seat and a fare, and waits for its ticket."""
    handle = system.start(BookTrip, Trip("old"), key="old")
    until(lambda: system.status().retries > 0)
    return handle


def test_upgrade_in_flight(programs: Deployments, tmp_path: Path) -> None:
    """With the old class beside the new one old instances end on the old plan, and new ones begin on the new."""
    begun(programs.deploy(BookTrip))
    system = programs.deploy(BookTrip, FreeTrip)
    programs.gate.is_open = True
    # By its key it is still the same trip, and nobody books another one.
    outcome = system.run(BookTrip, Trip("old"), key="old", timeout_s=LONG_S)
    assert isinstance(outcome, Completed)
    assert isinstance(system.run(FreeTrip, Trip("new"), key="new", timeout_s=LONG_S), Completed)
    assert effects(tmp_path, "old") == COMPLETED
    assert effects(tmp_path, "new") == {"seats": ["seat"], "fares": [], "tickets": ["ticket"]}


def test_changed_plan_of_the_same_version_is_not_run(programs: Deployments, tmp_path: Path) -> None:
    """The instance waits, visibly, and goes on when a program with its plan comes."""
    handle = begun(programs.deploy(BookTrip))
    saga_id = handle.saga_id
    system = programs.deploy(FareFirst)
    until(lambda: bool(system.status().unreadable))
    told = system.status().unreadable[saga_id]
    wanted = (
        "saga 'book-trip' version 1",
        BookTrip.plan.digest,
        FareFirst.plan.digest,
        "version=2",
        "keep the old one",
    )
    assert [text for text in wanted if text not in told] == []
    with pytest.raises(AmendsError, match="version=2"):
        system.cancel(saga_id, LONG_S)
    # The others run.
    programs.gate.is_open = True
    assert isinstance(system.run(FareFirst, Trip("new"), key="new", timeout_s=LONG_S), Completed)
    assert effects(tmp_path, "old")["tickets"] == []
    system = programs.deploy(BookTrip)
    assert isinstance(system.run(BookTrip, Trip("old"), key="old", timeout_s=LONG_S), Completed)
    assert effects(tmp_path, "old") == COMPLETED


def test_what_became_of_an_ended_instance_can_be_told(programs: Deployments) -> None:
    """It depends on nothing any more, so whoever asks by its key again hears the same."""
    programs.gate.is_open = True
    programs.deploy(BookTrip).run(BookTrip, Trip("old"), key="old", timeout_s=LONG_S)
    system = programs.deploy(FareFirst)
    assert isinstance(system.run(FareFirst, Trip("old"), key="old", timeout_s=LONG_S), Completed)


def test_start_of_an_earlier_schema_goes_on(programs: Deployments, tmp_path: Path) -> None:
    """Its record names no digest, so the plan of its name and version is taken for its own."""
    begun(programs.deploy(BookTrip))
    programs.stop()
    _as_schema_1(tmp_path / "journal.db")
    programs.gate.is_open = True
    outcome = programs.deploy(BookTrip).run(BookTrip, Trip("old"), key="old", timeout_s=LONG_S)
    assert isinstance(outcome, Completed)


def _as_schema_1(path: Path) -> None:
    """Write the history as an earlier program would have."""
    before = 0
    for saga_id, seq, at, body in rows_of(path, "select saga_id, seq, at, body from records order by seq"):
        old = body.replace(f',"digest":"{BookTrip.plan.digest}"', "")
        assert (old != body) == (seq == 0)
        before = checksum(before, saga_id, seq, at, 1, old.encode())
        rows_of(path, "update records set schema = 1, body = ?, checksum = ? where seq = ?", old, before, seq)
