"""Systems as the tests of actors have them; real servers where there are some."""

from tests.actors.conftest import booking, nobody_left
from tests.rabbitmq import rabbit

__all__ = ["booking", "nobody_left", "rabbit"]
