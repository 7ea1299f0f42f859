"""Requests and replies per second over RabbitMQ and over PostgreSQL: `python -m bench.transport [AMQP_URL [URL]]`.

A node in this process and a service in another one, so many requests in flight; each is written
durably by the broker, delivered, answered, and the answer written and delivered: on quorum queues
with confirms, or in a table. The service answers at once: what is measured is the way there and
back. The two take turns, so that other load meets both; look at their ratio.
"""

import json
import multiprocessing
import os
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pika
import psycopg
from psycopg import sql

from amends.actors.transport.postgres import PostgresQueue, PostgresQueueLine
from amends.actors.transport.rabbitmq import RabbitMq, RabbitMqLine
from amends.protocol.messages import Do, Done, Message, Reply, SagaId
from amends.supervisor.runtime import SystemClock

RABBITMQ = "amqp://guest:guest@localhost:5672"
POSTGRES = "postgresql://postgres@localhost:5432/test"
RUNS, COUNT, IN_FLIGHT = 5, 20_000, (1, 200, 1_000)
SAGA = SagaId("0192f0c1d4e57a3c8b1e5f60718293a4")
Broker = RabbitMq | PostgresQueue
AnyLine = RabbitMqLine | PostgresQueueLine


class Echo:
    """A service's inbox that answers at once."""

    name = "echo"
    line: AnyLine

    def tell(self, message: object) -> None:
        assert isinstance(message, Message)
        answer = Done(msgspec.Raw(b'{"seat":"1 A"}'))
        reply = Reply(message.saga_id, message.step, "do", message.attempt, answer, message.reply_to)
        for address, letter in self.line.to_saga(reply):
            address.tell(letter)

    def deliver(self, message: object, receipt: Callable[[], None]) -> None:
        self.tell(message)
        receipt()


class Asker:
    """A saga's address that asks again as soon as it is answered."""

    name = SAGA

    def __init__(self, count: int) -> None:
        self.line: AnyLine
        self._left = count
        self._open = 0
        # The first are asked by another thread than the rest.
        self._counting = threading.Lock()
        self.done = threading.Event()

    def ask(self) -> None:
        with self._counting:
            if self._left == 0:
                return
            self._left -= 1
            self._open += 1
            number = self._left + 1
        message = Do(
            service="echo",
            saga_id=SAGA,
            step="seat",
            attempt=number,
            token=1,
            command="TakeSeat",
            payload=b'{"name":"Ada Lovelace","train":"EC 172","seats":2}',
            expires_at=2e9,
        )
        for address, letter in self.line.to_service(message):
            address.tell(letter)

    def tell(self, _message: object) -> None:
        self.ask()
        with self._counting:
            self._open -= 1
            if self._open == 0:
                self.done.set()


def serve(broker: Broker, stop: Any) -> None:
    """The service's process."""
    echo = Echo()
    echo.line = broker.connect("", {"echo": echo}, {}, SystemClock())
    echo.line.open()
    stop.wait()
    echo.line.close(5.0)


def measure(name: str, broker: Broker, in_flight: int, count: int) -> tuple[float, float]:
    """Requests answered per second, and microseconds of this process's CPU for each."""
    asker = Asker(count)
    line = asker.line = broker.connect("bench", {}, {SAGA: asker}, SystemClock())
    line.open()
    if not line.wait_until_ready(10.0):
        sys.exit(f"bench.transport: no {name} answers at {broker.url.rpartition('@')[2]}")
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for _ in range(in_flight):
        asker.ask()
    asker.done.wait()
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    line.close(5.0)
    return count / elapsed_s, cpu_s / count * 1e6


def main(rabbitmq: str = RABBITMQ, postgres: str = POSTGRES) -> None:
    """Print medians as JSON."""
    own = f"amends_bench_{uuid.uuid4().hex[:8]}"
    brokers: dict[str, Broker] = {
        "rabbitmq": RabbitMq(rabbitmq, prefix=own, prefetch=1000),
        "postgres": PostgresQueue(f"{postgres}?schema={own}", prefetch=1000),
    }
    spawning = multiprocessing.get_context("spawn")
    stop = spawning.Event()
    services = [spawning.Process(target=serve, args=(broker, stop)) for broker in brokers.values()]
    for service in services:
        service.start()
    for in_flight in IN_FLIGHT:
        count = COUNT if in_flight > 1 else COUNT // 20
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in brokers}
        for _ in range(RUNS):
            for name, broker in brokers.items():
                found[name].append(measure(name, broker, in_flight, count))
        for name, figures in found.items():
            print(json.dumps({"broker": name, "in_flight": in_flight} | _told(figures)), flush=True)
        ratio = _median(found["postgres"], 0) / _median(found["rabbitmq"], 0)
        print(json.dumps({"in_flight": in_flight, "postgres_to_rabbitmq": round(ratio, 2)}), flush=True)
    stop.set()
    for service in services:
        service.join()
    _clean_up(rabbitmq, postgres, own)


def _told(figures: list[tuple[float, float]]) -> dict[str, float]:
    rates = [rate for rate, _ in figures]
    return {
        "per_s": round(_median(figures, 0)),
        "per_s_min": round(min(rates)),
        "per_s_max": round(max(rates)),
        "node_cpu_us": round(_median(figures, 1)),
        "load": round(os.getloadavg()[0], 1),
    }


def _median(figures: list[tuple[float, float]], which: int) -> float:
    return statistics.median(figure[which] for figure in figures)


def _clean_up(rabbitmq: str, postgres: str, own: str) -> None:
    channel = pika.BlockingConnection(pika.URLParameters(rabbitmq)).channel()
    for queue in ("service.echo", "node.bench", "dead-letters"):
        channel.queue_delete(f"{own}.{queue}")
    with psycopg.connect(postgres, autocommit=True) as db:
        db.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(own)))


if __name__ == "__main__":
    main(*sys.argv[1:])
