"""A RabbitMQ of a test's own, which it may kill, start again, and fill: other people's is never touched."""

from collections.abc import Iterator

import pytest

from amends.demo.cluster.own_rabbitmq import OwnBroker, binary
from tests.rabbitmq import missing


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """A broker that runs, killed at the end."""
    if not (binary("rabbitmq-server") and binary("rabbitmqctl")):
        missing("there is no RabbitMQ to start", "no rabbitmq-server found")
    broker = OwnBroker(tmp_path_factory.mktemp("rabbitmq"))
    broker.start()
    yield broker
    broker.kill()
