"""What only RabbitMQ does to those who use it; what every broker may do is in `test_line_faults`."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest

from amends.protocol.errors import InputError
from tests.actors.patience import until
from tests.lines import SAGA, Ends, a_node, a_service, do, join_by, leave, reply, some_ends
from tests.rabbitmq import Rabbit
from tests.supervisor.probe import WAIT_S

SEATS = "seats"


@pytest.fixture
def ends(rabbit: Rabbit) -> Iterator[Ends]:
    """A service and an open instance that nothing joins yet."""
    with some_ends() as ends:
        yield ends


def put(rabbit: Rabbit, queue: str, body: bytes, **properties: Any) -> None:
    """Leave anything in a queue."""
    rabbit.channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


# What can't be read.

SOUND = b'{"service":"seats","saga_id":"i","step":"s","attempt":1,"token":1}'
UNREADABLE: list[tuple[str, bytes, dict[str, Any]]] = [
    ("schema", b"", {}),
    ("schema", SOUND, {"type": "undo", "reply_to": "q", "headers": {"amends-schema": 2}}),
    ("schema", SOUND, {"type": "undo", "reply_to": "q", "headers": {"amends-schema": {"a": [1]}}}),
    ("type", SOUND, {"type": "redo", "reply_to": "q", "headers": {"amends-schema": 1}}),
    ("type", SOUND, {"type": "reply", "reply_to": "q", "headers": {"amends-schema": 1}}),
    ("reply_to", SOUND, {"type": "undo", "headers": {"amends-schema": 1}}),
    ("$", b"\xff\x00", {"type": "undo", "reply_to": "q", "headers": {"amends-schema": 1}}),
    ("token", SOUND.replace(b"1}", b'"1"}'), {"type": "undo", "reply_to": "q", "headers": {"amends-schema": 1}}),
    ("service", SOUND.replace(b"seats", b"fares"), {"type": "undo", "reply_to": "q", "headers": {"amends-schema": 1}}),
    ("command", SOUND, {"type": "do", "reply_to": "q", "headers": {"amends-schema": 1}}),
]


@pytest.mark.parametrize(("field", "body", "properties"), UNREADABLE)
def test_unreadable_message_is_put_aside_with_the_reason(
    ends: Ends, rabbit: Rabbit, field: str, body: bytes, properties: dict[str, Any]
) -> None:
    """It stands among the dead letters as it was, and the next ones are read."""
    _, served = join_by(ends, rabbit.settings())
    put(rabbit, rabbit.queues.service(SEATS), body, **properties)
    leave(ends.node.to_service(do()))
    assert ends.read[SEATS].take().attempt == 1
    until(lambda: rabbit.waiting(rabbit.queues.dead_letters) == 1)
    letter = rabbit.next_of(rabbit.queues.dead_letters)
    assert letter is not None
    kept, kept_body = letter
    assert kept_body == body
    assert field in kept.headers["amends-reason"]
    assert kept.headers["amends-queue"] == rabbit.queues.service(SEATS)
    assert served.status().unreadable == 1


def test_unreadable_reply_is_put_aside(ends: Ends, rabbit: Rabbit) -> None:
    """At a node as at a service."""
    join_by(ends, rabbit.settings())
    put(rabbit, rabbit.queues.node("node"), b"{}", type="reply", headers={"amends-schema": 1})
    leave(ends.node.to_service(do()))
    leave(ends.served.to_saga(reply(ends.read[SEATS].take())))
    assert ends.read[SAGA].take().attempt == 1
    until(lambda: rabbit.waiting(rabbit.queues.dead_letters) == 1)


# Queues.


def test_queue_that_was_deleted_is_made_again(ends: Ends, rabbit: Rabbit) -> None:
    """By those who read it and by those who send to it; a message that found none is sent again."""
    node = a_node(ends, rabbit.settings())
    leave(ends.node.to_service(do(1)))
    until(lambda: node.status().confirmed == 1)
    rabbit.channel.queue_delete(rabbit.queues.service(SEATS))
    leave(ends.node.to_service(do(2)))
    until(lambda: node.status().returned == 1 and node.status().waiting == 0)
    assert rabbit.waiting(rabbit.queues.service(SEATS)) == 1
    line = a_service(ends, rabbit.settings())
    assert ends.read[SEATS].take().attempt == 2
    rabbit.channel.queue_delete(rabbit.queues.service(SEATS))
    until(lambda: line.status().connections == 2 and line.status().ready)
    leave(ends.node.to_service(do(3)))
    assert ends.read[SEATS].take().attempt == 3


def test_queue_that_was_declared_otherwise_is_used_as_it_is(ends: Ends, rabbit: Rabbit) -> None:
    """Whoever made it had a reason, and all other queues go on."""
    rabbit.make(rabbit.queues.service(SEATS), arguments={})
    a_node(ends, rabbit.settings())
    leave(ends.node.to_service(do()))
    line = a_service(ends, rabbit.settings())
    assert ends.read[SEATS].take().attempt == 1
    connections = line.status().connections
    rabbit.channel.queue_delete(rabbit.queues.service(SEATS))
    until(lambda: line.status().connections > connections and line.status().ready)
    leave(ends.node.to_service(do(2)))
    assert ends.read[SEATS].take().attempt == 2


def test_reply_to_a_node_that_is_gone_is_counted(ends: Ends, rabbit: Rabbit) -> None:
    """Its queue has expired; nothing waits for it."""
    line = a_service(ends, rabbit.settings())
    assert line.wait_until_ready(WAIT_S)
    leave(ends.served.to_saga(reply(do(reply_to=rabbit.queues.node("other")))))
    until(lambda: line.status().returned == 1 and line.status().waiting == 0)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("url", {"url": "http://secret@host"}),
        ("url", {"url": "amqp://guest:secret@host:port"}),
        ("prefix", {"prefix": ""}),
        ("prefetch", {"prefetch": 0}),
        ("replies", {"replies": 65_536}),
        ("buffer", {"buffer": 0}),
    ],
)
def test_settings_that_can_not_work(field: str, change: dict[str, Any]) -> None:
    """Each names the field; an address is not repeated, since it may hold a password."""
    rabbit: Callable[..., object] = Rabbit.settings
    with pytest.raises(InputError) as error:
        rabbit(Rabbit("amqp://localhost", None, None), **change)
    assert error.value.path == field
    assert "secret" not in str(error.value)


def test_password_is_not_logged(ends: Ends, rabbit: Rabbit, caplog: pytest.LogCaptureFixture) -> None:
    """A login that is refused is told without it."""
    at = pika.URLParameters(rabbit.url)
    with caplog.at_level(logging.DEBUG):
        line = a_node(ends, rabbit.settings(url=f"amqp://nobody:hunter2@{at.host}:{at.port}"))
        until(lambda: "broker.lost" in caplog.text)
    assert not line.status().ready
    assert "hunter2" not in caplog.text
