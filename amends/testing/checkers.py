"""What must hold in every history: one invariant each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from amends.testing.world import World


class Checker:
    """One invariant. A method named after a kind of fact, in small letters, is told of each such fact.

    It raises AssertionError, with what was found, as soon as the invariant is broken.
    """

    name: ClassVar[str] = ""

    def __init__(self, world: "World") -> None:
        self.world = world

    def at_rest(self) -> None:
        """Every instance has ended or is stuck, and nothing is on its way."""


CHECKERS: Sequence[type[Checker]] = ()
