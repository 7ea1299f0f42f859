"""What a broker does to those who use it: it dies, it fills up, it throws everybody out. It is the test's own."""

from collections.abc import Iterator

import pytest

from amends.actors.transport import buffer
from amends.actors.transport.rabbitmq import RabbitMqLine
from amends.demo.cluster.own_rabbitmq import OwnBroker
from amends.supervisor.runtime import SystemClock
from amends.supervisor.runtimes.pool import Pool
from tests.actors.patience import until
from tests.lines import SAGA, Ends, do, join_by, leave, reply
from tests.rabbitmq import Rabbit
from tests.supervisor.probe import WAIT_S

# The broker takes its time to start.
pytestmark = pytest.mark.timeout(180)
COUNT = 2000


@pytest.fixture
def joined(own_broker: OwnBroker) -> Iterator[Ends]:
    """A node and a service, joined by the test's own broker."""
    # Nobody cleans up: the broker goes with the test, and may go within it.
    rabbit = Rabbit(own_broker.url, None, None)
    pool = Pool(SystemClock())
    ends = Ends(pool)
    ends.have(("seats",), (SAGA,))
    join_by(ends, rabbit.settings())
    yield ends
    ends.close()
    assert pool.stop(WAIT_S)


def send(ends: Ends, first: int = 1) -> None:
    """Many commands at once."""
    for number in range(first, first + COUNT):
        leave(ends.node.to_service(do(number)))


def all_answered(ends: Ends, first: int = 1) -> bool:
    """Answer what comes, until each has come and each answer as well."""
    asked: set[int] = set()
    while len(asked) < COUNT:
        message = ends.read["seats"].take()
        if message.attempt >= first and message.attempt not in asked:
            asked.add(message.attempt)
            leave(ends.served.to_saga(reply(message)))
    answered: set[int] = set()
    while len(answered) < COUNT:
        attempt = ends.read[SAGA].take().attempt
        # What was sent before may come once more.
        if attempt >= first:
            answered.add(attempt)
    return True


def lines(ends: Ends) -> tuple[RabbitMqLine, RabbitMqLine]:
    """The node's and the service's."""
    assert isinstance(ends.node, RabbitMqLine)
    assert isinstance(ends.served, RabbitMqLine)
    return ends.node, ends.served


def test_nothing_is_lost_when_the_broker_is_restarted_and_killed(joined: Ends, own_broker: OwnBroker) -> None:
    """What it had confirmed is on its disk, and what it had not is sent again."""
    node, served = lines(joined)
    send(joined)
    own_broker.control("stop_app")
    until(lambda: not node.status().ready and not served.status().ready)
    own_broker.control("start_app")
    assert all_answered(joined)
    # A quorum queue of RabbitMQ 3.10 that is killed within its first seconds never finds a leader again; these have
    # been written down by now.
    send(joined, COUNT + 1)
    own_broker.kill()
    until(lambda: not node.status().ready and not served.status().ready)
    own_broker.start()
    assert all_answered(joined, COUNT + 1)


def test_nothing_is_lost_when_all_connections_are_closed(joined: Ends, own_broker: OwnBroker) -> None:
    """By an operator, in the middle of publishing."""
    node, _ = lines(joined)
    send(joined)
    own_broker.control("close_all_connections", "maintenance")
    assert all_answered(joined)
    assert node.status().connections == 2


def test_full_disk_of_the_broker_is_waited_out(
    joined: Ends, own_broker: OwnBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen, what is said meanwhile waits here while nothing new is begun, and goes on its way afterwards."""
    node, _ = lines(joined)
    monkeypatch.setattr(buffer, "PATIENCE_S", 0.2)
    own_broker.control("set_disk_free_limit", "1000000GB")
    # Who publishes is told that it is blocked.
    leave(joined.node.to_service(do(1)))
    until(lambda: node.status().blocked)
    send(joined)
    until(lambda: bool(node.full))
    assert node.status().waiting >= COUNT
    own_broker.control("set_disk_free_limit", "1MB")
    assert all_answered(joined)
    assert not node.status().blocked
    assert not node.full
    assert node.status().connections == 1


def test_line_is_closed_although_the_broker_has_blocked_it(joined: Ends, own_broker: OwnBroker) -> None:
    """A process that is told to end does."""
    node, served = lines(joined)
    own_broker.control("set_disk_free_limit", "1000000GB")
    leave(joined.node.to_service(do(1)))
    until(lambda: node.status().blocked)
    node.close(0.1)
    assert not node.status().ready
    own_broker.control("set_disk_free_limit", "1MB")
    served.close(WAIT_S)
