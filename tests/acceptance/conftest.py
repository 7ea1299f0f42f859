"""The same leftovers are looked for as in the tests of actors."""

from tests.actors.conftest import nobody_left

__all__ = ["nobody_left"]
