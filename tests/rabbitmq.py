"""The RabbitMQ of the tests: the one that is named, else the one on this machine, with queues of a test's own.

`AMENDS_TEST_RABBITMQ` names one. Where none answers the tests are skipped, and fail with
`AMENDS_REQUIRE_SERVERS=1`.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import pika
import pytest

from amends.actors.transport.rabbitmq import RabbitMq
from amends.actors.transport.rabbitmq.queues import Queues

DEFAULT = "amqp://guest:guest@localhost:5672"
SERVICES = ("seats", "fares", "tickets", "meals")
NODES = ("node", "other")


class Rabbit:
    """A broker, and queues that only one test knows.

    Attributes:
        channel: of a client with nothing but pika.
    """

    def __init__(self, url: str, channel: Any, client: Any) -> None:
        self.url = url
        self.prefix = f"amends-test-{uuid.uuid4().hex[:12]}"
        self.queues = Queues(self.prefix)
        self.client = client
        self.channel = channel

    def settings(self, **rest: Any) -> RabbitMq:
        """For a line or a system of this test."""
        return RabbitMq(**{"url": self.url, "prefix": self.prefix} | rest)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        at = pika.URLParameters(self.url)
        return at.host, at.port

    @property
    def place(self) -> tuple[str, str]:
        """For a client of another kind."""
        return self.url, self.prefix

    def beyond(self, port: int) -> str:
        """Its URL, by another port of this machine."""
        login = pika.URLParameters(self.url).credentials
        return f"amqp://{login.username}:{login.password}@127.0.0.1:{port}"

    def waiting_for(self, service: str) -> int:
        """Messages for a service that nobody was given."""
        return self.waiting(self.queues.service(service))

    def next_of(self, queue: str) -> tuple[Any, bytes] | None:
        """The next message of a queue, which is gone then: properties and body."""
        method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        return None if method is None else (properties, body)

    def make(self, queue: str, **rest: Any) -> None:
        """Declare a queue, as a line does it if nothing else is said."""
        self.channel.queue_declare(queue, durable=True, arguments=rest.get("arguments", self.queues.arguments(queue)))

    def waiting(self, queue: str) -> int:
        """Messages in a queue that nobody was given."""
        try:
            return int(self.channel.queue_declare(queue, passive=True).method.message_count)
        except pika.exceptions.ChannelClosedByBroker:  # there is no such queue
            self.channel = self.client.channel()
            return 0

    def clean_up(self) -> None:
        """Nothing stays at the broker."""
        services = [self.queues.service(name) for name in SERVICES]
        for queue in (*services, *map(self.queues.node, NODES), self.queues.dead_letters):
            self.channel.queue_delete(queue)


def parameters(url: str) -> Any:
    """For a client that only talks now and then."""
    made = pika.URLParameters(url)
    made.heartbeat = 0
    return made


@contextmanager
def rabbit_at(url: str) -> Iterator[Rabbit]:
    """A broker that is there, used by one test."""
    client = pika.BlockingConnection(parameters(url))
    try:
        rabbit = Rabbit(url, client.channel(), client)
        yield rabbit
        rabbit.clean_up()
    finally:
        with suppress(pika.exceptions.AMQPError):
            client.close()


@cache
def _trouble(url: str) -> str:
    """Why that broker can't be used; asked once."""
    try:
        pika.BlockingConnection(parameters(url)).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        return type(error).__name__
    return ""


@pytest.fixture
def rabbit() -> Iterator[Rabbit]:
    """The broker, or no test."""
    url = os.environ.get("AMENDS_TEST_RABBITMQ", DEFAULT)
    trouble = _trouble(url)
    if trouble:
        missing("no RabbitMQ answers", trouble)
    with rabbit_at(url) as rabbit:
        yield rabbit


def missing(what: str, trouble: str) -> None:
    """Skip this test, or let it fail where servers are required."""
    told = f"{what} ({trouble}): apt-get install rabbitmq-server, or name one in AMENDS_TEST_RABBITMQ"
    if os.environ.get("AMENDS_REQUIRE_SERVERS") == "1":
        pytest.fail(told)
    pytest.skip(told)
