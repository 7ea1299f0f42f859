"""A trip in three steps, each of which writes one row: what the engine and a database cost, and little else."""

import time
from collections import deque
from pathlib import Path

import msgspec

from amends import Done, Handle, Results, Saga, Service, System, handles, retriable, step, undoes
from bench.work import Stopwatch, Timing

_TABLE = "create table booked (id {}, name text not null)"
TABLES = {
    "sqlite": [_TABLE.format("integer primary key")],
    "postgres": [_TABLE.format("bigint generated always as identity primary key")],
}
_WARM_UP = 100


class Book(msgspec.Struct, frozen=True):
    """One thing for one traveller."""

    name: str


class _Booking:
    """What the three services do."""

    @handles(Book)
    def book(self, command: Book) -> Done[None]:
        self.db.execute("insert into booked (name) values (?)", (command.name,))  # type: ignore[attr-defined]
        return Done()

    @undoes(Book)
    def cancel(self, command: Book, result: None) -> None:
        self.db.execute("delete from booked where name = ?", (command.name,))  # type: ignore[attr-defined]


class Seats(_Booking, Service, name="seats", migrations=TABLES):
    """The first service."""


class Rooms(_Booking, Service, name="rooms", migrations=TABLES):
    """The second."""


class Tickets(_Booking, Service, name="tickets", migrations=TABLES):
    """The last; what it does is never undone."""


class Trip(Saga, name="trip"):
    """Seat, then room, then ticket."""

    input: Book

    @step(to="seats")
    def seat(self, trip: Book, done: Results) -> Book:
        return trip

    @step(to="rooms", after=[seat])
    def room(self, trip: Book, done: Results) -> Book:
        return trip

    @retriable(to="tickets", after=[room])
    def ticket(self, trip: Book, done: Results) -> Book:
        return trip


def in_files(folder: Path, in_flight: int, count: int) -> Timing:
    """Run `count` trips, `in_flight` at a time."""
    return measure(folder, "all in files", in_flight, count)


def measure(place: Path | str, what: str, in_flight: int, count: int) -> Timing:
    """The same anywhere."""
    with System(place, sagas=[Trip], services=[Seats, Rooms, Tickets]) as system:
        _run(system, "warm-up", in_flight, _WARM_UP, Stopwatch())
        watch = Stopwatch()
        _run(system, "trip", in_flight, count, watch)
        return watch.timing(what, in_flight)


def _run(system: System, name: str, in_flight: int, count: int, watch: Stopwatch) -> None:
    under_way: deque[tuple[float, Handle]] = deque()

    def end_first() -> None:
        began_s, handle = under_way.popleft()
        handle.result()
        watch.latencies_s.append(time.perf_counter() - began_s)

    for number in range(count):
        if len(under_way) >= in_flight:
            end_first()
        key = f"{name}-{number}"
        under_way.append((time.perf_counter(), system.submit(Trip, Book(key), key=key)))
    while under_way:
        end_first()
