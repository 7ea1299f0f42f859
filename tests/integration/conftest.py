"""The same leftovers are looked for as in the tests of actors."""

from tests.actors.conftest import booking, nobody_left

__all__ = ["booking", "nobody_left"]
