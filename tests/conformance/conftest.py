"""The same leftovers are looked for as in the tests of actors; real servers where there are some."""

from tests.actors.conftest import nobody_left
from tests.rabbitmq import rabbit
from tests.servers import schema

__all__ = ["nobody_left", "rabbit", "schema"]
