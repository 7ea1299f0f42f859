"""The same leftovers are looked for as in the tests of actors; real servers where there are some."""

from tests.actors.conftest import booking, nobody_left
from tests.brokers import broker, table
from tests.integration.own_broker import own_broker
from tests.rabbitmq import rabbit
from tests.servers import own_postgres, schema

__all__ = ["booking", "broker", "nobody_left", "own_broker", "own_postgres", "rabbit", "schema", "table"]
