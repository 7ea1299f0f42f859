"""Finding what became of a key: through the journal, whatever happens to it, and wherever it is."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amends import (
    AmendsError,
    Compensated,
    Completed,
    Found,
    PlanError,
    Refused,
    Results,
    Saga,
    System,
    SystemStopped,
    retriable,
    step,
)
from amends.actors.journal.sqlite import SqliteStore
from amends.testing import Schedule, SimulatedSystem
from tests.actors.conftest import OpenSystem
from tests.actors.patience import Gate, until
from tests.actors.trip import (
    LONG_S,
    BookTrip,
    Fares,
    PrintTicket,
    Script,
    Seats,
    TakeSeat,
    Tickets,
    Trip,
)


def simulated(script: Script | None = None, **rest: Any) -> SimulatedSystem:
    """The trip's system in one thread and virtual time."""
    played = script or Script()
    services = [Seats.spec(played), Fares.spec(played), Tickets.spec(played)]
    return SimulatedSystem(sagas=[BookTrip], services=services, **rest)


def found(system: System, key: str) -> tuple[Any, str, Any]:
    """Input, state and decision of a trip that is known."""
    told = system.find(BookTrip, key)
    assert isinstance(told, Found)
    return told.input, told.state, told.decided


def test_an_unknown_key(booking: OpenSystem) -> None:
    """None, also if another saga has that key; a saga that is not the system's is refused by its name."""

    class Elsewhere(Saga, name="elsewhere"):
        input: Trip

        @retriable(to="tickets")
        def ticket(self, trip: Trip, done: Results) -> PrintTicket:
            return PrintTicket(trip.name)

    system = booking()
    system.run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S)
    assert system.find(BookTrip, "b") is None
    with pytest.raises(PlanError, match="saga 'elsewhere' version 1 is not one of this system's"):
        system.find(Elsewhere, "a")


def test_what_became_of_a_key(booking: OpenSystem) -> None:
    """The input as it was, the instance, and how it ended; the same after a restart."""
    system = booking(Script(fare=lambda service, name: Refused("no money") if name == "poor" else None))
    handles = {name: system.start(BookTrip, Trip(name, 2), key=f"key-{name}") for name in ("rich", "poor")}
    outcomes = {name: handle.result(LONG_S) for name, handle in handles.items()}
    for opened in (system, None):
        if opened is None:
            system.stop()
            system = booking()
        assert found(system, "key-rich") == (Trip("rich", 2), "completed", outcomes["rich"])
        assert found(system, "key-poor") == (Trip("poor", 2), "compensated", Compensated("fare", "no money"))
        told = system.find(BookTrip, "key-rich")
        assert told is not None
        assert told.saga_id == handles["rich"].saga_id
        assert isinstance(told.decided, Completed)
        assert told.decided.results.of("ticket", str) == "ticket of rich"


def test_a_decision_is_told_before_the_end(nobody_left: None) -> None:
    """Accepted, then decided either way and still under way: each is told as soon as it is on disk."""
    gate = Gate()
    script = Script(fare=lambda service, name: Refused("no money") if name == "poor" else gate(service, name))
    script.acts.update({"ticket": Gate(), "free seat": Gate()})
    with simulated(script) as system:
        system.start(BookTrip, Trip("rich"), key="rich")
        assert found(system, "rich") == (Trip("rich"), "open", None)
        gate.is_open = True
        system.start(BookTrip, Trip("poor"), key="poor")
        system.run_until(lambda: all(found(system, key)[2] is not None for key in ("rich", "poor")), 1.0)
        _, state, decided = found(system, "rich")
        assert (state, type(decided)) == ("open", Completed)
        assert found(system, "poor")[1:] == ("open", Compensated("fare", "no money"))


@pytest.mark.parametrize("turn", range(1, 12))
def test_whatever_turn_the_journal_fails_in(nobody_left: None, turn: int) -> None:
    """Who asks gets the answer from the next incarnation, or has got it from this one."""
    with simulated(schedule=Schedule({f"turn of journal #{turn}": "kill"})) as system:
        system.start(BookTrip, Trip("a"), key="a")
        assert found(system, "a")[0] == Trip("a")
        system.run_until_quiet()
        # Later turns are those of looking.
        while system.world.fates.unmet:
            assert found(system, "a")[1] == "completed"
        assert found(system, "a")[1] == "completed"
        system.check()


def test_a_process_that_dies(nobody_left: None) -> None:
    """Who waits is told so, and finds in the next one what was on disk."""
    with simulated() as system:
        system.start(BookTrip, Trip("a"), key="a")
        system.world.agenda.put(0.0, system.crash)
        with pytest.raises(SystemStopped):
            system.find(BookTrip, "a")
        system.restart()
        assert found(system, "a")[0] == Trip("a")


class Hanging:
    """A store that hangs when a key is looked up, until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        find = SqliteStore.find

        def hang(store: SqliteStore, saga: str, key: str) -> Any:
            if key == "hang":
                self.begun.set()
                self.let_go.wait(LONG_S)
            return find(store, saga, key)

        patch.setattr(SqliteStore, "find", hang)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """Looking up the key "hang" hangs."""
    hanging = Hanging(monkeypatch)
    yield hanging
    hanging.let_go.set()


def test_who_looks_up_in_a_system_that_stops_is_told(booking: OpenSystem, hanging: Hanging) -> None:
    """And does not wait for the end of its patience."""
    told: list[BaseException] = []
    system = booking()

    def look() -> None:
        try:
            system.find(BookTrip, "hang", timeout_s=60.0)
        except SystemStopped as error:
            told.append(error)

    caller = threading.Thread(target=look)
    caller.start()
    assert hanging.begun.wait(LONG_S)
    system.stop(timeout_s=0.01)
    caller.join(LONG_S)
    assert len(told) == 1


def test_an_answer_that_does_not_come_in_time(booking: OpenSystem, hanging: Hanging) -> None:
    """Who asked goes on, and so does the journal."""
    system = booking()
    with pytest.raises(TimeoutError):
        system.find(BookTrip, "hang", timeout_s=0.01)
    hanging.let_go.set()
    assert isinstance(system.run(BookTrip, Trip("a"), key="a", timeout_s=LONG_S), Completed)
    assert found(system, "a")[1] == "completed"
    assert system.status().restarts == 0


def test_many_ask_while_the_journal_crashes(booking: OpenSystem) -> None:
    """On real threads and files: each gets an answer."""
    system = booking()
    for number in range(4):
        system.run(BookTrip, Trip(f"trip-{number}"), key=f"trip-{number}", timeout_s=LONG_S)
    restarts = system.status().restarts

    def look(number: int) -> None:
        while system.status().restarts < restarts + 15:
            answers.append(found(system, f"trip-{number}")[1])

    answers: list[str] = []
    callers = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        seen = system.status().restarts
        system.kill("journal")
        until(lambda seen=seen: system.status().restarts > seen)  # type: ignore[misc]  # mypy takes the default for an argument
    assert set(answers) == {"completed"}


def test_an_instance_of_a_version_that_is_gone(tmp_path: Path) -> None:
    """Its input can't be told without its plan, and the error says which that is."""

    class Old(Saga, name="stroll", version=1):
        input: Trip

        @step(to="seats")
        def seat(self, trip: Trip, done: Results) -> TakeSeat:
            return TakeSeat(trip.name)

    class Where(msgspec.Struct, frozen=True):
        where: str

    class New(Saga, name="stroll", version=2):
        input: Where

        @step(to="seats")
        def seat(self, trip: Where, done: Results) -> TakeSeat:
            return TakeSeat(trip.where)

    script = Script()
    with System(tmp_path, sagas=[Old], services=[Seats.spec(script)]) as system:
        system.run(Old, Trip("a"), key="a", timeout_s=LONG_S)
    without = System(tmp_path, sagas=[New], services=[Seats.spec(script)])
    with without, pytest.raises(AmendsError, match="no plan for saga 'stroll' version 1"):
        without.find(New, "a")
    with System(tmp_path, sagas=[New, Old], services=[Seats.spec(script)]) as system:
        told = system.find(New, "a")
        assert told is not None
        assert told.input == Trip("a")
