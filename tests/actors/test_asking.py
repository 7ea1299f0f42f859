"""Questions: what a service tells callers outside, and when."""

from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import Struct

from amends import Completed, Done, HandlerError, PlanError, Results, Saga, Service, System, answers, handles, retriable
from amends.testing import SimulatedSystem

_TABLES = ("create table seats (name text primary key, taken integer not null default 0, version integer default 1)",)


class Take(Struct, frozen=True):
    """Take a seat."""

    name: str


class TakenSeats(Struct, frozen=True):
    """Query: the names of the seats that are taken."""


class Misspelt(Struct, frozen=True):
    """Query: one that fails."""


class Meddling(Struct, frozen=True):
    """Query: one that tries to write."""


class Unheard(Struct, frozen=True):
    """Query: one that nobody answers."""


class Hall(Service, name="hall", migrations=_TABLES):
    """Seats."""

    @handles(Take)
    def take(self, command: Take) -> Done[None]:
        self.db.execute("insert into seats (name, taken) values (?, 1)", (command.name,))
        return Done()

    @answers(TakenSeats)
    def taken(self, query: TakenSeats) -> list[str]:
        return [str(name) for (name,) in self.db.execute("select name from seats order by name")]

    @answers(Misspelt)
    def misspelt(self, query: Misspelt) -> None:
        raise KeyError("stalls")

    @answers(Meddling)
    def meddle(self, query: Meddling) -> None:
        self.db.execute("insert into seats (name) values ('standing')")


class Visit(Saga, name="visit"):
    """One seat."""

    input: Take

    @retriable(to="hall")
    def take(self, wish: Take, done: Results) -> Take:
        return wish


@pytest.fixture
def open_system(tmp_path: Path) -> Any:
    """A system with a hall, and nobody in it."""
    with System(tmp_path, sagas=[Visit], services=[Hall]) as system:
        yield system


def test_a_question_sees_what_was_committed_before(open_system: System) -> None:
    """Whoever has heard an outcome finds it when asking."""
    assert open_system.ask("hall", TakenSeats()) == []
    for name in ("A1", "B2"):
        assert isinstance(open_system.run(Visit, Take(name), key=name), Completed)
        assert name in open_system.ask("hall", TakenSeats())


def test_what_the_method_raises_reaches_the_caller_alone(open_system: System) -> None:
    """A question that fails harms nobody but who asked."""
    with pytest.raises(KeyError, match="stalls"):
        open_system.ask("hall", Misspelt())
    assert open_system.ask("hall", TakenSeats()) == []
    assert open_system.status().restarts == 0


def test_a_question_can_change_nothing(open_system: System) -> None:
    """A method that answers can't write, and those that handle commands still can."""
    with pytest.raises(apsw.ReadOnlyError):
        open_system.ask("hall", Meddling())
    open_system.run(Visit, Take("A1"))
    assert open_system.ask("hall", TakenSeats()) == ["A1"]


@pytest.mark.parametrize(
    ("service", "query", "problem"),
    [
        ("stage", TakenSeats(), r"unknown service 'stage'; wanted one of \['hall'\]"),
        ("hall", Unheard(), r"'hall' does not answer Unheard; it answers \['Meddling', 'Misspelt', 'TakenSeats'\]"),
    ],
)
def test_a_question_that_nobody_answers_is_refused_at_once(
    open_system: System, service: str, query: object, problem: str
) -> None:
    """The error names what was asked and what could have been."""
    with pytest.raises(PlanError, match=problem):
        open_system.ask(service, query)


def test_a_question_outlives_a_crash_of_its_service() -> None:
    """It waits in the mailbox, like every letter."""
    with SimulatedSystem(sagas=[Visit], services=[Hall]) as system:
        system.run(Visit, Take("A1"))
        system.kill("hall")
        assert system.ask("hall", TakenSeats()) == ["A1"]
        assert system.status().restarts == 1


def test_questions_stand_in_line_with_commands() -> None:
    """In whatever order they come, in one turn or several, a question sees all commands that came before it."""
    with SimulatedSystem(sagas=[Visit], services=[Hall]) as system:
        for number in range(20):
            handle = system.submit(Visit, Take(f"{number:02}"))
            seen = system.ask("hall", TakenSeats())
            assert seen == sorted(seen)
            handle.result()
            assert f"{number:02}" in system.ask("hall", TakenSeats())


def test_a_service_answers_a_query_in_one_way() -> None:
    """Two methods for one query are found when the class is made."""
    with pytest.raises(HandlerError, match=r"Twice: 'one' and 'two' both say @answers\(TakenSeats\)"):

        class Twice(Service, name="twice"):
            @answers(TakenSeats)
            def one(self, query: TakenSeats) -> int:
                return 1

            @answers(TakenSeats)
            def two(self, query: TakenSeats) -> int:
                return 2
