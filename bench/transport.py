"""Requests and replies per second over RabbitMQ: `python -m bench.transport [URL]`.

A node in this process and a service in another one, so many requests in flight; each is
confirmed by the broker, delivered, answered, and the answer confirmed and delivered, on quorum
queues. The service answers at once: what is measured is the way there and back.
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

from amends.actors.transport.rabbitmq import RabbitMq, RabbitMqLine
from amends.protocol.messages import Do, Done, Message, Reply, SagaId
from amends.supervisor.runtime import SystemClock

DEFAULT = "amqp://guest:guest@localhost:5672"
RUNS, COUNT, IN_FLIGHT = 5, 20_000, (1, 200, 1_000)
SAGA = SagaId("0192f0c1d4e57a3c8b1e5f60718293a4")


class Echo:
    """A service's inbox that answers at once."""

    name = "echo"
    line: RabbitMqLine

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
        self.line: RabbitMqLine
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


def serve(url: str, prefix: str, stop: Any) -> None:
    """The service's process."""
    echo = Echo()
    echo.line = RabbitMq(url, prefix=prefix, prefetch=1000).connect("", {"echo": echo}, {}, SystemClock())
    echo.line.open()
    stop.wait()
    echo.line.close(5.0)


def measure(url: str, prefix: str, in_flight: int, count: int) -> tuple[float, float]:
    """Requests answered per second, and microseconds of this process's CPU for each."""
    asker = Asker(count)
    line = asker.line = RabbitMq(url, prefix=prefix).connect("bench", {}, {SAGA: asker}, SystemClock())
    line.open()
    if not line.wait_until_ready(10.0):
        sys.exit(f"bench.transport: no RabbitMQ answers at {url.rpartition('@')[2]}")
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for _ in range(in_flight):
        asker.ask()
    asker.done.wait()
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    line.close(5.0)
    return count / elapsed_s, cpu_s / count * 1e6


def main(url: str = DEFAULT) -> None:
    """Print medians as JSON."""
    prefix = f"amends-bench-{uuid.uuid4().hex[:8]}"
    spawning = multiprocessing.get_context("spawn")
    stop = spawning.Event()
    service = spawning.Process(target=serve, args=(url, prefix, stop))
    service.start()
    for in_flight in IN_FLIGHT:
        count = COUNT if in_flight > 1 else COUNT // 20
        found = [measure(url, prefix, in_flight, count) for _ in range(RUNS)]
        rates, costs = zip(*found, strict=True)
        figures = {
            "in_flight": in_flight,
            "per_s": round(statistics.median(rates)),
            "per_s_min": round(min(rates)),
            "per_s_max": round(max(rates)),
            "node_cpu_us": round(statistics.median(costs)),
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(figures), flush=True)
    stop.set()
    service.join()
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    for queue in ("service.echo", "node.bench", "dead-letters"):
        channel.queue_delete(f"{prefix}.{queue}")


if __name__ == "__main__":
    main(*sys.argv[1:])
