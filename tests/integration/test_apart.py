"""Whole systems in processes of their own, over RabbitMQ, while something goes wrong: nothing is lost, nothing doubled.

Judged by what stands in the services' databases, and by the outcome that was told of each trip.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pika
import pytest

from amends.demo.cluster.own_rabbitmq import OwnBroker
from amends.demo.cluster.proxy import Proxy
from tests.actors.patience import until
from tests.actors.trip import COMPLETED, FARE_REFUSED, LONG_S, SERVICES, effects
from tests.integration.apart import REFUSED_EVERY, names
from tests.integration.children import ROOT
from tests.rabbitmq import Rabbit, parameters, rabbit_at

# The broker takes its time to start.
pytestmark = pytest.mark.timeout(120)


class Part:
    """One process, and what it has said."""

    def __init__(self, mode: str, told: dict[str, Any]) -> None:
        program = [sys.executable, "-m", "tests.integration.apart", mode, json.dumps(told)]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())

    def hear(self, word: str) -> None:
        """Wait until it has said that."""
        until(lambda: word in self.said or self.process.poll() is not None)
        assert word in self.said, self.said

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Apart:
    """A node and its services, each in a folder and processes of its own."""

    def __init__(self, folder: Path, rabbit: Rabbit, stack: ExitStack) -> None:
        self.rabbit = rabbit
        self.services = folder / "services"
        self._folder = folder
        self._stack = stack
        for place in (self.services, folder / "node"):
            place.mkdir()

    def serve(self, **told: Any) -> Part:
        """One more process with all the services, on the same databases."""
        return self._part("serve", self.services, told)

    def run(self, count: int, **told: Any) -> Part:
        """The process with the sagas, which has started so many."""
        return self._part("run", self._folder / "node", {"count": count} | told)

    def _part(self, mode: str, folder: Path, told: dict[str, Any]) -> Part:
        part = Part(mode, {"folder": str(folder), "url": self.rabbit.url, "prefix": self.rabbit.prefix} | told)
        self._stack.callback(part.close)
        part.hear("open")
        return part

    def ended(self, node: Part, count: int) -> bool:
        """Whether every trip ends as it should, with each effect once."""
        until(lambda: len(outcomes(node)) == count, LONG_S)
        told = outcomes(node)
        for name in names(count):
            refused = int(name.split("-")[1]) % REFUSED_EVERY == 0
            assert told[name] == ("Compensated no money" if refused else "Completed")
            assert effects(self.services, name) == (FARE_REFUSED if refused else COMPLETED), name
        return True


def outcomes(node: Part) -> dict[str, str]:
    """What a node has told, by trip."""
    lines = [line.split(" ", 2) for line in node.said if line.startswith("ended ")]
    return {name: outcome.strip() for _, name, outcome in lines}


@pytest.fixture
def apart(rabbit: Rabbit, tmp_path: Path) -> Iterator[Apart]:
    """Over the shared broker."""
    with ExitStack() as stack:
        yield Apart(tmp_path, rabbit, stack)


@pytest.fixture
def apart_on_its_own(own_broker: OwnBroker, tmp_path: Path) -> Iterator[Apart]:
    """Over a broker of the test's own."""
    with ExitStack() as stack:
        # Nobody cleans up: the broker goes with the tests.
        yield Apart(tmp_path, Rabbit(own_broker.url, None, None), stack)


# Processes.


def test_service_is_killed_while_it_handles_a_command(apart: Apart) -> None:
    """Another process has served the rest meanwhile, and does what that one had in hand, once."""
    for _ in range(2):
        apart.serve(hangs=True)
    node = apart.run(40)
    until((apart.services / "hangs").exists)
    until(lambda: bool((apart.services / "hangs").read_text()))
    os.kill(int((apart.services / "hangs").read_text()), signal.SIGKILL)
    assert apart.ended(node, 40)


def test_service_of_an_older_program_does_not_know_a_command(apart: Apart) -> None:
    """Its saga asks again, until a newer program serves; nothing is given up for it."""
    old = apart.serve(old=True)
    node = apart.run(2)
    # More often than there are trips, so it was told, and asked again.
    until(lambda: old.said.count("event handler.failed") >= 6)
    assert outcomes(node) == {}
    old.close()
    apart.serve()
    assert apart.ended(node, 2)


def test_clocks_that_differ_by_an_hour(apart: Apart) -> None:
    """Change nothing: a command may be begun for a day after it was sent, and all else goes by one's own clock."""
    for offset_s in (-1800, 1800):
        apart.serve(offset_s=offset_s)
    assert apart.ended(apart.run(16), 16)


def test_service_whose_clock_is_days_ahead_refuses(apart: Apart) -> None:
    """To it every command is as old as a duplicate that nobody remembers; nothing is done, and the saga ends so."""
    apart.serve(offset_s=2 * 86_400)
    node = apart.run(1)
    until(lambda: len(outcomes(node)) == 1)
    assert outcomes(node) == {"trip-1": "Compensated expired"}
    assert effects(apart.services, "trip-1")["seats"] == []


# What comes twice, late, or broken.


@contextmanager
def a_man_in_the_middle(rabbit: Rabbit, beyond: Rabbit) -> Iterator[None]:
    """Takes what is said under one prefix and says it under the other, twice, in another order; and back."""
    over = threading.Event()
    thread = threading.Thread(target=_meddle, args=(rabbit, beyond, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _meddle(rabbit: Rabbit, beyond: Rabbit, over: threading.Event) -> None:
    ways = [(rabbit, beyond, rabbit.queues.service(name), beyond.queues.service(name)) for name in SERVICES]
    ways.append((beyond, rabbit, beyond.queues.node("node"), rabbit.queues.node("node")))
    client = pika.BlockingConnection(parameters(rabbit.url))
    channel = client.channel()
    dice, held = Random(7), list[tuple[str, bytes, Any]]()

    def take(drain: str, properties: Any, body: bytes) -> None:
        if properties.reply_to is not None:
            properties.reply_to = beyond.queues.node("node")
        held.extend([(drain, body, properties)] * 2)

    for here, there, source, drain in ways:
        for owner, queue in ((here, source), (there, drain)):
            channel.queue_declare(queue, durable=True, arguments=owner.queues.arguments(queue))
        channel.basic_consume(source, lambda _, __, *said, drain=drain: take(drain, *said), auto_ack=True)
    while not over.is_set():
        client.process_data_events(time_limit=0.02)
        dice.shuffle(held)
        # A third of it comes later still.
        for _ in range(len(held) - len(held) // 3):
            channel.basic_publish("", *held.pop())
    client.close()


def test_everything_comes_twice_and_in_another_order(apart: Apart) -> None:
    """Commands and answers alike."""
    with rabbit_at(apart.rabbit.url) as beyond, a_man_in_the_middle(apart.rabbit, beyond):
        service = apart.serve(prefix=beyond.prefix)
        assert apart.ended(apart.run(15), 15)
        service.close()


def test_messages_that_no_one_can_read(apart: Apart) -> None:
    """They are put aside, at the services and at the node, and everything else goes on."""
    apart.serve()
    queues = apart.rabbit.queues
    # A broker that is busy loses what nobody wants confirmed.
    apart.rabbit.channel.confirm_delivery()
    for queue in (*map(queues.service, SERVICES), queues.node("node")):
        apart.rabbit.make(queue)
        for _ in range(5):
            apart.rabbit.channel.basic_publish("", queue, b"\xff")
    assert apart.ended(apart.run(12), 12)
    # A line that was lost meanwhile may have put some of them aside twice.
    until(lambda: apart.rabbit.waiting(queues.dead_letters) >= 20)


# The broker.


def test_connections_are_cut_in_the_middle_of_publishing(apart: Apart) -> None:
    """Again and again, the node's and the services'."""
    with Proxy(*apart.rabbit.address) as proxy:
        proxy.cut_every(250_000, times=5)
        url = apart.rabbit.beyond(proxy.port)
        service = apart.serve(url=url)
        node = apart.run(200, url=url)
        assert apart.ended(node, 200)
        assert proxy.cuts > 1
        for part in (node, service):
            part.close()


def test_broker_is_restarted(apart_on_its_own: Apart, own_broker: OwnBroker) -> None:
    """In the middle of it all."""
    apart_on_its_own.serve()
    node = apart_on_its_own.run(100)
    own_broker.control("stop_app")
    own_broker.control("start_app")
    assert apart_on_its_own.ended(node, 100)


def test_disk_of_the_broker_is_full_for_a_while(apart_on_its_own: Apart, own_broker: OwnBroker) -> None:
    """Whoever publishes is blocked; afterwards all goes on where it was."""
    apart_on_its_own.serve()
    own_broker.control("set_disk_free_limit", "1000000GB")
    node = apart_on_its_own.run(30)
    node.hear("event broker.blocked")
    assert len(outcomes(node)) < 30
    own_broker.control("set_disk_free_limit", "1MB")
    assert apart_on_its_own.ended(node, 30)
