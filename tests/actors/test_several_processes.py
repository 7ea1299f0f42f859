"""One service in several processes on one PostgreSQL database: each step once, whoever is asked.

Each process is a service of its own with a connection, a memory and a clock of its own; where they are to meet, they
run in threads.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from amends import (
    DatabaseError,
    Done,
    IdempotencyKey,
    Later,
    Refused,
    Service,
    Unavailable,
    handles,
    undoes,
    verifies,
)
from amends.actors import postgres
from amends.actors.database.postgres import PostgresDatabase
from amends.actors.database.scripts import Scripts
from amends.actors.service import ServiceSpec
from amends.protocol.messages import CANCELLED, SagaId, Undone
from tests.actors.trip import LONG_S, Script, Seats, TakeSeat
from tests.actors.world import SAGA, ServiceUnderTest
from tests.conformance.databases import on_server
from tests.conformance.test_databases import ITEMS
from tests.servers import admin, postgres_schema

TAKE = TakeSeat("a")


class Processes:
    """Those that serve one database.

    Attributes:
        url: of its schema.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.all: list[ServiceUnderTest] = []

    def start(self, spec: ServiceSpec) -> ServiceUnderTest:
        """One more."""
        worker = f"process {len(self.all)}"
        made = ServiceUnderTest(lambda scripts: self.open(scripts, worker), spec)
        self.all.append(made)
        return made

    def open(self, scripts: Scripts, worker: str = "") -> PostgresDatabase:
        return on_server(self.url, scripts, worker)

    def rows(self, query: str) -> list[Any]:
        """What is committed."""
        with admin(postgres.target(self.url).schema) as db:
            return db.execute(query.encode()).fetchall()


@pytest.fixture
def processes(nobody_left: None) -> Iterator[Processes]:
    """None yet."""
    with postgres_schema() as url:
        made = Processes(url)
        yield made
        for process in made.all:
            process.stop()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each comes back with; all begin at the same time."""
    found: dict[int, Any] = {}
    barrier = threading.Barrier(len(calls))

    def run(number: int) -> None:
        barrier.wait(LONG_S)
        found[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    return [found[number] for number in range(len(calls))]


SEAT = Done(msgspec.Raw(b'"seat of a"'))


def test_duplicates_to_both_at_once_are_one_effect(processes: Processes) -> None:
    """Both answer the same, and the handler has run for good in one of them."""
    first, second = (processes.start(Seats.spec(Script())) for _ in range(2))
    for number in range(20):
        step = f"step {number}"
        answers = at_once(lambda: first.ask(first.do(TAKE, step)), lambda: second.ask(second.do(TAKE, step)))  # noqa: B023 - run at once
        assert answers == [SEAT, SEAT]
    assert processes.rows("select count(*) from effects") == [(20,)]


def test_an_undo_that_meets_its_do(processes: Processes) -> None:
    """Whichever comes first: nothing is done that is not undone."""
    first, second = (processes.start(Seats.spec(Script())) for _ in range(2))
    for number in range(20):
        step = f"step {number}"
        done, undone = at_once(lambda: first.ask(first.do(TAKE, step)), lambda: second.ask(second.undo(step)))  # noqa: B023 - run at once
        assert undone == Undone()
        assert done in (SEAT, Refused(CANCELLED))
        happened = [what for (what,) in processes.rows("select what from effects order by id")]
        assert happened.count("seat") == happened.count("free seat")
        assert processes.rows(f"select state from amends_fence where step = '{step}'") == [("undone",)]


def test_a_saga_that_another_process_serves_is_waited_for(processes: Processes) -> None:
    """Not for ever: whoever asked is told to ask again. Other sagas are served meanwhile."""
    service = processes.start(Seats.spec(Script()))
    other = processes.open(Seats.scripts())
    other.begin([SAGA])
    answer = service.ask(service.do(TAKE))
    assert isinstance(answer, Unavailable)
    assert "lock timeout" in answer.reason
    elsewhere = msgspec.structs.replace(service.do(TAKE), saga_id=SagaId("other"))
    service.tell(elsewhere)
    assert processes.rows("select saga_id from amends_fence") == [("other",)]
    other.rollback()
    other.close()
    assert service.ask(service.do(TAKE)) == SEAT


# Turns that get into each other's way.


class Move(msgspec.Struct, frozen=True):
    """Take a unit from one item and give it to another."""

    source: str
    target: str


class Moving(Service, name="moving", migrations=(ITEMS,)):
    """Changes one row, then another."""

    def __init__(self, between: Callable[[], None], *, careless: bool) -> None:
        super().__init__()
        self.between = between
        self.careless = careless

    @handles(Move)
    def move(self, command: Move) -> Done[None]:
        self.db.execute("update items set units = units - 1 where name = ?", (command.source,))
        self.between()
        with suppress(DatabaseError if self.careless else KeyError):
            self.db.execute("update items set units = units + 1 where name = ?", (command.target,))
        return Done()


@pytest.mark.parametrize("careless", [False, True])
def test_turns_that_lock_each_other_out_are_run_again(processes: Processes, careless: bool) -> None:
    """One of the two is rolled back and run once more, even if its handler took no notice."""
    both_hold_one = threading.Barrier(2)

    def between() -> None:
        with suppress(threading.BrokenBarrierError):
            both_hold_one.wait(LONG_S)
        both_hold_one.abort()

    first, second = (processes.start(Moving.spec(between, careless=careless)) for _ in range(2))
    with admin(postgres.target(processes.url).schema) as db:
        db.execute("insert into items values ('A', 10), ('B', 10)")
    moves = first.do(Move("A", "B")), msgspec.structs.replace(second.do(Move("B", "A")), saga_id=SagaId("other"))
    at_once(lambda: first.tell(moves[0]), lambda: second.tell(moves[1]))
    assert processes.rows("select state from amends_fence") == [("done",), ("done",)]
    assert processes.rows("select name, units from items order by name") == [("A", 10), ("B", 10)]


class Enter(msgspec.Struct, frozen=True):
    """A name, once."""

    name: str


class Book(Service, name="book", migrations=("create table names (name text primary key)",)):
    """Notices names that are there already."""

    @handles(Enter)
    def enter(self, command: Enter) -> Done[bool]:
        try:
            self.db.execute("insert into names values (?)", (command.name,))
        except DatabaseError as error:
            if error.violates != "unique":
                raise
            return Done(self.db.execute("select count(*) from names").get == 0)
        return Done(True)


def test_a_handler_may_catch_that_a_row_is_there(processes: Processes) -> None:
    """It goes on, and so does the turn with all that stood in it before."""
    book = processes.start(Book.spec())
    messages = [book.do(Enter(name), step=str(n)) for n, name in enumerate(["a", "a", "b", "b", "c"])]
    answers = [reply.answer for reply in book.tell(*messages)]
    assert answers == [Done(msgspec.Raw(answer)) for answer in (b"true", b"false", b"true", b"false", b"true")]
    assert processes.rows("select name from names order by name") == [("a",), ("b",), ("c",)]


# What waits.


class Take(msgspec.Struct, frozen=True):
    """The room, as soon as it is free."""

    guest: str


class Leave(msgspec.Struct, frozen=True):
    """The room."""


class Room(Service, name="room", migrations=("create table guests (guest text, saga_id text, step text, has bigint)",)):
    """One room, and those who wait for it."""

    @handles(Take)
    def take(self, command: Take) -> Done[str] | Refused | Later:
        if self.db.execute("select 1 from guests where has = 1").get is not None:
            self.db.execute("insert into guests values (?, ?, ?, 0)", (command.guest, self.key.saga_id, self.key.step))
            return Later("taken")
        self.db.execute("delete from guests where guest = ?", (command.guest,))
        self.db.execute("insert into guests values (?, ?, ?, 1)", (command.guest, self.key.saga_id, self.key.step))
        return Done(command.guest)

    @undoes(Take)
    def give_back(self, command: Take, result: str | None) -> None:
        self.db.execute("delete from guests where guest = ?", (command.guest,))

    @handles(Leave)
    def leave(self, command: Leave) -> Done[None]:
        self.db.execute("delete from guests where has = 1")
        for saga_id, step in self.db.execute("select saga_id, step from guests").fetchall():
            self.again(IdempotencyKey(saga_id, step))
        return Done()


def test_who_waits_in_one_process_is_served_though_another_one_set_it_free(processes: Processes) -> None:
    """Within a second: it is asked again by itself, so no waking can be lost."""
    first, second = (processes.start(Room.spec()) for _ in range(2))
    assert first.ask(first.do(Take("a"), step="a")) == Done(msgspec.Raw(b'"a"'))
    assert first.tell(first.do(Take("b"), step="b")) == []
    assert second.ask(second.do(Leave(), step="leave")) == Done(msgspec.Raw(b"null"))
    first.runtime.advance(0.9)
    assert first.saga.take() == []
    first.runtime.advance(0.2)
    assert [reply.answer for reply in first.saga.take()] == [Done(msgspec.Raw(b'"b"'))]
    first.runtime.advance(10)
    assert first.saga.take() == []


def test_what_waits_in_one_process_is_undone_by_another(processes: Processes) -> None:
    """The one that still remembers it learns so from the fence, says so once, and forgets it."""
    first, second = (processes.start(Room.spec()) for _ in range(2))
    first.ask(first.do(Take("a"), step="a"))
    assert first.tell(first.do(Take("b"), step="b")) == []
    assert second.ask(second.undo("b")) == Undone()
    first.runtime.advance(10)
    assert [reply.answer for reply in first.saga.take()] == [Refused(CANCELLED)]
    assert processes.rows("select guest from guests") == [("a",)]


# Calls outside.


class Pay(msgspec.Struct, frozen=True):
    """By a provider."""


class Till(Service, name="till"):
    """Calls a provider, and undoes by another call."""

    def __init__(self, calls: list[str], fails: list[bool]) -> None:
        super().__init__()
        self.calls = calls
        self.fails = fails

    @handles(Pay, outside=True, limit_s=20.0)
    def pay(self, command: Pay, key: IdempotencyKey) -> Done[str]:
        self.calls.append("pay")
        if self.fails:
            raise ConnectionError(self.fails.pop())
        return Done("paid")

    @verifies(Pay)
    def find(self, command: Pay, key: IdempotencyKey) -> Done[str] | None:
        self.calls.append("find")
        return None

    @undoes(Pay, outside=True, limit_s=20.0)
    def pay_back(self, command: Pay, result: str, key: IdempotencyKey) -> None:
        self.calls.append("pay back")


def tills(processes: Processes) -> tuple[ServiceUnderTest, ServiceUnderTest, list[str], list[bool]]:
    """Two, and what they have called; the clocks are the same."""
    calls: list[str] = []
    fails: list[bool] = []
    first, second = (processes.start(Till.spec(calls, fails)) for _ in range(2))
    for process in (first, second):
        process.runtime.time = process.service.clock = first.runtime.time
    return first, second, calls, fails


AT_IT = Unavailable("another process of the service is at it")
PAID = Done(msgspec.Raw(b'"paid"'))


def test_a_call_of_one_process_is_left_to_it(processes: Processes) -> None:
    """Another one that is asked about the step calls nobody, and has the saga ask again."""
    first, second, calls, _ = tills(processes)
    assert first.tell(first.do(Pay())) == []
    for message in (second.do(Pay()), second.undo(), second.resolve()):
        assert second.ask(message) == AT_IT
    assert [reply.answer for reply in first.run_calls()] == [PAID]
    assert second.ask(second.do(Pay())) == PAID
    assert (calls, list(second.runtime.calls)) == (["pay"], [])


def test_an_undo_of_one_process_is_left_to_it(processes: Processes) -> None:
    """The same for calls that take back."""
    first, second, calls, _ = tills(processes)
    first.tell(first.do(Pay()))
    first.run_calls()
    assert first.tell(first.undo()) == []
    assert second.ask(second.undo()) == AT_IT
    assert [reply.answer for reply in first.run_calls()] == [Undone()]
    assert second.ask(second.undo()) == Undone()
    assert calls == ["pay", "pay back"]


def test_a_call_of_a_process_that_died_is_asked_about(processes: Processes) -> None:
    """At once, by whoever is asked next."""
    first, second, calls, _ = tills(processes)
    first.tell(first.do(Pay()))
    first.stop()
    assert second.tell(second.do(Pay())) == []
    assert [reply.answer for reply in second.run_calls()] == [PAID]
    assert calls == ["find", "pay"]


def test_a_call_that_takes_too_long_is_asked_about(processes: Processes) -> None:
    """Though its process is alive."""
    first, second, calls, _ = tills(processes)
    first.tell(first.do(Pay()))
    second.runtime.advance(20)
    assert second.tell(second.do(Pay())) == []
    assert [reply.answer for reply in second.run_calls()] == [PAID]
    first.run_calls()
    assert first.ask(first.do(Pay())) == PAID
    assert calls == ["find", "pay", "pay"]


def test_a_call_that_failed_is_anybodys(processes: Processes) -> None:
    """Whoever is asked next asks about it, as one process alone would."""
    first, second, calls, fails = tills(processes)
    fails.append(True)
    first.tell(first.do(Pay()))
    assert [type(reply.answer) for reply in first.run_calls()] == [Unavailable]
    assert second.tell(second.do(Pay())) == []
    assert [reply.answer for reply in second.run_calls()] == [PAID]
    assert calls == ["pay", "find", "pay"]
