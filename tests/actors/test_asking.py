"""Questions: what a service tells callers outside, and when."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from amends import (
    Completed,
    DatabaseError,
    Done,
    HandlerError,
    PlanError,
    Results,
    Saga,
    Service,
    System,
    SystemStopped,
    answers,
    handles,
    retriable,
)
from amends.actors.asking import Question
from amends.testing import SimulatedSystem
from tests.actors.patience import until

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


class Lazy(Struct, frozen=True):
    """Query: one that is answered bit by bit."""


class Careless(Struct, frozen=True):
    """Query: one that begins a transaction and leaves it."""


class Endless(Struct, frozen=True):
    """Query: one that hangs."""


class Unheard(Struct, frozen=True):
    """Query: one that nobody answers."""


class Hall(Service, name="hall", migrations=_TABLES, handler_timeout_s=0.2):
    """Seats.

    Args:
        asked: the names of the queries that were answered.
    """

    def __init__(self, asked: list[str] | None = None) -> None:
        super().__init__()
        self.asked = [] if asked is None else asked

    @handles(Take)
    def take(self, command: Take) -> Done[None]:
        self.db.execute("insert into seats (name, taken) values (?, 1)", (command.name,))
        return Done()

    @answers(TakenSeats)
    def taken(self, query: TakenSeats) -> list[str]:
        self.asked.append("TakenSeats")
        return [str(name) for (name,) in self.db.execute("select name from seats order by name")]

    @answers(Lazy)
    def lazily(self, query: Lazy) -> Any:
        return self.db.execute("select name from seats")

    @answers(Careless)
    def carelessly(self, query: Careless) -> None:
        self.db.execute("begin")

    @answers(Endless)
    def endlessly(self, query: Endless) -> None:
        self.asked.append("Endless")
        self.db.execute("with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n")

    @answers(Misspelt)
    def misspelt(self, query: Misspelt) -> None:
        raise KeyError("stalls")

    @answers(Meddling)
    def meddle(self, query: Meddling) -> None:
        self.asked.append("Meddling")
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
    with pytest.raises(DatabaseError):
        open_system.ask("hall", Meddling())
    open_system.run(Visit, Take("A1"))
    assert open_system.ask("hall", TakenSeats()) == ["A1"]


@pytest.mark.parametrize(
    ("service", "query", "problem"),
    [
        ("stage", TakenSeats(), r"unknown service 'stage'; wanted one of \['hall'\]"),
        ("hall", Unheard(), r"'hall' does not answer Unheard; it answers \['Careless', 'Endless', 'Lazy', "),
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


def test_an_answer_is_a_value(open_system: System) -> None:
    """What would be read, or written, only later and in another thread is refused."""
    with pytest.raises(HandlerError, match="wanted a value"):
        open_system.ask("hall", Lazy())


def test_a_transaction_of_the_methods_own_does_not_stay(open_system: System) -> None:
    """The next turn begins as ever."""
    open_system.ask("hall", Careless())
    assert isinstance(open_system.run(Visit, Take("A1"), key="A1"), Completed)
    assert open_system.status().retries == 0


def test_a_question_whose_caller_has_gone_is_not_answered() -> None:
    """Whoever waits behind it is served at once."""
    asked: list[str] = []
    with SimulatedSystem(sagas=[Visit], services=[Hall.spec(asked)]) as system:
        gone: Future[Any] = Future()
        gone.cancel()
        system._running.mailboxes["hall"].tell(Question(Meddling(), gone))
        assert system.ask("hall", TakenSeats()) == []
        assert asked == ["TakenSeats"]


def test_a_question_that_hangs_is_asked_once(tmp_path: Path) -> None:
    """Its caller hears nothing, and the service goes on for all others after one restart."""
    asked: list[str] = []
    with System(tmp_path, sagas=[Visit], services=[Hall.spec(asked)]) as system:
        with pytest.raises(TimeoutError):
            system.ask("hall", Endless(), timeout_s=0.01)
        assert isinstance(system.run(Visit, Take("A1"), key="A1", timeout_s=30.0), Completed)
        assert asked == ["Endless"]
        assert system.status().restarts == 1


def test_who_asks_a_system_that_stops_is_told(tmp_path: Path) -> None:
    """And does not wait for the end of its patience."""
    told: list[str] = []
    system = System(tmp_path, sagas=[Visit], services=[Hall]).open()

    def ask() -> None:
        with pytest.raises(SystemStopped) as caught:
            system.ask("hall", Endless(), timeout_s=60.0)
        told.append(str(caught.value))

    caller = threading.Thread(target=ask)
    caller.start()
    until(lambda: system.status().mailboxes["hall"].waits > 0)
    system.stop(timeout_s=0.1)
    caller.join(30.0)
    assert len(told) == 1
