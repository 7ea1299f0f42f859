"""One process of a cluster that is measured: a node, services, or both; `python -m bench.part JSON`.

It obeys lines on its standard input and answers with lines of JSON: "begin" starts the count of processor
time, "drive IN_FLIGHT COUNT TAG" runs so many sagas from inside, "end" tells the time and ends. Started
by `bench.cluster`, which says when.
"""

import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

import msgspec

from amends import System
from amends.actors.transport.port import Broker
from amends.actors.transport.postgres import PostgresQueue
from amends.actors.transport.rabbitmq import RabbitMq
from bench.trip import Book, Rooms, Seats, Tickets, Trip

SERVICES = {service.name: service for service in (Seats, Rooms, Tickets)}

_WARM_UP = 50


class Part(msgspec.Struct, frozen=True):
    """What a process is.

    Attributes:
        place: the folder or the URL of all that it keeps.
        broker: RabbitMQ's or PostgreSQL's URL; empty if all is in this process.
        prefix: of RabbitMQ's queues.
        node: its name; empty if it runs no sagas.
        services: those it serves.
    """

    place: str
    broker: str = ""
    prefix: str = ""
    node: str = ""
    services: tuple[str, ...] = ()


class Driven(msgspec.Struct, frozen=True):
    """Sagas that were run, with times of the machine's monotonic clock."""

    began_s: float
    ended_s: float
    latencies_s: list[float]


class Spent(msgspec.Struct, frozen=True):
    """Processor time since the begin, in seconds."""

    cpu_s: float


def system_of(part: Part) -> System:
    """The system of a process."""
    broker: Broker | None = None
    if part.broker.startswith("postgresql:"):
        broker = PostgresQueue(part.broker)
    elif part.broker:
        broker = RabbitMq(part.broker, prefix=part.prefix)
    return System(
        part.place,
        sagas=[Trip] if part.node else [],
        services=[SERVICES[name] for name in part.services],
        node=part.node,
        broker=broker,
        elsewhere=[service for name, service in SERVICES.items() if name not in part.services] if part.node else [],
    )


def drive(system: System, in_flight: int, count: int, tag: str) -> Driven:
    """Run sagas, so many at a time."""
    free = threading.Semaphore(in_flight)
    latencies_s: list[float] = []
    all_began_s = time.perf_counter()
    for number in range(1, count + 1):
        free.acquire()
        began_s = time.perf_counter()

        def ended(outcome: "Future[Any]", began_s: float = began_s) -> None:
            outcome.result()
            latencies_s.append(time.perf_counter() - began_s)
            free.release()

        name = f"{tag}-{number}"
        system.submit(Trip, Book(name), key=name).add_done_callback(ended)
    for _ in range(in_flight):
        free.acquire()
    return Driven(all_began_s, time.perf_counter(), latencies_s)


def main(part: Part) -> None:
    """Obey."""
    began_cpu_s = 0.0
    with system_of(part) as system:
        _say({"ready": part.node or part.services})
        for line in sys.stdin:
            match line.split():
                case ["begin"]:
                    began_cpu_s = time.process_time()
                case ["warm-up"]:
                    drive(system, _WARM_UP, _WARM_UP, f"warm-up-{part.node}")
                    _say({})
                case ["drive", in_flight, count, tag]:
                    _say(drive(system, int(in_flight), int(count), tag))
                case ["end"]:
                    _say(Spent(time.process_time() - began_cpu_s))
                    return


def _say(what: object) -> None:
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Part))
