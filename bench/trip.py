"""The work of the cluster's figures: a trip of three steps over three services, one in ten refused at the second.

A row is written for each step. Small on purpose: what is measured is the way of a saga, and not what services do on it.
"""

import msgspec

from amends import Done, Refused, Results, Retry, Saga, Service, handles, retriable, step, undoes

_TABLE = ["create table booked (name text primary key)"]
_INSERT = "insert into booked values (?)"

# Long enough that nothing is asked for twice because a machine is busy.
_PATIENT = Retry(attempts=10, base_s=1.0, cap_s=5.0)
_ATTEMPT_S = 60.0


class Trip(msgspec.Struct, frozen=True):
    """The saga's input, and what every command says."""

    name: str
    number: int


class TakeSeat(Trip, frozen=True):
    """The first command."""


class TakeFare(Trip, frozen=True):
    """The second."""


class PrintTicket(Trip, frozen=True):
    """The last."""


class BookTrip(Saga, name="book-trip", deadline_s=600.0):
    """Seat, then fare, then ticket."""

    input: Trip

    @step(to="seats", retry=_PATIENT, timeout_s=_ATTEMPT_S)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(trip.name, trip.number)

    @step(to="fares", after=[seat], retry=_PATIENT, timeout_s=_ATTEMPT_S)
    def fare(self, trip: Trip, done: Results) -> TakeFare:
        return TakeFare(trip.name, trip.number)

    @retriable(to="tickets", after=[fare], retry=_PATIENT, timeout_s=_ATTEMPT_S)
    def ticket(self, trip: Trip, done: Results) -> PrintTicket:
        return PrintTicket(trip.name, trip.number)


class Seats(Service, name="seats", migrations=_TABLE):
    """The first service."""

    @handles(TakeSeat)
    def take(self, command: TakeSeat) -> Done[str]:
        self.db.execute(_INSERT, (command.name,))
        return Done(f"seat {command.number}")

    @undoes(TakeSeat)
    def release(self, command: TakeSeat, result: str) -> None:
        self.db.execute("delete from booked where name = ?", (command.name,))


class Fares(Service, name="fares", migrations=_TABLE):
    """The second."""

    @handles(TakeFare)
    def take(self, command: TakeFare) -> Done[str] | Refused:
        if command.number % 10 == 0:
            return Refused("no money")
        self.db.execute(_INSERT, (command.name,))
        return Done(f"fare {command.number}")

    @undoes(TakeFare)
    def give_back(self, command: TakeFare, result: str) -> None:
        self.db.execute("delete from booked where name = ?", (command.name,))


class Tickets(Service, name="tickets", migrations=_TABLE):
    """The third."""

    @handles(PrintTicket)
    def print(self, command: PrintTicket) -> Done[None]:
        self.db.execute(_INSERT, (command.name,))
        return Done()


SERVICES = {service.name: service for service in (Seats, Fares, Tickets)}
