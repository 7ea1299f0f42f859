"""What must hold in every history: checkers, one invariant each."""

from collections.abc import Sequence
from typing import Final

from amends.testing.checkers import effects, journal, promises
from amends.testing.checkers.base import Checker

CHECKERS: Final[Sequence[type[Checker]]] = (*effects.ALL, *journal.ALL, *promises.ALL)
"""All that amends itself promises; what an application promises is for its own tests to add."""

__all__ = ["CHECKERS", "Checker"]
