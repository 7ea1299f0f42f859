"""The base of every checker."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amends.testing.world import World


class Checker:
    """One invariant, told of facts as they happen.

    A method named after a kind of fact, in small letters, gets every fact of that kind: `effect(self, fact)`, `asked`,
    `told`, `sent`, `answered`, `raised`, `recorded`, `spawned`, `fell`, `died`, `trouble`. It raises AssertionError,
    saying what was found, as soon as the invariant is broken.
    """

    def __init__(self, world: "World") -> None:
        self.world = world

    def at_rest(self) -> None:
        """Every instance has ended or is stuck, and nothing is on its way."""
