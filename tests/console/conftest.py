"""Systems as the tests of actors have them."""

from tests.actors.conftest import booking, nobody_left

__all__ = ["booking", "nobody_left"]
