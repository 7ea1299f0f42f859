"""What goes wrong between a process and RabbitMQ: nothing is lost that was taken, and nothing grows without end."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest

from amends.actors.transport.rabbitmq import RabbitMqLine
from amends.protocol.errors import AmendsError, InputError
from amends.protocol.messages import SagaId
from amends.supervisor.actor import Actor, spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from tests.actors.patience import until
from tests.lines import SAGA, Ends, do, join_by, leave, reply
from tests.proxy import Proxy
from tests.rabbitmq import Rabbit
from tests.supervisor.probe import WAIT_S

SEATS = "seats"


@pytest.fixture
def ends(rabbit: Rabbit) -> Iterator[Ends]:
    """A service and an open instance that nothing joins yet."""
    pool = Pool(SystemClock())
    ends = Ends(pool)
    ends.have((SEATS,), (SAGA,))
    yield ends
    ends.close()
    assert pool.stop(WAIT_S)


@pytest.fixture
def proxy(rabbit: Rabbit) -> Iterator[Proxy]:
    """Stands between a line and the broker."""
    at = pika.URLParameters(rabbit.url)
    with Proxy(at.host, at.port) as proxy:
        yield proxy


def beyond(proxy: Proxy, rabbit: Rabbit) -> str:
    """The broker's address, through the proxy."""
    at = pika.URLParameters(rabbit.url)
    return f"amqp://{at.credentials.username}:{at.credentials.password}@127.0.0.1:{proxy.port}"


def a_node(ends: Ends, rabbit: Rabbit, **settings: Any) -> RabbitMqLine:
    """A line for sagas, open."""
    line = rabbit.settings(**settings).connect("node", {}, ends.sagas, ends.pool.clock)
    ends.opened(line)
    ends.node = line
    return line


def a_service(ends: Ends, rabbit: Rabbit, **settings: Any) -> RabbitMqLine:
    """A line for services, open."""
    line = rabbit.settings(**settings).connect("", ends.boxes, {}, ends.pool.clock)
    ends.opened(line)
    ends.served = line
    return line


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
    join_by(ends, rabbit)
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
    assert isinstance(ends.served, RabbitMqLine)
    assert ends.served.status().unreadable == 1


def test_unreadable_reply_is_put_aside(ends: Ends, rabbit: Rabbit) -> None:
    """At a node as at a service."""
    join_by(ends, rabbit)
    put(rabbit, rabbit.queues.node("node"), b"{}", type="reply", headers={"amends-schema": 1})
    leave(ends.node.to_service(do()))
    leave(ends.served.to_saga(reply(ends.read[SEATS].take())))
    assert ends.read[SAGA].take().attempt == 1
    until(lambda: rabbit.waiting(rabbit.queues.dead_letters) == 1)


def test_reply_for_an_unknown_instance_is_counted(ends: Ends, rabbit: Rabbit) -> None:
    """And gone from the queue."""
    join_by(ends, rabbit)
    leave(ends.node.to_service(do()))
    leave(ends.served.to_saga(reply(ends.read[SEATS].take(), saga_id=SagaId("ended"))))
    assert isinstance(ends.node, RabbitMqLine)
    until(lambda: ends.node.status().unknown == 1)  # type: ignore[attr-defined]  # as asserted


# A service that dies.


class Halting(Actor):
    """Stays in its turn until it may go on."""

    registered = False

    def __init__(self, reached: threading.Semaphore, goes_on: threading.Event) -> None:
        super().__init__()
        self._reached = reached
        self._goes_on = goes_on

    def settle(self) -> None:
        self._reached.release()
        self._goes_on.wait(WAIT_S)


def test_command_is_given_to_another_instance_when_its_turn_has_not_settled(ends: Ends, rabbit: Rabbit) -> None:
    """A process that dies with commands in hand loses none; those it had settled do not come again."""
    a_node(ends, rabbit)
    reached, goes_on = threading.Semaphore(0), threading.Event()
    pool = Pool(SystemClock(), "halting")
    box = Mailbox(SEATS, pool)
    spawn(box, lambda: Halting(reached, goes_on))
    assert reached.acquire(timeout=WAIT_S)  # its first turn, without a message
    goes_on.set()
    until(lambda: box.busy_since_s is None)
    dying = rabbit.settings().connect("", {SEATS: box}, {}, pool.clock)
    dying.open()
    leave(ends.node.to_service(do(1)))
    assert reached.acquire(timeout=WAIT_S)
    until(lambda: box.busy_since_s is None)
    goes_on.clear()
    leave([*ends.node.to_service(do(2)), *ends.node.to_service(do(3))])
    assert reached.acquire(timeout=WAIT_S)
    dying.close(WAIT_S)
    line = a_service(ends, rabbit)
    assert [ends.read[SEATS].take().attempt for _ in range(2)] == [2, 3]
    assert line.status().redelivered >= 1
    goes_on.set()
    box.actor.retire() if box.actor is not None else None
    assert pool.stop(WAIT_S)


def test_service_has_no_more_than_it_may(ends: Ends, rabbit: Rabbit) -> None:
    """While its turn lasts, what it was not given waits at the broker, for other instances too."""
    node = a_node(ends, rabbit)
    reached, goes_on = threading.Semaphore(0), threading.Event()
    pool = Pool(SystemClock(), "halting")
    box = Mailbox(SEATS, pool)
    spawn(box, lambda: Halting(reached, goes_on))
    assert reached.acquire(timeout=WAIT_S)
    line = rabbit.settings(prefetch=5).connect("", {SEATS: box}, {}, pool.clock)
    for number in range(1, 21):
        leave(ends.node.to_service(do(number)))
    until(lambda: node.status().confirmed == 20)
    line.open()
    until(lambda: len(box) == 5)
    assert rabbit.waiting(rabbit.queues.service(SEATS)) == 15
    goes_on.set()
    until(lambda: line.status().delivered == 20 and rabbit.waiting(rabbit.queues.service(SEATS)) == 0)
    line.close(WAIT_S)
    box.actor.retire() if box.actor is not None else None
    assert pool.stop(WAIT_S)


# Connections that end.


def test_nothing_is_lost_when_connections_are_cut_in_the_middle(ends: Ends, rabbit: Rabbit, proxy: Proxy) -> None:
    """What was not confirmed is sent again, on both sides, until each message has come at least once."""
    url = beyond(proxy, rabbit)
    a_node(ends, rabbit, url=url)
    a_service(ends, rabbit, url=url)
    proxy.cut_every(700_000)
    count = 3000
    for number in range(1, count + 1):
        leave(ends.node.to_service(do(number)))
    asked: set[int] = set()
    while len(asked) < count:
        message = ends.read[SEATS].take()
        if message.attempt not in asked:
            asked.add(message.attempt)
            leave(ends.served.to_saga(reply(message)))
    answered: set[int] = set()
    while len(answered) < count:
        answered.add(ends.read[SAGA].take().attempt)
    assert proxy.cuts > 3
    assert ends.node.status().connections > 2  # type: ignore[attr-defined]  # a line of RabbitMQ


def test_line_that_was_opened_too_early_waits_for_the_broker(ends: Ends, rabbit: Rabbit, proxy: Proxy) -> None:
    """A process may start before its broker; what it says meanwhile is kept."""
    proxy.shut()
    node = a_node(ends, rabbit, url=beyond(proxy, rabbit))
    leave(ends.node.to_service(do()))
    assert not node.status().ready
    proxy.let_in()
    a_service(ends, rabbit)
    assert ends.read[SEATS].take().attempt == 1


def test_what_waits_for_a_broker_that_is_gone_is_bounded(
    ends: Ends, rabbit: Rabbit, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """What does not fit is dropped, counted, and told once; what fits arrives."""
    proxy.shut()
    node = a_node(ends, rabbit, url=beyond(proxy, rabbit), buffer=10)
    with caplog.at_level(logging.ERROR, "amends"):
        for number in range(1, 16):
            leave(ends.node.to_service(do(step=f"seat {number}")))
    assert (node.status().waiting, node.status().dropped) == (10, 5)
    assert len([r for r in caplog.records if "message.dropped" in r.message]) == 1
    proxy.let_in()
    a_service(ends, rabbit)
    assert [ends.read[SEATS].take().step for _ in range(10)] == [f"seat {number}" for number in range(1, 11)]
    until(lambda: node.status().waiting == 0)
    leave(ends.node.to_service(do(16)))
    assert ends.read[SEATS].take().attempt == 16


def test_what_waits_is_bounded_in_bytes(ends: Ends, rabbit: Rabbit, proxy: Proxy) -> None:
    """A few large messages are as bad as many."""
    proxy.shut()
    node = a_node(ends, rabbit, url=beyond(proxy, rabbit), buffer_bytes=1000)
    for number in range(1, 4):
        leave(ends.node.to_service(do(number, payload=b'"%s"' % (b"x" * 600))))
    assert (node.status().waiting, node.status().dropped) == (1, 2)


def test_broker_that_does_not_answer_stops_nobody(ends: Ends, rabbit: Rabbit, proxy: Proxy) -> None:
    """What is published and not confirmed counts as waiting; closing does not wait for ever."""
    node = a_node(ends, rabbit, url=beyond(proxy, rabbit), buffer=50)
    assert node.wait_until_ready(WAIT_S)
    proxy.hold()
    for number in range(1, 101):
        leave(ends.node.to_service(do(step=f"seat {number}")))
    assert (node.status().waiting, node.status().dropped) == (50, 50)
    node.close(0.1)
    assert not node.status().ready


def test_line_is_closed_while_it_tries_to_connect(ends: Ends, rabbit: Rabbit, proxy: Proxy) -> None:
    """No thread stays, whatever it is waiting for."""
    before = threading.active_count()
    proxy.shut()
    line = rabbit.settings(url=beyond(proxy, rabbit)).connect("", ends.boxes, {}, ends.pool.clock)
    line.open()
    line.close(WAIT_S)
    assert threading.active_count() == before


def test_closing_sends_what_waits(ends: Ends, rabbit: Rabbit) -> None:
    """The replies of the last turns leave before the line ends."""
    line = rabbit.settings().connect("node", {}, ends.sagas, ends.pool.clock)
    line.open()
    assert line.wait_until_ready(WAIT_S)
    for number in range(1, 2001):
        leave(line.to_service(do(number)))
    line.close(WAIT_S)
    assert line.status().confirmed == 2000
    until(lambda: rabbit.waiting(rabbit.queues.service(SEATS)) == 2000)


# Queues.


def test_commands_wait_for_a_service_that_was_never_up(ends: Ends, rabbit: Rabbit) -> None:
    """Whoever sends makes the queue."""
    a_node(ends, rabbit)
    leave(ends.node.to_service(do()))
    until(lambda: ends.node.status().confirmed == 1)  # type: ignore[attr-defined]  # a line of RabbitMQ
    assert rabbit.waiting(rabbit.queues.service(SEATS)) == 1
    a_service(ends, rabbit)
    assert ends.read[SEATS].take().attempt == 1


def test_queue_that_was_deleted_is_made_again(ends: Ends, rabbit: Rabbit) -> None:
    """By those who read it and by those who send to it; a message that found none is sent again."""
    node = a_node(ends, rabbit)
    leave(ends.node.to_service(do(1)))
    until(lambda: node.status().confirmed == 1)
    rabbit.channel.queue_delete(rabbit.queues.service(SEATS))
    leave(ends.node.to_service(do(2)))
    until(lambda: node.status().returned == 1 and node.status().waiting == 0)
    assert rabbit.waiting(rabbit.queues.service(SEATS)) == 1
    line = a_service(ends, rabbit)
    assert ends.read[SEATS].take().attempt == 2
    rabbit.channel.queue_delete(rabbit.queues.service(SEATS))
    until(lambda: line.status().connections == 2 and line.status().ready)
    leave(ends.node.to_service(do(3)))
    assert ends.read[SEATS].take().attempt == 3


def test_queue_that_was_declared_otherwise_is_used_as_it_is(ends: Ends, rabbit: Rabbit) -> None:
    """Whoever made it had a reason, and all other queues go on."""
    rabbit.make(rabbit.queues.service(SEATS), arguments={})
    a_node(ends, rabbit)
    leave(ends.node.to_service(do()))
    line = a_service(ends, rabbit)
    assert ends.read[SEATS].take().attempt == 1
    connections = line.status().connections
    rabbit.channel.queue_delete(rabbit.queues.service(SEATS))
    until(lambda: line.status().connections > connections and line.status().ready)
    leave(ends.node.to_service(do(2)))
    assert ends.read[SEATS].take().attempt == 2


def test_reply_to_a_node_that_is_gone_is_counted(ends: Ends, rabbit: Rabbit) -> None:
    """Its queue has expired; nothing waits for it."""
    line = a_service(ends, rabbit)
    assert line.wait_until_ready(WAIT_S)
    leave(ends.served.to_saga(reply(do(reply_to=rabbit.queues.node("other")))))
    until(lambda: line.status().returned == 1 and line.status().waiting == 0)


def test_second_node_of_a_name_does_not_take_the_firsts_replies(ends: Ends, rabbit: Rabbit) -> None:
    """It is not ready until the first has gone."""
    first = rabbit.settings().connect("node", {}, {}, ends.pool.clock)
    first.open()
    assert first.wait_until_ready(WAIT_S)
    second = a_node(ends, rabbit)
    until(lambda: second.status().connections >= 2)
    assert not second.status().ready
    first.close(WAIT_S)
    assert second.wait_until_ready(WAIT_S)


def test_process_without_a_name_can_ask_nobody(ends: Ends, rabbit: Rabbit) -> None:
    """Nobody could answer it."""
    line = rabbit.settings().connect("", {}, {}, ends.pool.clock)
    with pytest.raises(AmendsError, match="node"):
        line.to_service(do())


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
        line = a_node(ends, rabbit, url=f"amqp://nobody:hunter2@{at.host}:{at.port}")
        until(lambda: "broker.lost" in caplog.text)
    assert not line.status().ready
    assert "hunter2" not in caplog.text
