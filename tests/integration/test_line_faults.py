"""What goes wrong between a process and its broker: nothing is lost that was taken, and nothing grows without end.

One suite, each broker; what only one of them does stands beside it.
"""

import logging
import threading
from collections.abc import Iterator

import pytest

from amends.demo.cluster.proxy import Proxy
from amends.protocol.errors import AmendsError
from amends.protocol.messages import SagaId
from amends.supervisor.actor import Actor, spawn
from amends.supervisor.mailbox import Mailbox
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from tests.actors.patience import until
from tests.brokers import ABroker
from tests.lines import SAGA, Ends, a_node, a_service, do, join_by, leave, reply, some_ends
from tests.supervisor.probe import WAIT_S

SEATS = "seats"


@pytest.fixture
def ends(broker: ABroker) -> Iterator[Ends]:
    """A service and an open instance that nothing joins yet."""
    with some_ends() as ends:
        yield ends


@pytest.fixture
def proxy(broker: ABroker) -> Iterator[Proxy]:
    """Stands between a line and the broker."""
    with Proxy(*broker.address) as proxy:
        yield proxy


def test_reply_for_an_unknown_instance_is_counted(ends: Ends, broker: ABroker) -> None:
    """And gone from the queue."""
    node, _ = join_by(ends, broker.settings())
    leave(ends.node.to_service(do()))
    leave(ends.served.to_saga(reply(ends.read[SEATS].take(), saga_id=SagaId("ended"))))
    until(lambda: node.status().unknown == 1)


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


def test_command_is_given_to_another_instance_when_its_turn_has_not_settled(ends: Ends, broker: ABroker) -> None:
    """A process that dies with commands in hand loses none; those it had settled do not come again."""
    a_node(ends, broker.settings())
    reached, goes_on = threading.Semaphore(0), threading.Event()
    pool = Pool(SystemClock(), "halting")
    box = Mailbox(SEATS, pool)
    spawn(box, lambda: Halting(reached, goes_on))
    assert reached.acquire(timeout=WAIT_S)  # its first turn, without a message
    goes_on.set()
    until(lambda: box.busy_since_s is None)
    dying = broker.settings().connect("", {SEATS: box}, {}, pool.clock)
    dying.open()
    leave(ends.node.to_service(do(1)))
    assert reached.acquire(timeout=WAIT_S)
    until(lambda: box.busy_since_s is None)
    goes_on.clear()
    leave([*ends.node.to_service(do(2)), *ends.node.to_service(do(3))])
    assert reached.acquire(timeout=WAIT_S)
    dying.close(WAIT_S)
    line = a_service(ends, broker.settings())
    assert {ends.read[SEATS].take().attempt for _ in range(2)} == {2, 3}
    assert line.status().redelivered >= 1
    goes_on.set()
    box.actor.retire() if box.actor is not None else None
    assert pool.stop(WAIT_S)


def test_service_has_no_more_than_it_may(ends: Ends, broker: ABroker) -> None:
    """While its turn lasts, what it was not given waits at the broker, for other instances too."""
    node = a_node(ends, broker.settings())
    reached, goes_on = threading.Semaphore(0), threading.Event()
    pool = Pool(SystemClock(), "halting")
    box = Mailbox(SEATS, pool)
    spawn(box, lambda: Halting(reached, goes_on))
    assert reached.acquire(timeout=WAIT_S)
    line = broker.settings(prefetch=5).connect("", {SEATS: box}, {}, pool.clock)
    for number in range(1, 21):
        leave(ends.node.to_service(do(number)))
    until(lambda: node.status().confirmed == 20)
    line.open()
    until(lambda: len(box) == 5)
    assert broker.waiting_for(SEATS) == 15
    goes_on.set()
    until(lambda: line.status().delivered == 20 and broker.waiting_for(SEATS) == 0)
    line.close(WAIT_S)
    box.actor.retire() if box.actor is not None else None
    assert pool.stop(WAIT_S)


# Connections that end.


def test_nothing_is_lost_when_connections_are_cut_in_the_middle(ends: Ends, broker: ABroker, proxy: Proxy) -> None:
    """What was not confirmed is sent again, on both sides, until each message has come at least once."""
    url = broker.beyond(proxy.port)
    node = a_node(ends, broker.settings(url=url))
    a_service(ends, broker.settings(url=url))
    proxy.cut_every(500_000, times=10)
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
    assert proxy.cuts > 2
    assert node.status().connections > 2


def test_line_that_was_opened_too_early_waits_for_the_broker(ends: Ends, broker: ABroker, proxy: Proxy) -> None:
    """A process may start before its broker; what it says meanwhile is kept."""
    proxy.shut()
    node = a_node(ends, broker.settings(url=broker.beyond(proxy.port)))
    leave(ends.node.to_service(do()))
    assert not node.status().ready
    proxy.let_in()
    a_service(ends, broker.settings())
    assert ends.read[SEATS].take().attempt == 1


def test_what_waits_for_a_broker_that_is_gone_is_bounded(
    ends: Ends, broker: ABroker, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """What does not fit is dropped, counted, and told once; what fits arrives."""
    proxy.shut()
    node = a_node(ends, broker.settings(url=broker.beyond(proxy.port), buffer=10))
    with caplog.at_level(logging.ERROR, "amends"):
        for number in range(1, 16):
            leave(ends.node.to_service(do(step=f"seat {number}")))
    assert (node.status().waiting, node.status().dropped) == (10, 5)
    assert len([r for r in caplog.records if "message.dropped" in r.message]) == 1
    proxy.let_in()
    a_service(ends, broker.settings())
    assert [ends.read[SEATS].take().step for _ in range(10)] == [f"seat {number}" for number in range(1, 11)]
    until(lambda: node.status().waiting == 0)
    leave(ends.node.to_service(do(16)))
    assert ends.read[SEATS].take().attempt == 16


def test_what_waits_is_bounded_in_bytes(ends: Ends, broker: ABroker, proxy: Proxy) -> None:
    """A few large messages are as bad as many."""
    proxy.shut()
    node = a_node(ends, broker.settings(url=broker.beyond(proxy.port), buffer_bytes=1000))
    for number in range(1, 4):
        leave(ends.node.to_service(do(number, payload=b'"%s"' % (b"x" * 600))))
    assert (node.status().waiting, node.status().dropped) == (1, 2)


def test_broker_that_does_not_answer_stops_nobody(ends: Ends, broker: ABroker, proxy: Proxy) -> None:
    """What is published and not confirmed counts as waiting; closing does not wait for ever."""
    node = a_node(ends, broker.settings(url=broker.beyond(proxy.port), buffer=50))
    assert node.wait_until_ready(WAIT_S)
    proxy.hold()
    for number in range(1, 101):
        leave(ends.node.to_service(do(step=f"seat {number}")))
    assert (node.status().waiting, node.status().dropped) == (50, 50)
    node.close(0.1)
    assert not node.status().ready


def test_line_is_closed_while_it_tries_to_connect(ends: Ends, broker: ABroker, proxy: Proxy) -> None:
    """No thread stays, whatever it is waiting for."""
    before = threading.active_count()
    proxy.shut()
    line = broker.settings(url=broker.beyond(proxy.port)).connect("", ends.boxes, {}, ends.pool.clock)
    line.open()
    line.close(WAIT_S)
    assert threading.active_count() == before


def test_closing_sends_what_waits(ends: Ends, broker: ABroker) -> None:
    """The replies of the last turns leave before the line ends."""
    line = broker.settings().connect("node", {}, ends.sagas, ends.pool.clock)
    line.open()
    assert line.wait_until_ready(WAIT_S)
    for number in range(1, 2001):
        leave(line.to_service(do(number)))
    line.close(WAIT_S)
    assert line.status().confirmed == 2000
    until(lambda: broker.waiting_for(SEATS) == 2000)


def test_commands_wait_for_a_service_that_was_never_up(ends: Ends, broker: ABroker) -> None:
    """Whoever sends makes the queue."""
    node = a_node(ends, broker.settings())
    leave(ends.node.to_service(do()))
    until(lambda: node.status().confirmed == 1)
    assert broker.waiting_for(SEATS) == 1
    a_service(ends, broker.settings())
    assert ends.read[SEATS].take().attempt == 1


def test_second_node_of_a_name_does_not_take_the_firsts_replies(ends: Ends, broker: ABroker) -> None:
    """It is not ready until the first has gone."""
    first = broker.settings().connect("node", {}, {}, ends.pool.clock)
    first.open()
    assert first.wait_until_ready(WAIT_S)
    second = a_node(ends, broker.settings())
    until(lambda: second.status().connections >= 2)
    assert not second.status().ready
    first.close(WAIT_S)
    assert second.wait_until_ready(WAIT_S)


def test_process_without_a_name_can_ask_nobody(ends: Ends, broker: ABroker) -> None:
    """Nobody could answer it."""
    line = broker.settings().connect("", {}, {}, ends.pool.clock)
    with pytest.raises(AmendsError, match="node"):
        line.to_service(do())
