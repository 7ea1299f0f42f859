"""The trip's services, or its sagas, as a process of its own; what it is to do stands in one JSON argument.

python -m tests.integration.apart serve|run '{"folder": ..., "url": ..., "prefix": ...}'
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from amends import Completed, Refused, Results, Retry, Saga, Service, System, retriable, step
from amends.actors.transport.rabbitmq import RabbitMq
from amends.actors.tree import Ground, Runtimes
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from amends.supervisor.runtimes.threads import Threads
from tests.actors.trip import EFFECTS, Fares, PrintTicket, Script, Seats, TakeFare, TakeSeat, Tickets, Trip

REFUSED_EVERY = 4


class PatientTrip(Saga, name="patient-trip"):
    """The trip, for those who wait; what is lost is asked for again after a second."""

    input: Trip
    _patient = Retry(attempts=1000, base_s=0.05, cap_s=0.5)

    @step(to="seats", retry=_patient, timeout_s=1.0)
    def seat(self, trip: Trip, done: Results) -> TakeSeat:
        return TakeSeat(trip.name)

    @step(to="fares", after=[seat], retry=_patient, timeout_s=1.0)
    def fare(self, trip: Trip, done: Results) -> TakeFare:
        return TakeFare(trip.name)

    @retriable(to="tickets", after=[fare], retry=_patient, timeout_s=1.0)
    def ticket(self, trip: Trip, done: Results) -> PrintTicket:
        return PrintTicket(trip.name)


class PatientSeats(Seats, name="seats", migrations=EFFECTS, handler_timeout_s=60.0):
    """Nobody gives it up."""


class OldFares(Service, name="fares", migrations=EFFECTS):
    """As it was before there were fares."""


class Skewed(System):
    """A system on a machine whose clock is wrong.

    Attributes:
        offset_s: how far it is ahead.
    """

    offset_s = 0.0

    def _ground(self) -> Ground:
        clock = SystemClock()
        right = clock.now_at
        clock.now_at = lambda: right() + self.offset_s
        runtimes = Runtimes(Pool(clock), Threads(clock), Pool(clock, "amends-supervisors"))
        return Ground(runtimes, self._storage, self._connect)


def names(count: int) -> list[str]:
    """The trips of that many."""
    return [f"trip-{number}" for number in range(1, count + 1)]


def say(*words: object) -> None:
    """Tell the parent; in one piece, since several threads do."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


class Said(logging.Handler):
    """Tells the parent of every event that a person should look at."""

    def emit(self, record: logging.LogRecord) -> None:
        say("event", json.loads(record.getMessage())["event"])


def refuse_some(service: object, name: str) -> Refused | None:
    """Every fourth trip has no money."""
    return Refused("no money") if int(name.split("-")[1]) % REFUSED_EVERY == 0 else None


def hang_once(folder: Path) -> Callable[[object, str], None]:
    """The first process to come here, of all that do, stays; who it is stands in a file."""

    def hang(service: object, name: str) -> None:
        try:
            with (folder / "hangs").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return
        threading.Event().wait()

    return hang


def serve(told: dict[str, Any], broker: RabbitMq, folder: Path) -> None:
    """Serve until the parent says otherwise."""
    script = Script(fare=refuse_some, **({"seat": hang_once(folder)} if told.get("hangs") else {}))
    fares = OldFares if told.get("old") else Fares.spec(script)
    services = [PatientSeats.spec(script), fares, Tickets.spec(script)]
    with Skewed(folder, sagas=[], services=services, broker=broker):
        say("open")
        sys.stdin.read()


def run(told: dict[str, Any], broker: RabbitMq, folder: Path) -> None:
    """Book trips, and say what becomes of each."""

    def tell(name: str, outcome: "Future[Any]") -> None:
        found = outcome.result()
        say("ended", name, type(found).__name__, "" if isinstance(found, Completed) else found.reason)

    elsewhere = [Seats, Fares, Tickets]
    with Skewed(folder, sagas=[PatientTrip], services=[], elsewhere=elsewhere, node="node", broker=broker) as system:
        for name in names(told["count"]):
            handle = system.start(PatientTrip, Trip(name), key=name)
            handle.add_done_callback(lambda outcome, name=name: tell(name, outcome))  # type: ignore[misc]
        say("open")
        sys.stdin.read()


if __name__ == "__main__":
    told = json.loads(sys.argv[2])
    Skewed.offset_s = told.get("offset_s", 0.0)
    log = logging.getLogger("amends")
    log.addHandler(Said(logging.WARNING))
    {"serve": serve, "run": run}[sys.argv[1]](told, RabbitMq(told["url"], prefix=told["prefix"]), Path(told["folder"]))
