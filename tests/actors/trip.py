"""A small saga on three services for tests: seat, then fare (both can be undone), then ticket (after the decision).

Every effect is a row of an `effects` table that allows doubles, so a test sees each one that
happened. What a handler does before its effect is a test's own choice, by `Script`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec

from amends import Database, Done, Refused, Results, Retry, Saga, Service, Unavailable, handles, retriable, step, undoes

_EFFECTS = "create table effects (id {}, what text not null, name text not null)"
EFFECTS = {
    "sqlite": [_EFFECTS.format("integer primary key")],
    "postgres": [_EFFECTS.format("bigint generated always as identity primary key")],
}
QUICK = Retry(attempts=3, base_s=0.01, cap_s=0.05, slow_s=0.1)
LONG_S = 30.0
"""How long a test waits for something that is sure to come, in seconds: a limit, never a pace."""

SERVICES = ("seats", "fares", "tickets")


class Trip(msgspec.Struct, frozen=True):
    """The saga's input."""

    name: str
    seats: int = 1


class TakeSeat(msgspec.Struct, frozen=True):
    """The first command."""

    name: str


class TakeFare(msgspec.Struct, frozen=True):
    """The second."""

    name: str


class PrintTicket(msgspec.Struct, frozen=True):
    """The last."""

    name: str


class BookTrip(Saga, name="book-trip"):
    """Seat, then fare, then ticket."""

    input: Trip

    @step(to="seats", retry=QUICK)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(trip.name)

    @step(to="fares", after=[seat], retry=QUICK)
    def fare(self, trip: Trip, done: Results) -> TakeFare:
        return TakeFare(trip.name)

    @retriable(to="tickets", after=[fare], retry=QUICK)
    def ticket(self, trip: Trip, done: Results) -> PrintTicket:
        return PrintTicket(trip.name)


class LossyTrip(Saga, name="lossy-trip"):
    """The same where messages may be lost, so that it asks again soon."""

    input: Trip
    _often = Retry(attempts=1000, base_s=0.01, cap_s=0.05, slow_s=0.1)

    @step(to="seats", retry=_often, timeout_s=0.1)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(trip.name)

    @step(to="fares", after=[seat], retry=_often, timeout_s=0.1)
    def fare(self, trip: Trip, done: Results) -> TakeFare:
        return TakeFare(trip.name)

    @retriable(to="tickets", after=[fare], retry=_often, timeout_s=0.1)
    def ticket(self, trip: Trip, done: Results) -> PrintTicket:
        return PrintTicket(trip.name)


class HastyTrip(Saga, name="hasty-trip"):
    """The first two steps, of which the second is given up on soon."""

    input: Trip
    _once = Retry(attempts=1, base_s=0.01, cap_s=0.05, slow_s=0.1)

    @step(to="seats", retry=_once, timeout_s=LONG_S)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(trip.name)

    @step(to="fares", after=[seat], retry=_once, timeout_s=0.2)
    def fare(self, trip: Trip, done: Results) -> TakeFare:
        return TakeFare(trip.name)


Act = Callable[[Any, str], Any]


class Script:
    """What handlers do beside their effect, by effect; a value returned is the answer, and then there is no effect."""

    def __init__(self, **acts: Act) -> None:
        self.acts = acts

    def play(self, service: Service, what: str, name: str) -> Any:
        act = self.acts.get(what)
        return None if act is None else act(service, name)


class _Acting:
    """What the three services share."""

    db: Database
    script: Script

    def _act(self, what: str, name: str) -> Any:
        answer = self.script.play(self, what, name)  # type: ignore[arg-type]  # only services are made of it
        if answer is None:
            self.db.execute("insert into effects (what, name) values (?, ?)", (what, name))
        return answer


class Seats(_Acting, Service, name="seats", migrations=EFFECTS, handler_timeout_s=0.5):
    """The first service."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    @handles(TakeSeat)
    def take(self, command: TakeSeat) -> Done[str] | Refused | Unavailable:
        return self._act("seat", command.name) or Done(f"seat of {command.name}")

    @undoes(TakeSeat)
    def free(self, command: TakeSeat, result: str) -> Any:
        assert result == f"seat of {command.name}"
        return self._act("free seat", command.name)


class Fares(_Acting, Service, name="fares", migrations=EFFECTS, handler_timeout_s=0.5):
    """The second."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    @handles(TakeFare)
    def take(self, command: TakeFare) -> Done[int] | Refused | Unavailable:
        return self._act("fare", command.name) or Done(7)

    @undoes(TakeFare)
    def give_back(self, command: TakeFare, result: int) -> Any:
        return self._act("give back fare", command.name)


class Tickets(_Acting, Service, name="tickets", migrations=EFFECTS, handler_timeout_s=0.5):
    """The last; what it does is never undone."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    @handles(PrintTicket)
    def print(self, command: PrintTicket) -> Done[str] | Refused | Unavailable:
        return self._act("ticket", command.name) or Done(f"ticket of {command.name}")


def effects(folder: Path, name: str | None = None) -> dict[str, list[str]]:
    """What each service really did, in order, read from its database by SQL."""
    found = {}
    for service in SERVICES:
        path = folder / f"{service}.db"
        rows = rows_of(path, "select what, name from effects order by id") if path.exists() else []
        found[service] = [what for what, whose in rows if name in (None, whose)]
    return found


def rows_of(path: Path, query: str, *values: Any) -> list[Any]:
    """What a query finds in a database that nobody needs to be stopped for."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(10_000)
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


COMPLETED = {"seats": ["seat"], "fares": ["fare"], "tickets": ["ticket"]}
FARE_REFUSED: dict[str, list[str]] = {"seats": ["seat", "free seat"], "fares": [], "tickets": []}


def all_or_nothing(folder: Path, names: list[str]) -> list[str]:
    """Problems found by SQL: a trip that is neither fully done nor fully undone, anything open, any double."""
    problems = []
    by_name: dict[str, dict[str, list[str]]] = {name: {s: [] for s in SERVICES} for name in names}
    for service in SERVICES:
        for what, name in rows_of(folder / f"{service}.db", "select what, name from effects order by id"):
            by_name[name][service].append(what)
        begun = rows_of(folder / f"{service}.db", "select saga_id, step from amends_fence where state = 'begun'")
        problems += [f"{service}: left open {row}" for row in begun]
    undone: tuple[dict[str, list[str]], ...] = (
        {"seats": [], "fares": [], "tickets": []},
        {"seats": ["seat", "free seat"], "fares": [], "tickets": []},
        {"seats": ["seat", "free seat"], "fares": ["fare", "give back fare"], "tickets": []},
    )
    instances = rows_of(folder / "journal.db", "select key, state from instances")
    if len(instances) != len(names) or {key for key, _ in instances} != set(names):
        problems.append(f"{len(instances)} instances, wanted {len(names)}")
    for key, state in instances:
        fits = by_name[key] == COMPLETED if state == "completed" else by_name[key] in undone
        if state not in ("completed", "compensated") or not fits:
            problems.append(f"{key} is {state}: {by_name[key]}")
    return problems
